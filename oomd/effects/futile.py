"""Stops kills that give nothing back, and says what holds the memory instead.

The kernel has no such brake: with a full tmpfs it kills everything it may, then panics.
"""

from typing import NamedTuple

from oomd.mm_types import MemInfo

__all__ = ["FutileGuard", "Holder", "memory_holders"]


class FutileGuard:
    """Counts kills in a row that gave nothing back; after ``limit`` of them, a pause.

    A kill is futile when less came back than ``share_percent`` of what the victim held
    *and* less than was short: a small victim that ends the shortage is no failure. The pause
    also takes that the row together held as much as was short: small children that die before
    a large parent prove nothing. When it is over one kill is tried; if it too is futile, the
    next pause begins.
    """

    __slots__ = ("_hold_until_ns", "_in_a_row", "_row_held_kib", "hold_off_ms", "limit", "share")

    def __init__(self, limit: int = 3, *, hold_off_ms: int = 60_000, share_percent: int = 10):
        """``limit`` 0 switches the guard off."""
        self.limit = limit
        self.hold_off_ms = hold_off_ms
        self.share = share_percent
        self._in_a_row = 0
        self._row_held_kib = 0
        self._hold_until_ns = 0

    @property
    def in_a_row(self) -> int:
        """Futile kills since the last one that was worth it."""
        return self._in_a_row

    def holding(self, now_ns: int) -> bool:
        """No kill now: leave it to the kernel."""
        return now_ns < self._hold_until_ns

    def forget(self) -> None:
        """The storm is over: the next begins a row of its own. A pause goes on."""
        self._in_a_row = self._row_held_kib = 0

    def kill_settled(
        self, *, freed_kib: int, held_kib: int, shortfall_kib: int, now_ns: int
    ) -> bool:
        """Count a kill that has ended, and say whether it was futile.

        ``freed_kib`` is what came back (negative: others took more), ``held_kib`` the victims'
        rss, page tables and swap, ``shortfall_kib`` what was missing to the threshold when the
        victim was chosen.
        """
        # Unlike the kernel: out_of_memory() never asks what the last kill was good for.
        futile = freed_kib * 100 < held_kib * self.share and freed_kib < shortfall_kib
        if not futile:
            self._in_a_row = self._row_held_kib = 0
            self._hold_until_ns = 0
            return False
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
