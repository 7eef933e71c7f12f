"""The daemon's state as Prometheus metrics: names, help and values, by its conventions."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector as AskedCollector

from oomd.status.ask import State

__all__ = ["NAMES", "Collector", "families"]

VERDICTS = ("kill", "missed", "paused", "wait", "let_exit", "panic", "freed", "none_killable")
"""Each is there from the start, so that the first of its kind is an increase."""

Values = Mapping[str, float] | float | None


class _Figure(NamedTuple):
    """One metric."""

    name: str
    """As it is printed, without ``oomd_``; a counter ends in ``_total``."""
    help: str
    value: Callable[[State], Values]
    """None: not observable, and not printed. With a label: by its value."""
    label: str = ""


def _memory(name: str) -> Callable[[State], Values]:
    return lambda state: state["memory"] and state["memory"]["meminfo"][name] * 1024


def _counter(name: str) -> Callable[[State], Values]:
    return lambda state: state["counters"][name]


def _threshold(name: str, field: str, factor: float) -> Callable[[State], Values]:
    def value(state: State) -> Values:
        for one in state["thresholds"]:
            if one["name"] == name and one[field] is not None:
                return float(one[field] * factor)
        return None

    return value


def _field(name: str) -> Callable[[State], Values]:
    return lambda state: state[name]


def _decisions(state: State) -> Values:
    return {**dict.fromkeys(VERDICTS, 0), **state["counters"]["decisions"]}


def _reloads(state: State) -> Values:
    counters = state["counters"]
    return {"ok": counters["reloads"], "failed": counters["reloads_failed"]}


FIGURES = (
    _Figure("start_time_seconds", "When the daemon was started, Unix time.", _field("since")),
    _Figure("paused", "1 while oomd kills nobody.", lambda state: state["state"] == "paused"),
    _Figure(
        "pause_remaining_seconds",
        "How long the pause still takes.",
        lambda state: state["pause_left_ms"] / 1000,
    ),
    _Figure("memory_total_bytes", "MemTotal.", _memory("mem_total_kib")),
    _Figure("memory_available_bytes", "MemAvailable.", _memory("mem_available_kib")),
    _Figure("swap_total_bytes", "SwapTotal.", _memory("swap_total_kib")),
    _Figure("swap_free_bytes", "SwapFree.", _memory("swap_free_kib")),
    _Figure(
        "headroom_bytes",
        "What can be allocated before memory counts as used up.",
        lambda state: state["memory"] and state["memory"]["headroom_kib"] * 1024,
    ),
    _Figure(
        "exhaustion_limit_bytes",
        "MemAvailable at or below which memory counts as used up.",
        _threshold("exhaustion", "limit", 1024),
    ),
    _Figure(
        "stall_ratio",
        "Share of the window in which all tasks waited for memory.",
        _threshold("stall", "value", 0.01),
    ),
    _Figure(
        "stall_limit_ratio",
        "Share of the window from which a stall counts; 0: switched off.",
        _threshold("stall", "limit", 0.01),
    ),
    _Figure(
        "threshold_crossed",
        "1 while this threshold is crossed.",
        lambda state: {one["name"]: one["crossed"] for one in state["thresholds"]},
        "threshold",
    ),
    _Figure("victims_in_flight", "Dying processes.", lambda state: len(state["victims"])),
    _Figure(
        "notifiers_registered",
        "Who can be asked for memory.",
        lambda state: state["worker"].get("registered"),
    ),
    _Figure(
        "last_kill_timestamp_seconds",
        "When somebody was killed last, Unix time.",
        lambda state: state["counters"]["last_kill"],
    ),
    _Figure("decisions_total", "Decisions, by what came of them.", _decisions, "verdict"),
    _Figure("killed_processes_total", "Processes that oomd has killed.", _counter("kills")),
    _Figure("futile_kills_total", "Kills that gave no memory back.", _counter("futile_kills")),
    _Figure(
        "saved_by_notifiers_total",
        "How often nobody had to die, as notifiers gave memory back.",
        _counter("saved_by_notifiers"),
    ),
    _Figure(
        "kernel_oom_kills_total",
        "Processes that the kernel's own killer has killed since oomd was started.",
        _counter("kernel_kills"),
    ),
    _Figure("wakeups_total", "Turns of the daemon's loop.", _counter("wakeups")),
    _Figure("errors_total", "Errors that the daemon has logged.", _counter("errors")),
    _Figure(
        "records_lost_total", "Records that were lost in long storms.", _counter("records_lost")
    ),
    _Figure("log_lines_dropped_total", "Lines that no log would take.", _counter("lines_dropped")),
    _Figure("reloads_total", "Reloads of the configuration.", _reloads, "result"),
)

NAMES = ("oomd_up", "oomd_info", *(f"oomd_{one.name}" for one in FIGURES))
"""All that there can be."""


def _family(figure: _Figure, values: Values) -> Metric:
    kind = CounterMetricFamily if figure.name.endswith("_total") else GaugeMetricFamily
    # The library puts a counter's _total behind its name again.
    name = f"oomd_{figure.name.removesuffix('_total')}"
    labels = [figure.label] if figure.label else []
    family = kind(name, figure.help, labels=labels)
    by_label = values if isinstance(values, Mapping) else {"": values}
    for label, value in by_label.items():
        family.add_metric([label] if labels else [], float(value or 0))
    return family


def families(state: State | None) -> Iterator[Metric]:
    """The metrics of a daemon; of one that does not run, that it does not."""
    up = GaugeMetricFamily("oomd_up", "1: the daemon is running and answers.")
    up.add_metric([], 0 if state is None else 1)
    yield up
    if state is None:
        return
    about = {"version": str(state["version"]), "policy": str(state["policy"])}
    yield InfoMetricFamily("oomd", "The daemon that answers.", value=about)
    for figure in FIGURES:
        values = figure.value(state)
        if values is not None:
            yield _family(figure, values)


class Collector(AskedCollector):
    """What a registry of the library asks."""

    def __init__(self, read: Callable[[], State | None]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: without this, the daemon would be asked when the registry is made."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Ask the daemon. Raises ClientError."""
        return families(self._read())
