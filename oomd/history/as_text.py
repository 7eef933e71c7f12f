"""The list of decisions for a person."""

from collections.abc import Sequence

from rich.text import Text

from oomd.history.read import Entry
from oomd.report.as_text import mib
from oomd.report.console import console, print_trimmed, rows, when

__all__ = ["print_entries"]

COLUMNS = ("when", "verdict", "victim", "pid", "came back", "gone after", "why")


def _row(entry: Entry) -> tuple[str, ...]:
    victim, pid = "", ""
    if entry.victims:
        number, victim, _ = entry.victims[0]
        pid = str(number)
        if len(entry.victims) > 1:
            victim += f" and {len(entry.victims) - 1} more"
    freed, took = "", ""
    if entry.settled is not None:
        freed, took = mib(entry.settled.freed_kib), f"{entry.settled.took_ms} ms"
    verdict = entry.verdict.replace("_", " ")
    return (when(entry.time_s), verdict, victim, pid, freed, took, entry.reason)


def print_entries(entries: Sequence[Entry]) -> None:
    """A line each."""
    to = console()
    if not entries:
        print_trimmed(to, Text("nothing was decided"))
        return
    right = ("pid", "came back", "gone after")
    print_trimmed(to, rows(COLUMNS, map(_row, entries), right))
