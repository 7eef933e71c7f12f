"""The question (``OomControl``) and the answer (``Decision``). Frozen records, no I/O."""

from oomd.mm_types import Task, TaskId
from oomd.typed import Enum, Iterable, Mapping, NamedTuple, Protocol

__all__ = [
    "Companion",
    "Constraint",
    "CurrentTask",
    "Decision",
    "Freed",
    "Kill",
    "KillPlan",
    "LetItExit",
    "NoneKillable",
    "Notified",
    "NotifierChain",
    "OomControl",
    "Panic",
    "Relatives",
    "Rules",
    "Ruling",
    "Step",
    "Value",
    "Wait",
]

Value = int | float | str | bool | None
"""What a trace may hold: everything that JSON has a word for."""


class Constraint(Enum):
    """``enum oom_constraint`` (include/linux/oom.h), by the kernel's names."""

    NONE = "CONSTRAINT_NONE"
    CPUSET = "CONSTRAINT_CPUSET"
    MEMORY_POLICY = "CONSTRAINT_MEMORY_POLICY"
    MEMCG = "CONSTRAINT_MEMCG"


class CurrentTask(NamedTuple):
    """Who is allocating: a thread last seen in direct reclaim (PF_MEMALLOC), or the next best."""

    pid: int
    tid: int
    seen_ms_ago: int
    sigkill_pending: bool = False
    exiting: bool = False
    assumed: bool = False
    """Nobody saw it allocate: a what-if question."""
    starttime_ticks: int = 0
    """Of the process: whoever holds the pid by now may be somebody else."""
    took_pages: int = 0
    """Above 0: nobody was seen reclaiming, and its process has taken so much of late."""

    @property
    def ident(self) -> TaskId:
        return TaskId(self.pid, self.starttime_ticks)


class Ruling(NamedTuple):
    """What the admin's rules say of one process, which the kernel has no word for."""

    rule: str
    """The name of the rule that counts. Empty: none."""
    adj: int = 0
    """On top of oom_score_adj, and as that: thousandths of totalpages."""
    never: bool = False
    """Not to be killed, whatever its points."""
    small: bool = False
    """Not worth choosing: ``kill.min_size_mib``."""
    unread: bool = False
    """It was born since cgroups were last read: rules that ask for one did not count."""


class Rules(Protocol):
    """All of them. Pure: what is not in a task was read ahead."""

    def ruling(self, task: Task) -> Ruling | None:
        """None: nothing."""

    @property
    def highest_adj(self) -> int:
        """No ruling adds more than this, but to those who are among ``raised_pids``."""

    @property
    def raised_pids(self) -> Iterable[int]:
        """Of whom it is known beforehand that a ruling may add something."""


class OomControl(NamedTuple):
    """``struct oom_control``: what is asked. Only the caller sets these."""

    current: CurrentTask | None = None
    """None: nobody was seen allocating, steps 2 and 4 do not apply."""
    constraint: Constraint = Constraint.NONE
    """MEMCG judges the snapshot's ``memcg``; CPUSET and MEMORY_POLICY need ``nodemask``."""
    nodemask: int | None = None
    """Bitmask of the nodes that the allocation may use."""
    manual: bool = False
    """Asked for by hand, as by sysrq-f: ``force_kill`` on el7, ``is_sysrq_oom()`` later."""
    gfp_mask: int = 0
    """Not observable; 0 in the kernel's line says so. A page fault's, with __GFP_FS, is assumed."""
    victims: frozenset[TaskId] = frozenset()
    """Chosen before and not gone yet (TIF_MEMDIE, ``tsk_is_oom_victim()``)."""
    waits_for_others: bool = True
    """False: the storm's patience is used up, only our own victims are waited for."""
    passed_over: frozenset[TaskId] = frozenset()
    """Victims whose time is up (MMF_OOM_SKIP, which userspace cannot see)."""
    origins: frozenset[TaskId] = frozenset()
    """``oom_task_origin()``: swapoff or ksm unmerging. Not observable; assumed none."""
    vforking: frozenset[TaskId] = frozenset()
    """``in_vfork()``: between vfork and exec (mainline). Presumed of one that was chosen."""
    bound_elsewhere: frozenset[TaskId] = frozenset()
    """``mempolicy_in_oom_domain()`` says no: only the audit of a mempolicy's OOM looks."""
    spared: frozenset[TaskId] = frozenset()
    """The guard itself, which no policy may choose."""
    rules: Rules | None = None
    """None: the kernel's alone."""


class Notified(NamedTuple):
    """What one notifier of the chain answered."""

    name: str
    priority: int | None
    """None: not known, a plugin that was not loaded says it itself."""
    claimed_pages: int = 0
    verdict: str = "not called"
    took_ms: int = 0
    mem_free_change_kib: int | None = None
    """MemFree after it less MemFree before it. None: not measured."""
    mem_available_change_kib: int | None = None
    """The same of MemAvailable, which counts page cache already, and so not what drops it."""


class NotifierChain(NamedTuple):
    """Step 1 as it went: the chain acts on the machine, so it ran before the decision."""

    results: tuple[Notified, ...] = ()
    called: bool = False
    """False in an audit, which lists the notifiers but calls none."""
    freed_pages: int = 0
    """What the notifiers claim to have freed, summed."""
    came_back: bool = True
    """The threshold that fired is no longer crossed, so the claim was true enough."""


class Step(NamedTuple):
    """One of the seven steps of ``out_of_memory()``, as it went."""

    step: int
    name: str
    """The kernel's name."""
    verdict: str
    """One short sentence."""
    detail: Mapping[str, Value] = {}


class Freed(NamedTuple):
    """Step 1: the notifiers gave memory back, nobody dies."""

    freed_pages: int
    constraint: Constraint
    totalpages: int
    trace: tuple[Step, ...]


class LetItExit(NamedTuple):
    """Step 2: current is dying already; it gets the reserves and time to finish."""

    task: TaskId
    comm: str
    constraint: Constraint
    totalpages: int
    trace: tuple[Step, ...]


class Panic(NamedTuple):
    """Step 3 or 6: the kernel would panic."""

    step: int
    message: str
    """The kernel's words."""
    constraint: Constraint
    totalpages: int
    trace: tuple[Step, ...]
    warning: str = ""
    """What the kernel says before it panics (mainline, step 6)."""


class Kill(NamedTuple):
    """Step 4 or 5: ``chosen`` goes to ``oom_kill_process()``."""

    chosen: Task
    points: int
    """``oom_badness()`` in pages; 0 for the allocating task, which is not scored."""
    message: str
    """The kernel's words before ``: Kill process``."""
    constraint: Constraint
    totalpages: int
    trace: tuple[Step, ...]


class Wait(NamedTuple):
    """Step 5 aborted: somebody is dying already, the kernel waits for it."""

    task: TaskId
    comm: str
    reason: str
    constraint: Constraint
    totalpages: int
    trace: tuple[Step, ...]


class NoneKillable(NamedTuple):
    """Nothing to kill and no panic either: a memcg, or a manual trigger on mainline."""

    message: str
    constraint: Constraint
    totalpages: int
    trace: tuple[Step, ...]


Decision = Freed | LetItExit | Panic | Kill | Wait | NoneKillable


class Relatives(NamedTuple):
    """The second phase: what depends on the chosen process, read once it is known."""

    children: tuple[Task, ...] = ()
    """Children of every thread of the chosen process."""
    same_mm: frozenset[TaskId] = frozenset()
    """Those of the children that have the chosen one's mm, or must be presumed to."""
    how: str = "kcmp"
    """``kcmp``, ``equal sizes`` (before a kill: kcmp can block) or ``not observable``."""
    seen: int | None = None
    """How many children there were, where ``children`` holds only the best."""


class KillPlan(NamedTuple):
    """``oom_kill_process()`` decided: who is the victim."""

    chosen: Task
    victim: Task
    """The chosen one, or the child that is sacrificed for it (el7)."""
    victim_points: int
    already_dying: bool
    """The chosen one is exiting: it is marked and nobody is killed."""
    trace: Step
    """Step 7."""
    relatives: Relatives = Relatives()
    """What it was decided from."""


class Companion(NamedTuple):
    """Somebody who dies with the victim."""

    task: Task
    why: str
    """``sharing_mm`` or ``oom_group``."""
