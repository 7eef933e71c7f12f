"""A decision as a drawing: memory, swap and pressure around it, and what was done when.

Plain SVG, by the standard library: the libraries that Debian has draw time axes, but no marks on
them that are told apart by line and word.
"""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from oomd.config import one_line
from oomd.history.read import Entry, Series
from oomd.report.console import when
from oomd.thresholds import Threshold

__all__ = ["draw"]

WIDTH, LEFT, RIGHT = 960, 80, 20
PANEL_HEIGHT, GAP, TOP = 170, 46, 74
LEGEND_HEIGHT = 18
# What is shown before a decision at least.
SHORTEST_S = 5.0
FONT = "font-family:sans-serif;font-size:12px"
COLOURS = {
    "MemAvailable": "#1b7837",
    "MemFree": "#7fbf7b",
    "swap free": "#2166ac",
    "some": "#e08214",
    "full": "#b2182b",
}


class _Mark(NamedTuple):
    """Something that was done."""

    at_s: float
    words: str
    colour: str
    dashed: bool = False


class _Panel(NamedTuple):
    """A part of the drawing with its own scale."""

    title: str
    unit: str
    lines: dict[str, list[float | None]]
    top: float
    limits: tuple[tuple[str, float], ...] = ()


def _nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999)


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    step = _nice((high - low) / wanted)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]


# --- what is drawn


def _near(series: Series) -> Series:
    """Without the calm before: from some time before memory began to run out."""
    available = series.columns["mem_available_kib"]
    before = [n for n, at_s in enumerate(series.times_s) if at_s < 0]
    if not before:
        return series
    most = max(available[n] for n in before)
    full_s = max(series.times_s[n] for n in before if available[n] * 10 >= most * 9)
    begin_s = min(full_s * 1.5, -SHORTEST_S)
    # The sample before that, too: the curves begin at the edge.
    first = max((n for n in before if series.times_s[n] <= begin_s), default=0)
    columns = {name: values[first:] for name, values in series.columns.items()}
    return Series(series.times_s[first:], columns)


def _percent(series: Series, name: str) -> list[float | None]:
    """The share of the time since the sample before in which somebody waited."""
    totals = series.columns[name]
    found: list[float | None] = [None]
    for number in range(1, len(totals)):
        elapsed_us = (series.times_s[number] - series.times_s[number - 1]) * 1e6
        stalled_us = totals[number] - totals[number - 1]
        found.append(min(max(stalled_us / elapsed_us * 100, 0), 100) if elapsed_us > 0 else None)
    return found


def _limit_mib(entry: Entry) -> tuple[tuple[str, float], ...]:
    """Where exhaustion begins, as it was then."""
    for one in entry.record.get("thresholds", ()):
        threshold = Threshold(**one)
        limit = threshold.detail.get("available_limit_kib")
        if threshold.name == "exhaustion" and isinstance(limit, int | float):
            return (("limit of MemAvailable", limit / 1024),)
    return ()


def _panels(entry: Entry, series: Series) -> list[_Panel]:
    def mib(name: str) -> list[float | None]:
        return [value / 1024 for value in series.columns[name]]

    def top(lines: Iterable[list[float | None]], least: float) -> float:
        return max([least, *(one for line in lines for one in line if one is not None)])

    memory = {"MemAvailable": mib("mem_available_kib"), "MemFree": mib("mem_free_kib")}
    limits = _limit_mib(entry)
    least = max([1.0, *(value * 1.2 for _, value in limits)])
    panels = [_Panel("memory", "MiB", memory, top(memory.values(), least), limits)]
    swap_total_mib = entry.record["meminfo"]["swap_total_kib"] / 1024
    if swap_total_mib:
        panels.append(_Panel("swap", "MiB", {"swap free": mib("swap_free_kib")}, swap_total_mib))
    if any(series.columns["some_us"]):
        stalls = {name: _percent(series, f"{name}_us") for name in ("some", "full")}
        panels.append(_Panel("pressure: tasks that wait for memory", "%", stalls, 100))
    return panels


def _marks(entry: Entry, others: Iterable[Entry], series: Series) -> list[_Mark]:
    """What was done, in its order."""
    marks = []
    # The record is made right after the signal.
    if entry.signal_after_ms is not None:
        crossed_s = -entry.signal_after_ms / 1000
        marks.append(_Mark(crossed_s, f"{entry.trigger}: threshold crossed", "#555555"))
    if entry.victims:
        pid, comm, _ = entry.victims[0]
        marks.append(_Mark(0, f"SIGKILL to {pid} ({comm})", "#b2182b"))
    else:
        marks.append(_Mark(0, f"decided: {entry.verdict.replace('_', ' ')}", "#555555"))
    if entry.settled is not None:
        ended_s = entry.settled.took_ms / 1000
        freed_mib = entry.settled.freed_kib / 1024
        words = f"{entry.settled.end} after {entry.settled.took_ms} ms, {freed_mib:,.1f} MiB back"
        marks.append(_Mark(ended_s, words, "#1b7837"))
    begin_s, end_s = series.times_s[0], series.times_s[-1]
    for other in others:
        at_s = other.time_s - entry.time_s
        same = (other.time_s, other.reason) == (entry.time_s, entry.reason)
        if not same and begin_s <= at_s <= end_s:
            victim = f" {other.victims[0][0]} ({other.victims[0][1]})" if other.victims else ""
            words = f"{other.verdict.replace('_', ' ')}{victim}"
            marks.append(_Mark(at_s, words, "#762a83", dashed=True))
    return sorted(marks)


# --- the drawing


class _Drawing:
    def __init__(self, begin_s: float, end_s: float, height: int, title: str) -> None:
        self._begin_s, self._end_s = begin_s, end_s
        size = {"width": str(WIDTH), "height": str(height), "viewBox": f"0 0 {WIDTH} {height}"}
        self.svg = ElementTree.Element(
            "svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "role": "img", "style": FONT}
        )
        ElementTree.SubElement(self.svg, "title").text = title
        ElementTree.SubElement(
            self.svg, "rect", {"width": "100%", "height": "100%", "fill": "white"}
        )

    def x(self, at_s: float) -> float:
        share = (at_s - self._begin_s) / (self._end_s - self._begin_s)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def text(self, x: float, y: float, words: str, **style: str) -> None:
        place = {"x": f"{x:.1f}", "y": f"{y:.1f}"}
        attributes = {name.replace("_", "-"): value for name, value in style.items()}
        ElementTree.SubElement(self.svg, "text", {**place, **attributes}).text = one_line(words)

    def line(self, ends: Sequence[float], colour: str, **style: str) -> None:
        names = ("x1", "y1", "x2", "y2")
        places = {name: f"{value:.1f}" for name, value in zip(names, ends, strict=True)}
        attributes = {name.replace("_", "-"): value for name, value in style.items()}
        ElementTree.SubElement(self.svg, "line", {**places, "stroke": colour, **attributes})

    def curve(self, points: Sequence[tuple[float, float]], colour: str) -> None:
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        style = {"fill": "none", "stroke": colour, "stroke-width": "1.8"}
        ElementTree.SubElement(self.svg, "polyline", {"points": text, **style})

    def panel(self, panel: _Panel, top: float, series: Series) -> None:
        """One part, with its scale, curves and legend."""
        bottom = top + PANEL_HEIGHT

        def y(value: float) -> float:
            return bottom - value / panel.top * PANEL_HEIGHT

        self.text(LEFT, top - 8, f"{panel.title} ({panel.unit})", font_weight="bold")
        for value in _ticks(0, panel.top, 4):
            self.line((LEFT, y(value), WIDTH - RIGHT, y(value)), "#e0e0e0")
            self.text(LEFT - 8, y(value) + 4, f"{value:,g}", text_anchor="end")
        for name, limit in panel.limits:
            if limit <= panel.top:
                ends = (LEFT, y(limit), WIDTH - RIGHT, y(limit))
                self.line(ends, "#b2182b", stroke_dasharray="2 3")
                self.text(LEFT + 6, y(limit) - 4, name, fill="#b2182b")
        right = WIDTH - RIGHT
        for name in reversed(panel.lines):
            self.text(right, top - 8, name, text_anchor="end", fill=COLOURS[name])
            right -= 8 * len(name) + 16
        for name, values in panel.lines.items():
            pairs = zip(series.times_s, values, strict=True)
            points = [(self.x(at), y(value)) for at, value in pairs if value is not None]
            self.curve(points, COLOURS[name])
        self.line((LEFT, bottom, WIDTH - RIGHT, bottom), "#555555")

    def axis(self, y: float) -> None:
        """Seconds from the decision."""
        for value in _ticks(self._begin_s, self._end_s, 10):
            self.line((self.x(value), y, self.x(value), y + 4), "#555555")
            self.text(
                self.x(value), y + 17, f"{value:+g} s" if value else "0", text_anchor="middle"
            )

    def mark(self, number: int, mark: _Mark, top: float) -> None:
        """A line through a panel, with a number that the legend explains."""
        x = min(max(self.x(mark.at_s), LEFT), WIDTH - RIGHT)
        style = {"stroke_dasharray": "5 4"} if mark.dashed else {}
        self.line((x, top, x, top + PANEL_HEIGHT), mark.colour, stroke_width="1.2", **style)
        self.text(
            x + 2, top + 10 + number % 4 * 12, str(number), fill=mark.colour, font_size="10px"
        )


def draw(entry: Entry, series: Series, others: Iterable[Entry]) -> bytes:
    """The decision as an SVG file. ``others``: those that were taken about then."""
    series = _near(series)
    panels, marks = _panels(entry, series), _marks(entry, others, series)
    begin_s, end_s = series.times_s[0], series.times_s[-1]
    bottom = TOP + len(panels) * (PANEL_HEIGHT + GAP) - GAP
    height = bottom + 40 + LEGEND_HEIGHT * len(marks)
    title = f"{when(entry.time_s)}: {entry.reason}"
    drawing = _Drawing(begin_s, end_s, height, one_line(title))
    drawing.text(
        LEFT, 20, f"{when(entry.time_s)}  oomd: {entry.verdict.replace('_', ' ')}", font_size="15px"
    )
    drawing.text(LEFT, 38, entry.reason if len(entry.reason) < 130 else f"{entry.reason[:127]}...")
    for place, panel in enumerate(panels):
        top = TOP + place * (PANEL_HEIGHT + GAP)
        drawing.panel(panel, top, series)
        for number, mark in enumerate(marks, 1):
            drawing.mark(number, mark, top)
    drawing.axis(bottom)
    for number, mark in enumerate(marks, 1):
        words = f"{number}  {mark.at_s:+.3f} s  {mark.words}"
        drawing.text(LEFT, bottom + 22 + LEGEND_HEIGHT * number, words, fill=mark.colour)
    ElementTree.indent(drawing.svg)
    return b'<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(drawing.svg) + b"\n"
