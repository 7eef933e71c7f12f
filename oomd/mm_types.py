"""What was read: tasks, memory, settings. Frozen records, no I/O.

``NamedTuple`` and not ``dataclasses``: the sentinel keeps its memory locked, and importing
dataclasses costs it a megabyte of it.
"""

from oomd.typed import NamedTuple

__all__ = [
    "CAP_SYS_ADMIN",
    "OOM_SCORE_ADJ_MIN",
    "PF_EXITING",
    "PF_KTHREAD",
    "PF_MEMALLOC",
    "MemCgroup",
    "MemInfo",
    "Node",
    "Pressure",
    "Snapshot",
    "Stall",
    "Sysctls",
    "Task",
    "TaskId",
]

# include/linux/sched.h; the values have not changed between 3.10 and 6.x.
PF_EXITING = 0x00000004
PF_MEMALLOC = 0x00000800
PF_KTHREAD = 0x00200000

# include/uapi/linux/oom.h: exempt from the OOM killer.
OOM_SCORE_ADJ_MIN = -1000

# include/uapi/linux/capability.h: the bit in CapEff that earns el7's root discount.
CAP_SYS_ADMIN = 21


class TaskId(NamedTuple):
    """A process for good: a pid alone may be somebody else's by the time it is used."""

    pid: int
    starttime_ticks: int


class Task(NamedTuple):
    """One process (thread group), as ``/proc/PID/{stat,status,oom_score_adj}`` show it.

    The memory figures come from the leader or, when the leader has exited before its
    threads, from a living thread (``find_lock_task_mm()``): ``mm_tid`` says which.
    """

    pid: int
    """Thread group id."""
    starttime_ticks: int
    """Field 22 of stat, clock ticks since boot. Kept by exec: this is the fork order."""
    comm: str = ""
    """As the kernel has it, undecodable bytes as surrogates: never print it raw."""
    ppid: int = 0
    uid: int | None = 0
    """Real uid, as in the kernel's task table. None: not observable."""
    state: str = "S"
    """State letter of the thread that ``mm_tid`` names."""
    flags: int = 0
    """PF_* of the thread that ``mm_tid`` names."""
    mm_tid: int = 0
    """Thread whose figures these are; equal to ``pid`` unless the leader has exited."""
    num_threads: int = 1
    has_mm: bool = True
    """status shows Vm lines: the task has an mm."""
    rss_pages: int = 0
    pgtables_pages: int = 0
    swapents_pages: int = 0
    total_vm_pages: int = 0
    anon_rss_pages: int = 0
    file_rss_pages: int = 0
    shmem_rss_pages: int = 0
    oom_score_adj: int = 0
    cap_sys_admin: bool = False
    """CapEff has bit 21."""
    init_user_ns: bool | None = None
    """In the initial user namespace. None: not read (no capability to discount) or refused."""
    sigkill_pending: bool = False
    """SIGKILL in the thread's SigPnd or the process's ShdPnd."""
    tracer_pid: int = 0
    mems_allowed: int | None = None
    """Bitmask of the NUMA nodes the task may use. None: not observable."""
    faults: int = 0
    """minflt + majflt, a running count."""
    refused: str = ""
    """What could not be read of a task that is there, e.g. ``status: EACCES``."""

    @property
    def ident(self) -> TaskId:
        return TaskId(self.pid, self.starttime_ticks)

    @property
    def leader_exited(self) -> bool:
        return self.mm_tid != self.pid

    @property
    def exit_state(self) -> bool:
        """``task->exit_state`` is set: zombie or dead, nothing left to give back."""
        return self.state in ("Z", "X", "x")

    @property
    def kthread(self) -> bool:
        return bool(self.flags & PF_KTHREAD)

    @property
    def exiting(self) -> bool:
        return bool(self.flags & PF_EXITING)

    @property
    def size_pages(self) -> int:
        """What ``oom_badness()`` counts before any adjustment: rss, page tables, swap."""
        return self.rss_pages + self.pgtables_pages + self.swapents_pages


class MemInfo(NamedTuple):
    """``/proc/meminfo``, in KiB as there."""

    mem_total_kib: int
    mem_free_kib: int
    mem_available_kib: int
    """``MemAvailable``; before 3.14, free + buffers + cached - shmem stands in."""
    swap_total_kib: int = 0
    swap_free_kib: int = 0
    buffers_kib: int = 0
    cached_kib: int = 0
    shmem_kib: int = 0
    slab_kib: int = 0
    slab_reclaimable_kib: int = 0
    hugetlb_kib: int = 0
    mlocked_kib: int = 0
    anon_pages_kib: int = 0


class Stall(NamedTuple):
    """One line of a pressure file."""

    avg10_percent: float
    avg60_percent: float
    avg300_percent: float
    total_us: int


class Pressure(NamedTuple):
    """``/proc/pressure/memory`` or a cgroup's ``memory.pressure``."""

    some: Stall
    full: Stall


class Sysctls(NamedTuple):
    """``/proc/sys/vm``: the three that steer the OOM killer. The kernel's defaults."""

    panic_on_oom: int = 0
    oom_kill_allocating_task: int = 0
    oom_dump_tasks: int = 1
    not_observable: tuple[str, ...] = ()
    """Names whose file could not be read: the kernel's default stands in."""


class Node(NamedTuple):
    """A NUMA node, from ``/proc/zoneinfo``."""

    nid: int
    spanned_pages: int
    present_pages: int


class MemCgroup(NamedTuple):
    """A memory cgroup that is judged in place of the whole machine."""

    path: str
    """Below the memory controller's mount, e.g. ``/system.slice/x.service``."""
    version: int
    """1 or 2."""
    usage_pages: int
    limit_pages: int | None
    """``memory.max`` or ``memory.limit_in_bytes``. None: no limit."""
    swap_limit_pages: int | None = None
    """v2 ``memory.swap.max``. None: no limit."""
    memsw_limit_pages: int | None = None
    """v1 ``memory.memsw.limit_in_bytes``. None: no limit or no swap accounting."""
    swappiness: int = 60
    oom_kill_disable: bool = False
    """v1 ``memory.oom_control``: the tasks wait, nobody is killed."""
    pids: frozenset[int] = frozenset()
    """Processes in it and below it."""
    scan_order: tuple[int, ...] = ()
    """v2: the same in the order in which the kernel meets them. Empty: not observable."""
    oom_groups: tuple[tuple[str, frozenset[int]], ...] = ()
    """v2: each cgroup with ``memory.oom.group`` = 1 inside the domain, each before those below
    it, with the processes in it and below it."""


class Snapshot(NamedTuple):
    """Everything one decision is made from, read once."""

    tasks: tuple[Task, ...]
    meminfo: MemInfo
    page_size_bytes: int = 4096
    kernel: str = ""
    """``uname -r``."""
    nodes: tuple[Node, ...] = ()
    memcg: MemCgroup | None = None
    tasks_seen: int = 0
    """How many processes were looked at; ``tasks`` may hold only those that can matter."""
    scan_us: int = 0
    """How long the scan took."""
    tasks_read: int | None = None
    """How many of those that were seen were read in full. None: all."""
    upper_bound_pages: int | None = None
    """Nobody who was not read in full has more points than this. None: all were."""
