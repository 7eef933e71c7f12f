"""Stops kills that give nothing back, and says what holds the memory instead.

The kernel has no such brake: with a full tmpfs it kills everything it may, then panics.
"""

from oomd.mm_types import MemInfo
from oomd.typed import NamedTuple

__all__ = ["FutileGuard", "Holder", "holder_words", "memory_holders"]

# What memory may fall by while it rests, as a share of exhaustion's limit: others' small change.
REST_SHARE = 4


class FutileGuard:
    """Counts kills in a row that gave nothing back; after ``limit`` of them, a pause.

    A kill is futile when less came back than ``share_percent`` of what the victim held. It counts
    when that was less than was short, too: a row ends with the shortage. The pause also takes
    that the row together held as much as was short: small children that die before a large parent
    prove nothing. When it is over one kill is tried; if it too is futile, the next pause begins.

    After each futile kill it rests for as long as memory falls no further: whoever took it is
    dead, though what he took is not back, and the next to die would be innocent. That the
    shortage has ended by a little makes no difference to that.
    """

    __slots__ = (
        "_hold_until_ns",
        "_in_a_row",
        "_left_kib",
        "_row_held_kib",
        "hold_off_ms",
        "limit",
        "share",
    )

    def __init__(self, limit: int = 3, *, hold_off_ms: int = 60_000, share_percent: int = 10):
        """``limit`` 0 switches the guard off."""
        self.limit = limit
        self.hold_off_ms = hold_off_ms
        self.share = share_percent
        self._in_a_row = 0
        self._row_held_kib = 0
        self._hold_until_ns = 0
        self._left_kib = 0

    @property
    def in_a_row(self) -> int:
        """Futile kills since the last one that was worth it."""
        return self._in_a_row

    def holding(self, now_ns: int) -> bool:
        """No kill now: leave it to the kernel."""
        return now_ns < self._hold_until_ns

    def forget(self, *, plenty: bool) -> None:
        """The storm is over: the next begins a row of its own. A pause goes on.

        Without ``plenty`` it rests as before: what is left hovers about the threshold.
        """
        self._in_a_row = self._row_held_kib = 0
        if plenty:
            self._left_kib = 0

    def rest_no_more(self) -> None:
        """What the last one held may be had from somebody else."""
        self._left_kib = 0

    def rests(self, available_kib: int, limit_kib: int) -> bool:
        """The last kill was futile, and memory is where it left it.

        ``limit_kib`` is exhaustion's. Below half of it the kernel is too near to wait and see.
        """
        # Unlike the kernel: it kills when an allocation fails; this is what "nobody allocates" is.
        fallen = available_kib < self._left_kib - limit_kib // REST_SHARE
        if fallen or available_kib * 2 < limit_kib or not self.limit:
            self._left_kib = 0
        return self._left_kib > 0

    def kill_settled(
        self,
        *,
        freed_kib: int,
        held_kib: int,
        shortfall_kib: int,
        now_ns: int,
        available_kib: int = 0,
    ) -> bool:
        """Count a kill that has ended, and say whether it was futile.

        ``freed_kib`` is what came back (negative: others took more), ``held_kib`` the victims'
        rss, page tables and swap, ``shortfall_kib`` what was missing to the threshold when the
        victim was chosen; ``available_kib`` is MemAvailable now.
        """
        # Unlike the kernel: out_of_memory() never asks what the last kill was good for.
        futile = freed_kib * 100 < held_kib * self.share and shortfall_kib > 0
        self._left_kib = available_kib if futile else 0
        if not futile or freed_kib >= shortfall_kib:
            self._in_a_row = self._row_held_kib = 0
            self._hold_until_ns = 0
            return futile
        self._in_a_row += 1
        self._row_held_kib += held_kib
        if self.limit and self._in_a_row >= self.limit and self._row_held_kib >= shortfall_kib:
            self._hold_until_ns = now_ns + self.hold_off_ms * 1_000_000
        return True


class Holder(NamedTuple):
    """A kind of memory that killing processes does not give back, or not for certain."""

    what: str
    mib: int


def memory_holders(meminfo: MemInfo) -> tuple[Holder, ...]:
    """What holds the memory, the largest first, kinds below 1 MiB left out.

    The kinds overlap where the kernel's do: locked memory may be anonymous or shared.
    """
    kinds = (
        ("tmpfs and shared memory", meminfo.shmem_kib),
        ("unreclaimable slab", meminfo.slab_kib - meminfo.slab_reclaimable_kib),
        ("huge pages", meminfo.hugetlb_kib),
        ("locked memory", meminfo.mlocked_kib),
    )
    holders = [Holder(what, kib // 1024) for what, kib in kinds if kib >= 1024]
    holders.sort(key=lambda holder: -holder.mib)
    return tuple(holders)


def holder_words(meminfo: MemInfo) -> str:
    """The same in a sentence."""
    names = ", ".join(f"{one.what} {one.mib} MiB" for one in memory_holders(meminfo))
    return f"What holds the memory: {names or 'nothing that meminfo names'}"
