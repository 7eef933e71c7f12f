"""What ``oomd notifiers`` prints for a person."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from oomd.config import one_line
from oomd.notifier.own_worker import Released
from oomd.report.console import ago, console, print_trimmed

__all__ = ["print_checked", "print_notifiers", "print_released"]

Message = Mapping[str, Any]


def _change(change_kib: int) -> str:
    return f"{change_kib / 1024:+,.1f} MiB"


def _last(notifier: Message) -> str:
    last = notifier["last"]
    if not last:
        return ""
    words = f"{last['verdict']} in {last['took_ms']} ms, {ago(last['ago_s'])}"
    return f"{words} (MemFree {_change(last['mem_free_change_kib'])})"


def print_notifiers(notifiers: Sequence[Message], note: str = "") -> None:
    """The list. ``note``: what is to be known about it first."""
    to = console()
    if note:
        print_trimmed(to, Text(one_line(note)))
    if not notifiers:
        if not note:
            print_trimmed(to, Text("no notifier is registered"))
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for title in ("name", "priority", "deadline", "state", "last", "source"):
        right = title in ("priority", "deadline")
        table.add_column(title, justify="right" if right else "left", no_wrap=title == "name")
    for one in notifiers:
        named = one["name"] and one["priority"] is not None
        faults = f" ({one['faults']} faults)" if one["faults"] else ""
        cells = (
            one["name"] or "?",
            str(one["priority"]) if named else "?",
            f"{one['deadline_ms']} ms",
            f"{one['state']}{faults}",
            _last(one),
            one["source"],
        )
        good = one["state"] in ("ready", "not running")
        style = "" if good else "yellow"
        table.add_row(*(Text(one_line(cell), style=style) for cell in cells))
    print_trimmed(to, table)


def print_checked(good: bool | None, words: str) -> None:
    """One line of a check, at once: the next one may take its time. None: a warning."""
    mark, style = {True: ("ok", "green"), False: ("BAD", "bold red"), None: ("warning", "yellow")}[
        good
    ]
    to = console()
    text = Text.assemble((f"{mark:<8}", style), words)
    # Unbroken: a path that is cut in two cannot be copied.
    to.print(text, soft_wrap=True)


def print_released(released: Released, by: str) -> None:
    """What one notifier claims, and what was measured."""
    to = console()
    bad = released.fault or not released.called
    rows = (
        ("notifier", f"{released.name}, priority {released.priority}"),
        ("called by", by),
        ("verdict", released.verdict),
        ("took", f"{released.took_ms} ms of {released.deadline_ms} ms"),
        ("claimed", f"{released.claimed_bytes / (1 << 20):,.1f} MiB"),
        ("MemFree", f"{_change(released.mem_free_change_kib)} meanwhile"),
        ("MemAvailable", f"{_change(released.mem_available_change_kib)} meanwhile"),
    )
    for name, value in rows:
        style = "bold red" if bad and name == "verdict" else ""
        to.print(Text.assemble((f"{name:<14}", "dim"), (one_line(value), style)))
