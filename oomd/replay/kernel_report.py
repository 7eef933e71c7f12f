"""One OOM report of a kernel, as a log has it. Plain records: what is not in the log is None."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

__all__ = ["Invoked", "KernelReport", "Kind", "Limit", "Named", "Row", "Table"]

Kind = Literal["global", "memcg", "cpuset", "mempolicy", "sysrq", "panic"]


class Named(NamedTuple):
    """A task as a line names it: of a thread, the thread's own pid."""

    pid: int
    comm: str
    """As the log has it: a logger may have escaped it. Never print it raw."""


class Invoked(NamedTuple):
    """``COMM invoked oom-killer: ...``, the first line of ``dump_header()``."""

    comm: str
    gfp_mask: int
    gfp_words: bool
    """The mask is spelled out in parentheses (4.6 on)."""
    nodemask: str
    """4.6 to 4.20: a list of nodes, or ``(null)``. Empty: not printed."""
    order: int
    """-1: asked for by sysrq-f (4.2 on)."""
    oom_score_adj: int


class Limit(NamedTuple):
    """``memory|memory+swap|swap: usage NkB, limit NkB``: of the memory cgroup."""

    which: str
    usage_kib: int
    limit_kib: int


class Row(NamedTuple):
    """A line of the task table (``dump_tasks()``)."""

    pid: int
    """The thread whose mm was found: the leader, unless that has exited."""
    uid: int
    tgid: int
    total_vm_pages: int
    rss_pages: int
    pgtables: int
    """Pages, or bytes where the table says so."""
    swapents_pages: int
    oom_score_adj: int
    comm: str


@dataclass(slots=True)
class Table:
    """The task table, in the kernel's order."""

    columns: tuple[str, ...] = ()
    """Between ``tgid`` and ``name``, as the header names them. Empty: the header is not there."""
    rows: list[Row] = field(default_factory=list)
    truncated: bool = False
    """Lines are known to be missing, or belong to another table."""
    _by_tgid: dict[int, Row] = field(default_factory=dict, repr=False, compare=False)
    _by_pid: dict[int, Row] = field(default_factory=dict, repr=False, compare=False)
    _indexed: int = field(default=0, repr=False, compare=False)

    @property
    def bytes_of_pgtables(self) -> bool:
        """Page tables are in bytes (4.15 on), not in pages."""
        return "pgtables_bytes" in self.columns

    @property
    def scorable(self) -> bool:
        """It has all that ``oom_badness()`` adds up: not before 3.7."""
        page_tables = any(name.startswith(("nr_pt", "pgtables")) for name in self.columns)
        return page_tables and {"rss", "swapents", "oom_score_adj"} <= set(self.columns)

    def find(self, pid: int) -> Row | None:
        """The row of a process, by any of the two pids it shows."""
        # Asked for each of those who were killed: a cgroup that dies as a whole may be the table.
        for row in self.rows[self._indexed :]:
            self._by_tgid.setdefault(row.tgid, row)
            self._by_pid[row.pid] = row
        self._indexed = len(self.rows)
        return self._by_tgid.get(pid) or self._by_pid.get(pid)


@dataclass(slots=True)
class KernelReport:
    """Everything that a log holds of one call of ``out_of_memory()``."""

    line: int
    """Where it begins, counted from 1."""
    when: str = ""
    """The time in front of its first line, as the logger wrote it."""
    invoked: Invoked | None = None
    current: Named | None = None
    """Who was allocating; the pid is the thread's (the line that ``dump_stack()`` begins with)."""
    kernel: str = ""
    """``uname -r``."""
    manual: bool = False
    """Asked for by sysrq-f."""

    # --- how much memory it was about
    ram_pages: int | None = None
    reserved_pages: int | None = None
    swap_total_kib: int | None = None
    present_kib: dict[int, int | None] = field(default_factory=dict)
    """By node, summed over the zones that are shown. None: a zone's line is cut off."""
    memory_nodes: set[int] = field(default_factory=set)
    """Nodes with memory, as far as lines about huge pages name them."""
    page_kib: int | None = None
    """The smallest block of the free lists."""
    mems_allowed: str = ""
    """Of current: a list of nodes."""
    memcg: str = ""
    """The path of the one whose limit was hit."""
    limits: dict[str, Limit] = field(default_factory=dict)
    """By what is limited: ``memory``, v1 ``memory+swap``, v2 ``swap``, as far as printed."""

    # --- who could be chosen, and who was
    table: Table = field(default_factory=Table)
    constraint: str = ""
    """``CONSTRAINT_...`` of the ``oom-kill:`` line (5.0 on)."""
    nodemask: str = ""
    """Of the same line: a list of nodes or ``(null)``."""
    message: str = ""
    """The words before ``: Kill process`` or ``: Killed process``."""
    chosen: Named | None = None
    score: int | None = None
    """``score N or sacrifice child``: only of kernels that may do so (before 5.1)."""
    killed: list[Named] = field(default_factory=list)
    """The victim first, then who died with it."""
    killed_pids: set[int] = field(default_factory=set)
    """The same, to find one by."""
    killed_total_vm_kib: int | None = None
    """Of the victim."""
    sharers: list[Named] = field(default_factory=list)
    """el7 names who died for sharing the victim's memory."""
    group: str = ""
    """The cgroup that died as a whole (``memory.oom.group``)."""
    exiting: Named | None = None
    """The chosen one was found exiting: nobody was killed."""
    none_killable: bool = False
    panic: str = ""
    """The words of the kernel's panic."""

    # --- how it came down to us
    earlier_victims: Sequence[Named] = ()
    """Killed by earlier reports of the same log."""
    entangled: bool = False
    """Lines of another report lie between its own, and cannot be told from them."""
    by_oomd: bool = False
    """No kernel's: the daemon writes the kernel's words for what it kills."""

    def victim_row(self) -> Row | None:
        """The process that the kernel killed first."""
        return self.table.find(self.killed[0].pid) if self.killed else None

    @property
    def of_memcg(self) -> bool:
        """It shows the figures of a memory cgroup, not those of the machine."""
        return "memory" in self.limits

    @property
    def settled(self) -> bool:
        """It says what came of it."""
        ended = self.none_killable or self.exiting is not None
        return bool(self.killed) or bool(self.panic) or ended

    @property
    def has_memory(self) -> bool:
        """It shows what ``totalpages`` was made from."""
        if self.of_memcg:
            return True
        return None not in (self.ram_pages, self.reserved_pages, self.swap_total_kib)

    @property
    def complete(self) -> bool:
        """Its beginning, its memory, its table and its end are all there."""
        whole = self.invoked is not None and self.has_memory and self.settled
        table = bool(self.table.columns) and bool(self.table.rows) and not self.table.truncated
        return whole and table and not self.entangled
