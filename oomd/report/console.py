"""Tables for a terminal, a file or a pipe, and words for times: what all commands print with."""

import time
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oomd.config import one_line

__all__ = ["ago", "console", "fields", "length", "print_trimmed", "rows", "when"]

# For a file or a pipe: one width everywhere.
PIPE_COLUMNS = 160


def console() -> Console:
    """Standard output. Colour only on a terminal (rich sees to that, and to NO_COLOR)."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=PIPE_COLUMNS)


def print_trimmed(to: Console, what: Table | Text) -> None:
    """Without the blanks that a table has at the ends of its lines."""
    with to.capture() as captured:
        to.print(what)
    for line in captured.get().splitlines():
        print(line.rstrip())


def fields(pairs: Iterable[tuple[str, str]]) -> Table:
    """Names and values, one pair a line."""
    table = Table.grid(padding=(0, 2))
    for name, value in pairs:
        table.add_row(Text(name, style="dim"), Text(one_line(value)))
    return table


def rows(
    columns: Iterable[str], cells: Iterable[Iterable[str]], right: Iterable[str] = ()
) -> Table:
    """A table without lines; the columns in ``right`` are numbers."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    numbers = frozenset(right)
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", overflow="fold")
    for row in cells:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    return table


def length(seconds: float) -> str:
    """How long something takes, in its largest unit and the next."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    whole = max(round(seconds), 0)
    for (unit, size), (smaller, part) in zip(units, units[1:], strict=False):
        if whole >= size:
            rest = whole % size // part
            return f"{whole // size} {unit} {rest} {smaller}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def ago(seconds: float) -> str:
    """How long ago something was."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def when(seconds: float) -> str:
    """A moment since 1970 in local time."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
