"""Populations of tasks, and questions to ask of them, for property tests."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from hypothesis import strategies as st

from oomd.mm.policy import EL7, MAINLINE
from oomd.mm_types import (
    PF_EXITING,
    PF_KTHREAD,
    PF_MEMALLOC,
    MemCgroup,
    MemInfo,
    Node,
    Snapshot,
    Sysctls,
    Task,
    TaskId,
)
from oomd.oom import Constraint, CurrentTask, NotifierChain, OomControl
from oomd.records.rulings import Ruled, Rulings
from tests.mm.machine import NODES, TOTALPAGES

__all__ = [
    "Question",
    "chains",
    "policies",
    "populations",
    "questions",
    "rulings",
    "sysctls",
    "tasks",
]

policies = st.sampled_from((EL7, MAINLINE))

# Few distinct sizes and ages, so that ties are common.
_sizes = st.one_of(st.integers(0, 5), st.integers(0, TOTALPAGES))
_adjs = st.one_of(st.sampled_from((-1000, -999, -1, 0, 0, 0, 1, 1000)), st.integers(-1000, 1000))
_rarely = st.sampled_from((False,) * 9 + (True,))
_mems = st.sampled_from((None, 0b01, 0b10, 0b11))

# What may be odd about a process besides its size, one thing at a time: it shrinks well.
_ODDITIES: tuple[dict[str, Any], ...] = (
    {"has_mm": False},
    {"state": "Z", "has_mm": False},
    {"state": "Z"},
    {"flags": PF_KTHREAD, "has_mm": False},
    {"flags": PF_KTHREAD},
    {"flags": PF_MEMALLOC},
    {"refused": "status: EACCES", "uid": None},
    {"mm_tid": 9_999, "num_threads": 2},
    {"comm": "b) R 1\n"},
)
_DYING: tuple[dict[str, Any], ...] = (
    {"flags": PF_EXITING},
    {"flags": PF_EXITING, "num_threads": 2},
    {"flags": PF_EXITING, "tracer_pid": 7},
    {"flags": PF_EXITING, "has_mm": False},
    {"sigkill_pending": True},
    {"sigkill_pending": True, "oom_score_adj": -1000},
)
_NOTHING: tuple[dict[str, Any], ...] = ({},)
_odd = st.sampled_from(_NOTHING * 9 + _ODDITIES)
_odd_or_dying = st.sampled_from(_NOTHING * 9 + _ODDITIES + _DYING)


@st.composite
def tasks(draw: st.DrawFn, pid: int = 100, dying: bool = True) -> Task:
    """Any process at all with this pid; ``dying``: it may be."""
    return Task(
        pid=pid,
        starttime_ticks=draw(st.integers(0, 4)),
        mm_tid=pid,
        rss_pages=draw(_sizes),
        pgtables_pages=draw(st.integers(0, 3)),
        swapents_pages=draw(_sizes),
        oom_score_adj=draw(_adjs),
        cap_sys_admin=draw(st.booleans()),
        init_user_ns=draw(st.sampled_from((None, False, True))),
        mems_allowed=draw(_mems),
    )._replace(**draw(_odd_or_dying if dying else _odd))


@st.composite
def populations(draw: st.DrawFn, dying: bool = True, max_size: int = 8) -> tuple[Task, ...]:
    """Processes with pids of their own, in no order. Whether any is dying at all is drawn first,
    or nearly every scan would stop at one."""
    dying = dying and draw(st.booleans())
    pids = draw(st.lists(st.integers(1, 60), unique=True, max_size=max_size))
    return tuple(draw(tasks(pid, dying)) for pid in pids)


class Question(NamedTuple):
    """All that ``out_of_memory()`` looks at, but for the settings."""

    oc: OomControl
    snapshot: Snapshot


@st.composite
def _memcgs(draw: st.DrawFn, population: tuple[Task, ...]) -> MemCgroup:
    pids = frozenset(task.pid for task in population if not draw(_rarely))
    return MemCgroup(
        "/box",
        version=draw(st.sampled_from((1, 2))),
        usage_pages=100,
        limit_pages=draw(st.sampled_from((None, 0, 100, TOTALPAGES))),
        swap_limit_pages=draw(st.sampled_from((None, 0, 100))),
        memsw_limit_pages=draw(st.sampled_from((None, 150))),
        swappiness=draw(st.sampled_from((0, 60))),
        oom_kill_disable=draw(_rarely),
        pids=pids,
    )


@st.composite
def _some(draw: st.DrawFn, idents: list[TaskId]) -> frozenset[TaskId]:
    """None of them most of the time, else a few."""
    if not idents or draw(st.integers(0, 3)):
        return frozenset()
    return frozenset(draw(st.lists(st.sampled_from(idents), max_size=3)))


@st.composite
def _currents(draw: st.DrawFn, idents: list[TaskId]) -> CurrentTask | None:
    if not idents or draw(st.booleans()):
        return None
    pid, starttime_ticks = draw(st.sampled_from(idents))
    return CurrentTask(
        pid,
        pid,
        seen_ms_ago=3,
        sigkill_pending=draw(_rarely),
        exiting=draw(_rarely),
        starttime_ticks=starttime_ticks,
    )


_ruled = st.tuples(
    st.sampled_from(("", "a rule")),
    st.sampled_from((-1000, -1, 0, 1, 300)),
    _rarely,
    _rarely,
    _rarely,
)


@st.composite
def rulings(draw: st.DrawFn, idents: list[TaskId]) -> Rulings | None:
    """No rules half of the time, else rules that say something of some processes."""
    if not idents or draw(st.booleans()):
        return None
    whose = draw(st.lists(st.sampled_from(idents), max_size=4, unique=True))
    return Rulings(Ruled(one, *draw(_ruled)) for one in whose)


@st.composite
def questions(
    draw: st.DrawFn, dying: bool = True, constraints: Iterable[Constraint] = Constraint
) -> Question:
    """A machine and what is asked of it, in any company."""
    population = draw(populations(dying))
    idents = [task.ident for task in population]
    constraint = draw(st.sampled_from(tuple(constraints)))
    oc = OomControl(
        current=draw(_currents(idents)),
        constraint=constraint,
        nodemask=draw(st.sampled_from((None, 0b01, 0b10, 0b11))),
        manual=draw(_rarely),
        victims=draw(_some(idents)) if dying else frozenset(),
        passed_over=draw(_some(idents)),
        origins=draw(_some(idents)),
        vforking=draw(_some(idents)),
        spared=draw(_some(idents)),
        rules=draw(rulings(idents)),
    )
    nodes: tuple[Node, ...] = draw(st.sampled_from(((), NODES)))
    memcg = draw(_memcgs(population)) if constraint is Constraint.MEMCG else None
    meminfo = MemInfo(TOTALPAGES * 4, 0, 0, swap_total_kib=draw(st.sampled_from((0, 4_000))))
    snapshot = Snapshot(population, meminfo, nodes=nodes, memcg=memcg, tasks_seen=len(population))
    return Question(oc, snapshot)


sysctls = st.builds(
    Sysctls,
    panic_on_oom=st.sampled_from((0, 0, 0, 1, 2)),
    oom_kill_allocating_task=st.sampled_from((0, 0, 1)),
)

chains = st.builds(
    NotifierChain,
    called=st.booleans(),
    freed_pages=st.sampled_from((0, 0, 100)),
    came_back=st.booleans(),
)
