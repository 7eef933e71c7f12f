"""A machine of a million pages without swap, and short ways to fill it and to ask."""

from collections.abc import Iterable
from typing import Any, assert_never

from oomd.mm.constraint import case_of
from oomd.mm.oom_badness import Case
from oomd.mm.out_of_memory import out_of_memory
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import MemCgroup, MemInfo, Node, Snapshot, Sysctls, Task
from oomd.oom import (
    CurrentTask,
    Decision,
    Freed,
    Kill,
    LetItExit,
    NoneKillable,
    Notified,
    NotifierChain,
    OomControl,
    Panic,
    Wait,
)

TOTALPAGES = 1_000_000
MEMINFO = MemInfo(TOTALPAGES * 4, 10_000, 20_000)
BOTH = (EL7, MAINLINE)

# node 0 has a hole: a tenth of what it spans is not there.
NODES = (Node(0, 500_000, 450_000), Node(1, 550_000, 550_000))


def task(pid: int, rss_pages: int = 0, **fields: Any) -> Task:
    """An ordinary process that started in the order of its pid, unless ``fields`` say else."""
    return Task(pid, pid, f"p{pid}", mm_tid=pid, rss_pages=rss_pages)._replace(**fields)


def current_of(process: Task, **fields: Any) -> CurrentTask:
    """``process`` as the one that was seen allocating."""
    return CurrentTask(
        process.pid, process.pid, 5, starttime_ticks=process.starttime_ticks
    )._replace(**fields)


def chain(freed_pages: int, *, came_back: bool = True, called: bool = True) -> NotifierChain:
    """Step 1 with one notifier."""
    return NotifierChain(
        (Notified("balloon", 0, freed_pages, "called"),), called, freed_pages, came_back
    )


def machine(tasks: Iterable[Task], **fields: Any) -> Snapshot:
    return Snapshot(tuple(tasks), MEMINFO)._replace(**fields)


def memcg_of(tasks: Iterable[Task], **fields: Any) -> MemCgroup:
    """A v1 cgroup of 100,000 pages with these in it."""
    pids = frozenset(task.pid for task in tasks)
    return MemCgroup("/box", 1, 100_000, 100_000, pids=pids)._replace(**fields)


def judge(
    policy: Policy,
    *tasks: Task,
    oc: OomControl = OomControl(),  # noqa: B008 - a frozen record
    sysctls: Sysctls = Sysctls(),  # noqa: B008 - a frozen record
    freed: NotifierChain = NotifierChain(),  # noqa: B008 - a frozen record
    **fields: Any,
) -> Decision:
    return out_of_memory(oc, machine(tasks, **fields), sysctls, policy, freed=freed)


def case(policy: Policy, oc: OomControl = OomControl(), **fields: Any) -> Case:  # noqa: B008
    """The question alone, on the machine of a million pages."""
    return case_of(oc, machine((), **fields), policy)


def words(decision: Decision) -> str:
    """A decision in a few words, for tables."""
    match decision:
        case Freed():
            return f"freed {decision.freed_pages}"
        case LetItExit():
            return f"let {decision.task.pid} exit"
        case Panic():
            return f"panic {decision.step}: {decision.message}"
        case Kill():
            return f"kill {decision.chosen.pid}: {decision.message}"
        case Wait():
            return f"wait for {decision.task.pid}: {decision.reason}"
        case NoneKillable():
            return f"none killable: {decision.message}"
        case _:
            assert_never(decision)
