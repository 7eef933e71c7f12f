"""How far a long log is, on a terminal."""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

__all__ = ["show_progress"]


@contextmanager
def show_progress(stream: BinaryIO) -> Iterator[Callable[[int], None]]:
    """A bar on standard error until the end; the function is told of bytes gone through."""
    status = os.fstat(stream.fileno())
    total = status.st_size if stat.S_ISREG(status.st_mode) else None
    columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
    # What is printed meanwhile goes above the bar, and stays.
    console = Console(file=sys.stderr)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as progress:
        task = progress.add_task("", total=total)
        yield lambda size: progress.advance(task, size)
