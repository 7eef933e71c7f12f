"""The question that a report's kernel was asked, as ``out_of_memory()`` wants it.

What a report shows goes into the snapshot as it is; what it cannot show is left at its default:
nobody in it is dying, in vfork or in swapoff.
"""

from typing import NamedTuple

from oomd.mm_types import MemCgroup, MemInfo, Node, Snapshot, Sysctls, Task, TaskId
from oomd.oom import Constraint, CurrentTask, OomControl
from oomd.replay.kernel_report import KernelReport, Row
from oomd.replay.totals import constraint_of, page_kib_of

__all__ = ["Assumed", "Question", "chosen_row", "question_of", "task_of"]


class Assumed(NamedTuple):
    """What a report leaves open, and is answered one way or the other."""

    totalpages: int
    discounted: frozenset[int] = frozenset()
    """Processes taken to have CAP_SYS_ADMIN."""
    passed_over: frozenset[int] = frozenset()
    """Processes taken to have been reaped (MMF_OOM_SKIP)."""


class Question(NamedTuple):
    """The arguments of ``out_of_memory()``."""

    oc: OomControl
    snapshot: Snapshot
    sysctls: Sysctls


def chosen_row(report: KernelReport) -> Row | None:
    """The process that the kernel chose. None: it names a thread, or the table lacks it."""
    named = report.chosen or report.exiting
    if named is not None:
        return report.table.find(named.pid)
    # From 5.1 on the victim is the one that was chosen.
    return report.victim_row()


def task_of(
    report: KernelReport, row: Row, place: int, discounted: frozenset[int], page_kib: int
) -> Task:
    """A row as the policy wants it. ``place``: in the table, counted from 0."""
    in_bytes = report.table.bytes_of_pgtables
    return Task(
        pid=row.tgid,
        # The table is in fork order, or in that of the memcg's scan: what decides a tie.
        starttime_ticks=place,
        comm=row.comm,
        uid=row.uid,
        mm_tid=row.pid,
        rss_pages=row.rss_pages,
        pgtables_pages=row.pgtables // (page_kib * 1024) if in_bytes else row.pgtables,
        swapents_pages=row.swapents_pages,
        total_vm_pages=row.total_vm_pages,
        oom_score_adj=row.oom_score_adj,
        cap_sys_admin=row.tgid in discounted,
    )


def _current(report: KernelReport, tasks: tuple[Task, ...]) -> CurrentTask | None:
    """Who was allocating; a kernel thread has no row, and steps 2 and 4 pass over it."""
    named = report.current
    if "oom_kill_allocating_task" in report.message:
        # The kernel says itself that it has chosen current, by any of its threads.
        named = report.chosen or (report.killed[0] if report.killed else named)
    if named is None:
        return None
    row = report.table.find(named.pid)
    for task in tasks:
        if row is not None and task.pid == row.tgid:
            start = task.starttime_ticks
            return CurrentTask(task.pid, named.pid, 0, assumed=True, starttime_ticks=start)
    return CurrentTask(named.pid, named.pid, 0, assumed=True, starttime_ticks=-1)


def _sysctls(report: KernelReport) -> Sysctls:
    """What the kernel's own words say of them."""
    panic = 0
    if "panic_on_oom" in report.panic:
        panic = 2 if "compulsory" in report.panic else 1
    return Sysctls(panic, int("oom_kill_allocating_task" in report.message))


def _memory(
    report: KernelReport, assumed: Assumed, page_kib: int, snapshot: Snapshot
) -> tuple[Snapshot, int | None]:
    """The snapshot with memory that comes to ``assumed.totalpages``, and the nodes in question."""
    total = assumed.totalpages
    constraint = constraint_of(report)
    if constraint is Constraint.MEMCG:
        memory = report.limits.get("memory")
        limit = min(memory.limit_kib // page_kib, total) if memory is not None else total
        memcg = MemCgroup(
            path=report.memcg,
            version=1 if "memory+swap" in report.limits else 2,
            usage_pages=limit,
            limit_pages=limit,
            pids=frozenset(task.pid for task in snapshot.tasks),
        )
        # Whatever is above the limit is swap that may be used.
        swap = MemInfo(0, 0, 0, swap_total_kib=(total - limit) * page_kib)
        return snapshot._replace(meminfo=swap, memcg=memcg), None
    if constraint is not Constraint.NONE:
        # The nodes that may be used are one here, and all others another.
        nodes = (Node(0, total, total), Node(1, 1, 1))
        return snapshot._replace(meminfo=MemInfo(total * page_kib, 0, 0), nodes=nodes), 1
    swap_kib = report.swap_total_kib or 0
    if swap_kib // page_kib >= total:
        swap_kib = 0
    ram_kib = (total - swap_kib // page_kib) * page_kib
    return snapshot._replace(meminfo=MemInfo(ram_kib, 0, 0, swap_total_kib=swap_kib)), None


def question_of(report: KernelReport, assumed: Assumed) -> Question:
    """The report as a question, with what it leaves open answered by ``assumed``."""
    page_kib = page_kib_of(report)
    tasks = tuple(
        task_of(report, row, place, assumed.discounted, page_kib)
        for place, row in enumerate(report.table.rows)
    )
    bare = Snapshot(
        tasks,
        MemInfo(0, 0, 0),
        page_size_bytes=page_kib * 1024,
        kernel=report.kernel,
        tasks_seen=len(tasks),
    )
    snapshot, nodemask = _memory(report, assumed, page_kib, bare)
    skipped = frozenset[TaskId](t.ident for t in tasks if t.pid in assumed.passed_over)
    oc = OomControl(
        current=None if report.manual else _current(report, tasks),
        constraint=constraint_of(report),
        nodemask=nodemask,
        manual=report.manual,
        gfp_mask=report.invoked.gfp_mask if report.invoked is not None else 0,
        passed_over=skipped,
    )
    return Question(oc, snapshot, _sysctls(report))
