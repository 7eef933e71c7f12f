"""``oom_badness()``: how bad a task is, in pages, or why it may never be chosen."""

from oomd.mm.policy import Policy
from oomd.mm_types import OOM_SCORE_ADJ_MIN, MemCgroup, Task
from oomd.oom import Constraint, OomControl, Ruling

__all__ = [
    "Case",
    "c_div",
    "ineligible",
    "oom_badness",
    "oom_score",
    "points_of",
    "ruling_of",
    "unkillable",
    "without_rules",
]


def c_div(dividend: int, divisor: int) -> int:
    """C's integer division, which rounds towards zero where Python's rounds down."""
    quotient = abs(dividend) // abs(divisor)
    return quotient if (dividend < 0) == (divisor < 0) else -quotient


class Case:
    """One question with what ``constrained_alloc()`` found: what every task is held against.

    Immutable after construction; a class of its own so that 30,000 tasks share one.
    """

    __slots__ = ("memcg", "nodemask", "oc", "policy", "totalpages")

    def __init__(
        self, oc: OomControl, policy: Policy, totalpages: int, memcg: MemCgroup | None = None
    ) -> None:
        self.oc = oc
        self.policy = policy
        self.totalpages = totalpages
        self.memcg = memcg
        self.nodemask = oc.nodemask
        if oc.constraint is Constraint.MEMCG and not policy.nodes_bind_memcg:
            self.nodemask = None
        # "If this is a mempolicy constrained oom, tsk's cpuset is irrelevant."
        # Unlike the kernel: the daemon does not look at mempolicies (numa_maps takes the mmap
        # lock), and takes everybody's for the default one, which any node may serve.
        if oc.constraint is Constraint.MEMORY_POLICY:
            self.nodemask = None


def unkillable(task: Task, case: Case) -> str:
    """``oom_unkillable_task()`` and ``oom_cpuset_eligible()``: the reason, or an empty string."""
    if task.pid == 1:
        return "global init"
    if task.kthread:
        return "kernel thread"
    # Unlike the kernel: the guard is a process like any other to it, but must not kill itself.
    if task.ident in case.oc.spared:
        return "oomd itself"
    if case.memcg is not None and task.pid not in case.memcg.pids:
        return "outside the memory cgroup"
    if task.ident in case.oc.bound_elsewhere:
        return "its mempolicy has no node in common with current's"
    # Unlike the kernel: the nodes asked about stand in for those of current.
    if case.nodemask is not None and task.mems_allowed is not None:
        if not task.mems_allowed & case.nodemask:
            return "no allowed node in common with current"
    return ""


def without_rules(case: Case) -> Case:
    """The same question, as the kernel alone would answer it."""
    return Case(case.oc._replace(rules=None), case.policy, case.totalpages, case.memcg)


def ruling_of(task: Task, case: Case) -> Ruling | None:
    """What the admin's rules say of it; None: nothing, or there are none."""
    return None if case.oc.rules is None else case.oc.rules.ruling(task)


def ineligible(task: Task, case: Case) -> str:
    """Why ``oom_badness()`` would say "never" (0 on el7, LONG_MIN later), or an empty string."""
    reason = unkillable(task, case)
    if reason:
        return reason
    if task.exit_state:
        return "exited already"
    if task.refused:
        # Unlike the kernel: it sees every task; one that could not be read cannot be scored.
        return f"not readable ({task.refused})"
    if not task.has_mm:
        return "no mm"
    if task.oom_score_adj == OOM_SCORE_ADJ_MIN:
        return "oom_score_adj -1000"
    # Unlike the kernel (el7): it waits for a stuck victim for ever, a daemon passes over it.
    if task.ident in case.oc.passed_over:
        return "passed over (MMF_OOM_SKIP)"
    if case.policy.whole_process_dies and task.ident in case.oc.vforking:
        return "in vfork"
    # Unlike the kernel: it knows no rules. Last, so that its own reason is told where it has one.
    ruling = ruling_of(task, case)
    if ruling is not None and ruling.never:
        return f"ruled out: {ruling.rule}"
    return "smaller than kill.min_size_mib" if ruling is not None and ruling.small else ""


def oom_badness(task: Task, totalpages: int, policy: Policy) -> int:
    """Points in pages of an eligible task (``oom_badness()``, mm/oom_kill.c)."""
    points = task.rss_pages + task.pgtables_pages + task.swapents_pages
    # has_capability_noaudit() asks in the initial user namespace: a container's root in a
    # namespace of its own gets nothing.
    # Unlike the kernel: a namespace that is not observable counts as the initial one.
    if policy.root_discount and task.cap_sys_admin and task.init_user_ns is not False:
        points -= points * 3 // 100
    points += task.oom_score_adj * (totalpages // 1000)
    if policy.floor_points is not None and points < policy.floor_points:
        return policy.floor_points
    return points


def points_of(task: Task, case: Case) -> int:
    """``oom_badness()`` of an eligible task, with what the admin's rules add or take away."""
    points = oom_badness(task, case.totalpages, case.policy)
    if (ruling := ruling_of(task, case)) is not None:
        # Unlike the kernel: it knows no rules. Below its own floor, too: of two that are to be
        # avoided the larger one goes first.
        points += ruling.adj * (case.totalpages // 1000)
    return points


def oom_score(points: int, totalpages: int) -> int:
    """The score in the kernel's log line: thousandths of ``totalpages``."""
    return c_div(points * 1000, totalpages)
