"""The daemon's state for a person: short, in columns, as the audit is."""

import time
from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from oomd.config import one_line
from oomd.notifiers_words import print_notifiers
from oomd.report.as_text import mib, threshold_table
from oomd.report.console import console, fields, length, print_trimmed, rows, when
from oomd.status.ask import State
from oomd.status.in_force import InForce
from oomd.thresholds import Threshold

__all__ = ["head", "print_state", "state_words", "thresholds_of"]


def state_words(state: State) -> str:
    """Guarding, or paused and for how long."""
    if state["state"] != "paused":
        return str(state["state"])
    return f"PAUSED for {length(state['pause_left_ms'] / 1000)} more, nobody is killed"


def head(state: State) -> Text:
    """The first line."""
    words = state_words(state)
    style = "bold red" if state["state"] == "paused" else "bold"
    since = f", since {when(state['since'])} ({length(time.time() - state['since'])})"
    about = f", pid {state['pid']}, policy {state['policy']}"
    return Text.assemble(f"oomd {state['version']}: ", (words, style), since, about)


def thresholds_of(state: State) -> list[Threshold]:
    """As the audit has them."""
    return [Threshold(**one) for one in state["thresholds"]]


def _memory(state: State) -> Iterator[tuple[str, str]]:
    memory = state["memory"]
    if memory is None:
        return
    info, pressure = memory["meminfo"], memory["pressure"]
    available = mib(info["mem_available_kib"])
    yield "memory", f"{mib(info['mem_total_kib'])}, {available} available"
    swap = "none"
    if info["swap_total_kib"]:
        swap = f"{mib(info['swap_total_kib'])}, {mib(info['swap_free_kib'])} free"
    yield "swap", swap
    if pressure is None:
        yield "pressure", "not observable"
    else:
        some, full = (pressure[kind]["avg10_percent"] for kind in ("some", "full"))
        yield "pressure", f"some {some:.2f} %, full {full:.2f} % over 10 s"
    yield "headroom", f"{mib(memory['headroom_kib'])} until memory counts as used up"


def _waits(state: State) -> Iterator[tuple[str, str]]:
    waits = state["waits"]
    if waits is None:
        return
    for words in waits["for"]:
        yield "waits for", words
    yield "timer", f"looks again after {waits['timer_ms'] / 1000:g} s at the latest"
    if waits["hold_ms"]:
        yield "holds", f"kills nobody for {waits['hold_ms'] / 1000:g} s: the last is to settle"


def _settings(set_: list[InForce]) -> Table:
    cells = []
    for one in set_:
        pending = f"the files say {one.pending}" if one.pending else ""
        cells.append((one.key, one.value, one.origin or pending))
    return rows(("setting", "value", "from"), cells)


def _decisions(state: State) -> Table:
    table = Table.grid(padding=(0, 2))
    for one in state["decisions"]:
        style = "bold red" if one["verdict"] == "kill" else ""
        verdict = one["verdict"].replace("_", " ")
        table.add_row(
            Text(when(one["time"])), Text(verdict, style=style), Text(one_line(one["text"]))
        )
        for words in (one["settled"], one["record"] or ""):
            if words:
                table.add_row("", "", Text(one_line(words), style="dim", overflow="fold"))
    return table


def _counters(state: State) -> Iterator[tuple[str, str]]:
    counters = state["counters"]
    verdicts = counters.get("decisions", {})
    by_verdict = ", ".join(f"{name.replace('_', ' ')} {n}" for name, n in sorted(verdicts.items()))
    total = sum(verdicts.values())
    yield "decisions", f"{total} ({by_verdict})" if by_verdict else "0"
    kills = f"{counters['kills']} processes, {counters['futile_kills']} of the kills futile"
    yield "killed", kills if counters["kills"] else "nobody"
    yield "saved", f"{counters['saved_by_notifiers']} times by notifiers"
    if counters["kernel_kills"]:
        yield "kernel", f"its own killer has killed {counters['kernel_kills']} meanwhile"
    yield "reloads", f"{counters['reloads']}, {counters['reloads_failed']} failed"
    yield "wake-ups", str(counters["wakeups"])
    lost = counters["records_lost"], counters["lines_dropped"]
    yield "trouble", f"{counters['errors']} errors, {lost[0]} records lost, {lost[1]} lines dropped"


def _victims(state: State) -> Table:
    cells = (
        (str(one["pid"]), one["comm"], one["why"], f"{one['since_ms'] / 1000:.1f} s")
        for one in state["victims"]
    )
    return rows(("pid", "comm", "why", "for"), cells, right=("pid", "for"))


def print_state(state: State, set_: list[InForce], notes: list[str]) -> None:
    """All of it."""
    to = console()
    print_trimmed(to, head(state))
    parts: list[tuple[str, Table]] = [("", fields((*_memory(state), *_waits(state))))]
    parts.append(("Thresholds", threshold_table(thresholds_of(state))))
    if set_:
        parts.append(("Settings that are not the default", _settings(set_)))
    if state["victims"]:
        parts.append(("Dying", _victims(state)))
    if state["decisions"]:
        parts.append(("The last decisions", _decisions(state)))
    parts.append(("Since the start", fields(_counters(state))))
    for title, table in parts:
        if title:
            print()
            print_trimmed(to, Text(title, style="bold"))
        print_trimmed(to, table)
    if state["notifiers"]:
        print()
        print_trimmed(to, Text("Notifiers", style="bold"))
        print_notifiers(state["notifiers"])
    for note in (*state["notes"], *notes):
        print_trimmed(to, Text(f"note: {one_line(note)}"))
