"""Who is ``current``? Threads in direct reclaim (PF_MEMALLOC), sampled; else who took most.

A user thread with PF_MEMALLOC set is reclaiming memory for an allocation of its own right now, so
it is likely the one to call out_of_memory(). A single look meets it about one time in ten, and as
long as kswapd keeps up nobody reclaims directly: whoever takes most will have to first.
"""

import time

from oomd.mm_types import PF_EXITING, PF_KTHREAD, PF_MEMALLOC
from oomd.oom import CurrentTask
from oomd.proc.page_counts import REMEMBERED, PageCounts
from oomd.proc.root import ReadError, Root
from oomd.proc.task import Stat, parse_stat, parse_status
from oomd.typed import Final, Iterator, NamedTuple

__all__ = ["AllocatingSampler"]

# One sample may take this long; the next goes on where it stopped. 30,000 threads take some
# 300 ms in all: one sample must not eat the machine it guards.
BUDGET_US: Final = 5000

# A count older than this is forgotten.
STALE_MS: Final = 3000

# A known kernel thread is read again after so many rounds.
KTHREAD_ROUNDS: Final = 8

# Who took less of late is not what memory runs out of. The start of the smallest program takes
# as much, but a machine out of breath may let nobody have more.
TAKER_FLOOR_KIB: Final = 256


class _Thread(NamedTuple):
    pid: int
    tid: int
    starttime_ticks: int
    """Of the process."""
    stat: Stat
    taken: float
    """Pages that its process has taken of late."""


class AllocatingSampler:
    """Remembers the last thread that was seen allocating, and who takes pages. State is bounded."""

    def __init__(
        self, root: Root, *, budget_us: int = BUDGET_US, remembered: int = REMEMBERED
    ) -> None:
        self._root = root
        self.budget_us = budget_us
        """How long one sample may take."""
        self.rounds = 0
        """Complete rounds through all processes so far."""
        self._remembered = remembered
        self._counts = PageCounts(remembered)
        # Most tasks of a small machine: passed over once they are known.
        self._kthreads: frozenset[int] = frozenset()
        self._round: Iterator[_Thread | None] | None = None
        self._sampled_at_ms = 0
        self._seen: CurrentTask | None = None
        self._seen_at_ms = 0

    def _stat(self, path: str) -> Stat | None:
        try:
            return parse_stat(self._root.read_record(path))
        except ReadError:
            return None

    def _walk(self) -> Iterator[_Thread | None]:
        """Every user thread of the machine, one file each; a single thread is its process.

        None stands for a file read in vain: that took its time, too.
        """
        kthreads = set()
        for pid in self._root.iter_pids():
            # In time a pid is another's: in each round, some of them are read again.
            if pid in self._kthreads and (pid + self.rounds) % KTHREAD_ROUNDS:
                kthreads.add(pid)
                continue
            leader = self._stat(f"proc/{pid}/stat")
            if leader is None or leader.flags & PF_KTHREAD:
                if leader is not None and len(kthreads) < self._remembered:
                    kthreads.add(pid)
                yield None
                continue
            taken = self._counts.count(pid, leader, self._sampled_at_ms)
            if leader.num_threads == 1:
                yield _Thread(pid, pid, leader.starttime_ticks, leader, taken)
                continue
            for tid in self._tids(pid):
                stat = self._stat(f"proc/{pid}/task/{tid}/stat")
                if stat is None:
                    yield None
                else:
                    yield _Thread(pid, tid, leader.starttime_ticks, stat, taken)
        self._kthreads = frozenset(kthreads)

    def _tids(self, pid: int) -> list[int]:
        try:
            return [int(tid) for tid in self._root.listdir(f"proc/{pid}/task") if tid.isdecimal()]
        except ReadError:
            return []

    def _begin_round(self, now_ms: int) -> Iterator[_Thread | None]:
        """The round to go on with, or a new one."""
        if now_ms - self._sampled_at_ms > STALE_MS:
            # What grew since the last storm says nothing about this one.
            self._round = None
            self._counts.forget()
        self._sampled_at_ms = now_ms
        if self._round is None:
            self._round = self._walk()
            self._counts.begin_round()
        return self._round

    def _hits(self, now_ms: int) -> Iterator[_Thread]:
        """Allocating threads, until the time is up or the round is done."""
        end_ns = time.monotonic_ns() + self.budget_us * 1000
        for thread in self._begin_round(now_ms):
            if thread is not None and thread.stat.flags & PF_MEMALLOC:
                yield thread
            if time.monotonic_ns() >= end_ns:
                return
        self._round = None
        self.rounds += 1

    def _sigkill_pending(self, pid: int, tid: int) -> bool:
        path = f"proc/{pid}/task/{tid}/status"
        try:
            return parse_status(self._root.read_record(path)).sigkill_pending
        except ReadError:
            return False

    def _current(self, pid: int, tid: int, starttime_ticks: int, stat: Stat) -> CurrentTask:
        return CurrentTask(
            pid=pid,
            tid=tid,
            seen_ms_ago=0,
            sigkill_pending=self._sigkill_pending(pid, tid),
            exiting=bool(stat.flags & PF_EXITING),
            starttime_ticks=starttime_ticks,
        )

    def sample(self, now_ms: int) -> None:
        """One look, no longer than the budget; of several threads the one whose process took most.

        ``now_ms`` is the caller's clock, kept for ``latest()``. Raises nothing.
        """
        try:
            best = max(self._hits(now_ms), key=lambda hit: hit.taken, default=None)
        except ReadError:
            self._round = None
            return
        if best is not None:
            self._seen_at_ms = now_ms
            self._seen = self._current(best.pid, best.tid, best.starttime_ticks, best.stat)

    def latest(self, now_ms: int, max_age_ms: int) -> CurrentTask | None:
        """The last thread seen allocating, unless that was longer ago than ``max_age_ms``."""
        age_ms = now_ms - self._seen_at_ms
        if self._seen is None or not 0 <= age_ms <= max_age_ms:
            return None
        return self._seen._replace(seen_ms_ago=age_ms)

    # --- where nobody is seen allocating

    def _living_thread(self, pid: int, leader: Stat) -> tuple[int, Stat] | None:
        """A thread that stands for the process: the leader, unless it is exiting before others."""
        if leader.flags & PF_EXITING and leader.num_threads > 1:
            for tid in self._tids(pid):
                stat = self._stat(f"proc/{pid}/task/{tid}/stat")
                if stat is not None and not stat.flags & PF_EXITING:
                    return tid, stat
        return None if leader.state in ("Z", "X", "x") else (pid, leader)

    def taker(self, now_ms: int) -> CurrentTask | None:
        """Who has taken most of late and is still there, if anybody took enough to speak of."""
        floor_pages = TAKER_FLOOR_KIB * 1024 // self._root.page_size_bytes()
        for ident, pages in self._counts.takers(now_ms, floor_pages):
            leader = self._stat(f"proc/{ident.pid}/stat")
            if leader is None or leader.starttime_ticks != ident.starttime_ticks:
                continue
            thread = self._living_thread(ident.pid, leader)
            # The dead take no more: the next one will be out of memory.
            if thread is not None:
                current = self._current(ident.pid, thread[0], ident.starttime_ticks, thread[1])
                return current._replace(took_pages=pages)
        return None

    def close(self) -> None:
        """Let go of the round in hand: it refers back to us, and nobody collects cycles."""
        self._round = None
