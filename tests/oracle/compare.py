"""Holds what oomd predicted against what the kernel did: pure, from one raw result."""

from dataclasses import dataclass
from typing import Any

from oomd.mm.oom_badness import Case
from oomd.mm.policy import MAINLINE
from oomd.mm.select_bad_process import select_bad_process
from oomd.mm_types import Task
from oomd.oom import OomControl
from oomd.replay.collect import Collector
from oomd.replay.judge import judge
from oomd.replay.kernel_report import KernelReport, Row
from oomd.replay.prefix import logged

__all__ = ["CAUSES", "Verdict", "compare", "first_report"]

Json = dict[str, Any]

CAUSES = {
    "changed": "the figures changed between the two looks",
    "counters": "this kernel's killer does not sum the per-CPU counters of rss, as status does",
    "order": "of equals, which one was there first cannot be seen",
    "early": "the kernel ran out of memory before it was asked to",
    "harness": "the run itself failed",
    "policy": "the policy",
}
"""Why the two may differ, worst last."""


@dataclass(frozen=True)
class Verdict:
    """One population, judged."""

    number: int
    kernel: str
    scene: str
    victim_equal: bool = False
    """The kernel chose the process that oomd would have chosen."""
    dead_equal: bool | None = None
    """The same processes died with it. None: the kernel killed more than once."""
    total_equal: bool | None = None
    """``totalpages``. None: the report does not show it."""
    rows: int = 0
    """Rows of the kernel's table that are of the population."""
    rows_equal: int = 0
    """Those whose rss, page tables, swap entries and oom_score_adj oomd had seen just so."""
    rows_equal_by_stat: int = 0
    """The same with rss from stat: later kernels sum the per-CPU counters for status alone."""
    points_equal: int = 0
    """Those whose points are the same: what was swapped out meanwhile counts as before."""
    el7_agrees: bool | None = None
    """The el7 profile names the same victims: nothing that the two profiles differ in mattered."""
    cause: str = ""
    """A key of CAUSES; empty: nothing differs that matters."""
    detail: str = ""

    @property
    def agrees(self) -> bool:
        return not self.cause


def first_report(records: list[str]) -> tuple[KernelReport | None, int]:
    """The report of the OOM that was asked for, and how many there are."""
    collector = Collector()
    found = []
    for number, record in enumerate(records, 1):
        found += list(collector.feed(number, logged(record)))
    found += list(collector.finish())
    found = [report for report in found if not report.by_oomd]
    return (found[0] if found else None), len(found)


# --- row by row


def _row_of(task: Json) -> tuple[int, int, int, int]:
    return (
        task["rss_pages"],
        task["pgtables_pages"],
        task["swapents_pages"],
        task["oom_score_adj"],
    )


def _row_in(row: Row, page_bytes: int) -> tuple[int, int, int, int]:
    return (row.rss_pages, row.pgtables // page_bytes, row.swapents_pages, row.oom_score_adj)


def _population(result: Json) -> set[int]:
    made = result["people"]
    return {one["pid"] for one in made} | {pid for one in made for _, pid in one["relatives"]}


class _Look:
    """What oomd saw, beside what the kernel's table has."""

    def __init__(self, result: Json, report: KernelReport) -> None:
        page_bytes = result["audit"]["page_size_bytes"]
        self.theirs = {row.tgid: _row_in(row, page_bytes) for row in report.table.rows}
        self.ours = {task["pid"]: _row_of(task) for task in result["audit"]["tasks"]}
        stat_rss = {int(pid): rss for pid, rss in result.get("stat_rss_pages", {}).items()}
        self.by_stat = {
            pid: (stat_rss[pid], *row[1:]) for pid, row in self.ours.items() if pid in stat_rss
        }

    def equal(self, pid: int) -> bool:
        return self.ours.get(pid) == self.theirs[pid]

    def equal_by_stat(self, pid: int) -> bool:
        return self.by_stat.get(pid) == self.theirs[pid]

    def same_points(self, pid: int) -> bool:
        seen, theirs = self.ours.get(pid), self.theirs[pid]
        return seen is not None and sum(seen[:3]) == sum(theirs[:3]) and seen[3] == theirs[3]

    def words(self, pid: int) -> str:
        return f"{pid}: oomd saw {self.ours.get(pid)}, the kernel {self.theirs[pid]}"


def _triggers(result: Json) -> set[int]:
    return {one["pid"] for one in result["people"] if "trigger" in one["arguments"]}


# --- the verdict


def _kernel_victim(report: KernelReport) -> int | None:
    """The process that the kernel chose; 0: nobody was killable."""
    if report.none_killable:
        return 0
    # A member of its memory.oom.group may be exiting, too: the first one killed is the chosen one.
    named = report.killed[0] if report.killed else report.exiting
    if named is None:
        return None
    row = report.table.find(named.pid)
    return row.tgid if row is not None else named.pid


def _our_victim(decision: Json) -> int | None:
    if decision["verdict"] == "none_killable":
        return 0
    chosen = decision["chosen"]
    return chosen["pid"] if chosen else None


def _dead_equal(result: Json, reports: int) -> bool | None:
    if reports != 1:
        return None
    victims = {one["pid"] for one in result["audit"]["decision"]["victims"]}
    mine = _population(result)
    return victims & mine == set(result["dead"]) & mine


def _from_the_table(result: Json, report: KernelReport) -> int:
    """Whom the policy chooses from the kernel's own figures, in the kernel's own order."""
    page_bytes = result["audit"]["page_size_bytes"]
    tasks = []
    for place, row in enumerate(report.table.rows):
        rss, pgtables, swapents, adj = _row_in(row, page_bytes)
        tasks.append(
            Task(
                row.tgid,
                place,
                rss_pages=rss,
                pgtables_pages=pgtables,
                swapents_pages=swapents,
                oom_score_adj=adj,
            )
        )
    # What the population was told to do is known here; oomd had to find it out.
    vforked = {
        pid
        for one in result["people"]
        if "--vfork" in one["arguments"]
        for _, pid in one["relatives"][-1:]
    }
    oc = OomControl(manual=True, vforking=frozenset(t.ident for t in tasks if t.pid in vforked))
    case = Case(oc, MAINLINE, result["audit"]["decision"]["totalpages"])
    chosen = select_bad_process(tasks, case).chosen
    return chosen.pid if chosen is not None else 0


def _cause(result: Json, report: KernelReport, ours: int | None, theirs: int | None) -> str:
    """Why the victims differ. The policy is to blame unless it is shown not to be."""
    if _from_the_table(result, report) != theirs:
        return "policy"
    look = _Look(result, report)
    pids = [pid for pid in (ours, theirs) if pid]
    if not all(pid in look.theirs for pid in pids):
        return "changed"
    if all(look.equal(pid) for pid in pids):
        return "order"
    return "counters" if all(look.equal_by_stat(pid) for pid in pids) else "changed"


def compare(result: Json) -> Verdict:
    """Judge a raw result of ``guest.main``."""
    population = result["population"]
    verdict = Verdict(population["number"], result["kernel"], population["scene"])
    report, reports = first_report(result["kmsg"])
    if report is None or not report.settled or not report.table.rows:
        return _failed(verdict, "harness", "the kernel's report is not there, or not whole")
    if result.get("early"):
        return _failed(verdict, "early", "a node was full too soon")
    decision = result["audit"]["decision"]
    ours, theirs = _our_victim(decision), _kernel_victim(report)
    look = _Look(result, report)
    mine = _population(result) - _triggers(result)
    rows = [pid for pid in look.theirs if pid in mine]
    words = [look.words(pid) for pid in rows if not look.equal(pid)]
    total = judge(report, "mainline").total.pages
    found = Verdict(
        number=verdict.number,
        kernel=verdict.kernel,
        scene=verdict.scene,
        victim_equal=ours is not None and ours == theirs,
        dead_equal=_dead_equal(result, reports),
        total_equal=None if total is None else total == decision["totalpages"],
        rows=len(rows),
        rows_equal=sum(look.equal(pid) for pid in rows),
        rows_equal_by_stat=sum(look.equal_by_stat(pid) for pid in rows),
        points_equal=sum(look.same_points(pid) for pid in rows),
        el7_agrees="el7" in result and _victims(result["el7"]) == _victims(decision),
        detail="; ".join(words[:4]),
    )
    return _explained(found, result, report, ours, theirs)


def _victims(decision: Json) -> list[int]:
    return sorted(one["pid"] for one in decision["victims"])


def _failed(verdict: Verdict, cause: str, why: str) -> Verdict:
    return Verdict(verdict.number, verdict.kernel, verdict.scene, cause=cause, detail=why)


def _explained(
    found: Verdict, result: Json, report: KernelReport, ours: int | None, theirs: int | None
) -> Verdict:
    cause, detail = "", found.detail
    if not found.victim_equal:
        cause = _cause(result, report, ours, theirs)
        detail = f"oomd chose {ours}, the kernel {theirs}; {detail}"
    elif found.dead_equal is False:
        victims = _victims(result["audit"]["decision"])
        cause, detail = "policy", f"oomd kills {victims}, dead are {result['dead']}; {detail}"
    elif found.total_equal is False:
        cause = "policy"
        detail = f"totalpages: oomd's are {result['audit']['decision']['totalpages']}; {detail}"
    return Verdict(**{**found.__dict__, "cause": cause, "detail": detail})
