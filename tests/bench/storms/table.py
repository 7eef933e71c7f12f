"""The tables in README: storms down, daemons across."""

from collections import Counter
from collections.abc import Callable, Iterable
from statistics import median

from tests.bench.storms.daemons import DAEMONS
from tests.bench.storms.judge import Run, judge
from tests.bench.storms.results import Cells
from tests.bench.storms.scenes import STORMS

__all__ = ["table"]

CellText = Callable[[list[Run]], str]


def _span(counts: Iterable[int]) -> str:
    low, high = min(counts := list(counts)), max(counts)
    return f"{low}" if low == high else f"{low} to {high}"


def _words(runs: list[Run]) -> str:
    """Of runs that came to the same but for the number of the dead."""
    names = []
    for name in runs[0].killed:
        counts = [run.killed[name] for run in runs]
        names.append(name if max(counts) == 1 else f"{_span(counts)} {name}")
    killed = ", ".join(names)
    if runs[0].verdict == "kernel":
        return f"the kernel: {killed}"
    if runs[0].by_kernel:
        return f"{killed} ({_span(run.by_kernel for run in runs)} by the kernel)"
    return killed or "nobody"


def _outcome(runs: list[Run]) -> str:
    """What was right is bold; what differs from run to run is counted."""
    kinds: dict[object, list[Run]] = {}
    for run in runs:
        kind = (run.verdict, tuple(run.killed), run.by_kernel > 0)
        kinds.setdefault(kind, []).append(run)
    cells = []
    for alike in kinds.values():
        text = f"**{_words(alike)}**" if alike[0].verdict == "right" else _words(alike)
        cells.append(text if len(kinds) == 1 else f"{text} ({len(alike)} of {len(runs)})")
    return "; ".join(cells)


def _middle_and_worst(values: list[float], form: str) -> str:
    """Median, and the worst where it looks different."""
    middle, worst = format(median(values), form), format(max(values), form)
    return middle if middle == worst else f"{middle} / {worst}"


def _gaps(runs: list[Run]) -> str:
    total = _middle_and_worst([run.gaps_ms / 1000 for run in runs], ".2f")
    longest = _middle_and_worst([run.longest_ms / 1000 for run in runs], ".2f")
    return f"{total} ({longest})"


def _kill(runs: list[Run]) -> str:
    """Seconds to the kill, MiB left at it, seconds to recovery."""
    delays = [run.to_kill_s for run in runs if run.to_kill_s is not None]
    left = [run.left_mib for run in runs if run.left_mib is not None]
    back = [run.to_recovery_s for run in runs if run.to_recovery_s is not None]
    kill = f"{_middle_and_worst(delays, '.1f')} s, {median(left):.0f} MiB" if delays else "-"
    never = sum(run.crossed and run.to_recovery_s is None for run in runs)
    recovery = f"{_middle_and_worst(back, '.1f')} s" if back else "-"
    if never:
        recovery = f"{recovery} (never: {never})" if back else "never"
    return f"{kill}; {recovery}" if delays or back or never else "-"


def _one(cells: Cells, title: str, cell: CellText) -> list[str]:
    lines = [
        f"| {title} | {' | '.join(daemon.name for daemon in DAEMONS)} |",
        f"|{' --- |' * (len(DAEMONS) + 1)}",
    ]
    for storm in STORMS:
        texts = []
        for daemon in DAEMONS:
            runs = [judge(raw) for raw in cells.runs(storm.name, daemon.name)]
            texts.append(cell(runs) if runs else "not measured")
        lines.append(f"| {storm.title} | {' | '.join(texts)} |")
    return lines


def _sums(cells: Cells) -> str:
    """The medians, added up; of those daemons that have been through all storms."""
    texts = []
    for daemon in DAEMONS:
        rows = [cells.runs(storm.name, daemon.name) for storm in STORMS]
        middles = [median(judge(raw).gaps_ms for raw in runs) for runs in rows if runs]
        whole = len(middles) == len(STORMS)
        texts.append(f"**{sum(middles) / 1000:.2f}**" if whole else "-")
    return f"| all storms, the medians added up | {' | '.join(texts)} |"


def _about(cells: Cells) -> str:
    results = list(cells.every_run())
    versions = []
    for daemon in DAEMONS:
        found = {str(one["daemon_version"]) for one in results if one["daemon"] == daemon.name}
        if daemon.unit:
            versions.append(f"{daemon.name} {' and '.join(sorted(found)) or 'not measured'}")
    counts = Counter(len(runs) for runs in cells.by_name.values())
    runs = "cells: " + ", ".join(f"{count} × {size} runs" for size, count in sorted(counts.items()))
    rest = (sorted({str(one[name]) for one in results}) for name in ("kernel", "machine", "date"))
    about = "; ".join([", ".join(versions), runs, *(", ".join(one) for one in rest)])
    return f"({about}; `python -m tests.bench.storms`)"


def table(cells: Cells) -> str:
    """As Markdown: who died, how the machine fared, how late and how early."""
    gaps = "seconds in gaps over 100 ms (the longest)"
    kill = "to the kill, memory left; to recovery"
    lines = [
        *_one(cells, "who died", _outcome),
        "",
        *_one(cells, gaps, _gaps),
        _sums(cells),
        "",
        *_one(cells, kill, _kill),
        "",
        _about(cells),
    ]
    return "\n".join(lines) + "\n"
