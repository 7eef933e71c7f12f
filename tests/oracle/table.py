"""The table in README: what the kernels said, of all raw results in a folder."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.oracle.compare import CAUSES, Verdict, compare
from tests.oracle.run import read_results

__all__ = ["Results", "disagreements", "read_folder", "table", "write_readme"]

BEGIN, END = "<!-- oracle:begin -->\n", "<!-- oracle:end -->"

COLUMNS = (
    "kernel",
    "OOM",
    "populations",
    "victims equal",
    "deaths equal",
    "rows equal",
    "points equal",
    "totals equal",
    "disagreements",
)


class Results:
    """All results of one kernel."""

    def __init__(self, results: list[dict[str, Any]]) -> None:
        self.kernel: str = results[0]["kernel"]
        self.verdicts = [compare(result) for result in results]
        self.dates = sorted({result["date"] for result in results})
        self.machines = sorted({result["machine"] for result in results})
        self.seeds = sorted({result["seed"] for result in results})


def read_folder(folder: Path) -> list[Results]:
    """Every kernel that has results, oldest first."""
    kept = (read_results(path) for path in folder.glob("*.jsonl"))
    kernels = [Results(found) for found in kept if found]
    return sorted(kernels, key=lambda one: _numbers(one.kernel))


def _numbers(text: str) -> list[int]:
    return [int(one) for one in re.findall(r"\d+", text)]


def disagreements(verdicts: Iterable[Verdict]) -> list[str]:
    """One line for each, with its cause."""
    return [
        f"{one.kernel} {one.scene} population {one.number}: {CAUSES[one.cause]}: {one.detail}"
        for one in verdicts
        if one.cause
    ]


def _share(part: int, whole: int) -> str:
    if not whole:
        return "-"
    return f"{part} of {whole}" if part != whole else f"all {whole}"


def _row(kernel: str, scene: str, verdicts: list[Verdict]) -> str:
    counted = [one for one in verdicts if one.cause not in ("harness", "early")]
    rows = sum(one.rows for one in counted)
    dead = [one for one in counted if one.dead_equal is not None]
    totals = [one for one in counted if one.total_equal is not None]
    causes = Counter(one.cause for one in verdicts if one.cause)
    words = ", ".join(f"{CAUSES[cause]}: {count}" for cause, count in sorted(causes.items()))
    cells = (
        kernel,
        scene,
        str(len(verdicts)),
        _share(sum(one.victim_equal for one in counted), len(counted)),
        _share(sum(bool(one.dead_equal) for one in dead), len(dead)),
        _share(sum(one.rows_equal for one in counted), rows),
        _share(sum(one.points_equal for one in counted), rows),
        _share(sum(bool(one.total_equal) for one in totals), len(totals))
        if totals
        else "not shown",
        words or "none",
    )
    return f"| {' | '.join(cells)} |"


def _by_stat(one: Results) -> list[str]:
    """A kernel whose killer sees what stat shows, and not what status shows."""
    status = sum(verdict.rows_equal for verdict in one.verdicts)
    stat = sum(verdict.rows_equal_by_stat for verdict in one.verdicts)
    if stat <= status:
        return []
    rows = sum(verdict.rows for verdict in one.verdicts)
    return [
        "",
        f"{one.kernel}: its killer does not sum the per-CPU counters of rss, nor does stat; status "
        f"does, which is what oomd reads. With rss from stat {stat} of {rows} rows are equal.",
    ]


def table(kernels: list[Results]) -> str:
    """As Markdown, with when and where below it."""
    lines = [f"| {' | '.join(COLUMNS)} |", f"|{' --- |' * len(COLUMNS)}"]
    for one in kernels:
        scenes = dict.fromkeys(verdict.scene for verdict in one.verdicts)
        for scene in sorted(scenes, key=("sysrq", "memcg", "cpuset", "mempolicy").index):
            chosen = [verdict for verdict in one.verdicts if verdict.scene == scene]
            lines.append(_row(one.kernel, scene, chosen))
    verdicts = [verdict for one in kernels for verdict in one.verdicts]
    lines.append(_row("all", "", verdicts))
    dates = sorted({date for one in kernels for date in one.dates})
    machines = sorted({machine for one in kernels for machine in one.machines})
    seeds = sorted({seed for one in kernels for seed in one.seeds})
    for one in kernels:
        lines += _by_stat(one)
    same = sum(bool(one.el7_agrees) for one in verdicts)
    lines += [
        "",
        f"The el7 profile names the same victims in {same} of these {len(verdicts)} populations.",
        "",
        f"({', '.join(dates)}; {'; '.join(machines)}; seed {', '.join(map(str, seeds))}; "
        "`python -m tests.oracle`)",
    ]
    return "\n".join(lines) + "\n"


def write_readme(readme: Path, text: str) -> None:
    """Between its two marks."""
    old = readme.read_text()
    head, _, rest = old.partition(BEGIN)
    _, _, tail = rest.partition(END)
    if not tail:
        raise ValueError(f"{readme} has no {BEGIN.strip()} ... {END}")
    readme.write_text(f"{head}{BEGIN}{text}{END}{tail}")
