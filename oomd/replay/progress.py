"""How far a long log is, on a terminal."""

import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn

__all__ = ["Bar"]

# What is read at once needs no bar.
_LONG_BYTES = 8 << 20


class Bar:
    """A bar on standard error, from the first few megabytes on."""

    def __init__(self, stream: BinaryIO) -> None:
        status = os.fstat(stream.fileno())
        self._total = status.st_size if stat.S_ISREG(status.st_mode) else None
        self._done = 0
        self._progress: Progress | None = None

    def advance(self, size: int) -> None:
        """So many more bytes have been gone through."""
        self._done += size
        if self._progress is not None:
            self._progress.advance(self._progress.task_ids[0], size)
        elif (self._done if self._total is None else self._total) >= _LONG_BYTES:
            columns = (BarColumn(), DownloadColumn(), TimeRemainingColumn())
            console = Console(file=sys.stderr)
            self._progress = Progress(*columns, console=console, transient=True)
            self._progress.add_task("", total=self._total, completed=self._done)
            self._progress.start()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """While something is printed, which may be to the same terminal."""
        if self._progress is None:
            yield
            return
        self._progress.stop()
        yield
        self._progress.start()

    def end(self) -> None:
        """Take it away."""
        if self._progress is not None:
            self._progress.stop()
