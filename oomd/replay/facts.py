"""What a line of an OOM report can say: one record for each kind of line."""

from typing import NamedTuple

from oomd.replay.kernel_report import Invoked, Limit, Named, Row

__all__ = [
    "Booted",
    "Buddy",
    "Chosen",
    "Cpu",
    "Cpuset",
    "Exiting",
    "Fact",
    "Group",
    "Header",
    "HugePages",
    "Killed",
    "Lost",
    "MemInfoBegins",
    "MemcgOf",
    "NoneKillable",
    "Pages",
    "Panicked",
    "Sharer",
    "Summary",
    "Swap",
    "SysRq",
    "Zone",
]


class Cpu(NamedTuple):
    """``CPU: N PID: N Comm: ...``: who was allocating, and the kernel's release."""

    current: Named
    kernel: str


class Cpuset(NamedTuple):
    """``COMM cpuset=... mems_allowed=...`` (before 5.0)."""

    mems_allowed: str


class SysRq(NamedTuple):
    """Somebody asked for it: sysrq-f."""


class MemInfoBegins(NamedTuple):
    """``Mem-Info:``, or where the stack is that comes before it."""


class MemcgOf(NamedTuple):
    """Whose limit was hit."""

    path: str


class Zone(NamedTuple):
    """A zone of a node, with the pages that are present. None: cut off."""

    nid: int
    present_kib: int | None


class Buddy(NamedTuple):
    """The free lists of a zone: its smallest block is a page."""

    page_kib: int


class HugePages(NamedTuple):
    """A node that has memory."""

    nid: int


class Pages(NamedTuple):
    """``N pages RAM`` and ``N pages reserved``."""

    which: str
    pages: int


class Swap(NamedTuple):
    """``Total swap = NkB``."""

    total_kib: int


class Header(NamedTuple):
    """The task table begins."""

    columns: tuple[str, ...]


class Summary(NamedTuple):
    """``oom-kill:constraint=...`` (5.0 on)."""

    constraint: str
    nodemask: str
    mems_allowed: str
    memcg: str
    chosen: Named


class Chosen(NamedTuple):
    """``...: Kill process N (comm) score N or sacrifice child`` (before 5.1)."""

    message: str
    chosen: Named
    score: int


class Killed(NamedTuple):
    """``Killed process N (comm) total-vm:...``, with a message before it from 5.1 on."""

    message: str
    victim: Named
    total_vm_kib: int | None


class Exiting(NamedTuple):
    """The victim was found exiting."""

    victim: Named


class Sharer(NamedTuple):
    """Killed for sharing the victim's memory (el7)."""

    victim: Named


class Group(NamedTuple):
    """A cgroup is killed as a whole."""

    path: str


class Booted(NamedTuple):
    """``Linux version ...``: whatever was before it was another life."""

    kernel: str


class NoneKillable(NamedTuple):
    """``Out of memory and no killable processes...`` without a panic."""


class Panicked(NamedTuple):
    """The OOM killer's panic. ``kernel``: with the words of panic() before it."""

    message: str
    kernel: bool


class Lost(NamedTuple):
    """The logger says that it has dropped lines."""


Fact = (
    Invoked
    | Row
    | Cpu
    | Cpuset
    | SysRq
    | MemInfoBegins
    | MemcgOf
    | Limit
    | Zone
    | Buddy
    | HugePages
    | Pages
    | Swap
    | Header
    | Summary
    | Chosen
    | Killed
    | Exiting
    | Sharer
    | Group
    | NoneKillable
    | Panicked
    | Lost
    | Booted
)
