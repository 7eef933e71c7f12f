"""Who is ``current``? Threads in direct reclaim (PF_MEMALLOC), sampled.

A user thread with PF_MEMALLOC set is reclaiming memory for an allocation of its own right now, so
it is likely the one to call out_of_memory(). A single look meets it about one time in ten.
"""

import time
from collections.abc import Iterator
from typing import Final, NamedTuple

from oomd.mm_types import PF_EXITING, PF_KTHREAD, PF_MEMALLOC
from oomd.oom import CurrentTask
from oomd.proc.root import ReadError, Root
from oomd.proc.task import Stat, parse_stat, parse_status

__all__ = ["AllocatingSampler"]

# One sample may take this long; the next goes on where it stopped. 30,000 threads take some
# 300 ms in all: one sample must not eat the machine it guards.
BUDGET_US: Final = 5000

# Threads whose faults are remembered: 100 bytes each, in memory that is locked.
REMEMBERED: Final = 4096

# A count older than this is forgotten.
STALE_MS: Final = 10_000


class _Thread(NamedTuple):
    pid: int
    tid: int
    starttime_ticks: int
    """Of the process."""
    stat: Stat


class AllocatingSampler:
    """Remembers the last thread that was seen allocating. State is bounded."""

    def __init__(
        self, root: Root, *, budget_us: int = BUDGET_US, remembered: int = REMEMBERED
    ) -> None:
        self._root = root
        self.budget_us = budget_us
        """How long one sample may take."""
        self._remembered = remembered
        self._round: Iterator[_Thread | None] | None = None
        self._faults: dict[int, int] = {}
        self._faults_before: dict[int, int] = {}
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
        for pid in self._root.iter_pids():
            leader = self._stat(f"proc/{pid}/stat")
            if leader is None or leader.flags & PF_KTHREAD:
                yield None
                continue
            if leader.num_threads == 1:
                yield _Thread(pid, pid, leader.starttime_ticks, leader)
                continue
            try:
                tids = self._root.listdir(f"proc/{pid}/task")
            except ReadError:
                continue
            for tid in tids:
                # Anew for the leader, too: the process's file counts the faults of all threads.
                stat = self._stat(f"proc/{pid}/task/{tid}/stat")
                if stat is None or not tid.isdecimal():
                    yield None
                else:
                    yield _Thread(pid, int(tid), leader.starttime_ticks, stat)

    def _growth(self, thread: _Thread) -> int:
        """Faults since the last round. A thread that was not known then has grown by 0."""
        faults = thread.stat.faults
        if len(self._faults) < self._remembered:
            self._faults[thread.tid] = faults
        return faults - self._faults_before.get(thread.tid, faults)

    def _begin_round(self, now_ms: int) -> Iterator[_Thread | None]:
        """The round to go on with, or a new one."""
        if now_ms - self._sampled_at_ms > STALE_MS:
            # What grew since the last storm says nothing about this one.
            self._round, self._faults, self._faults_before = None, {}, {}
        self._sampled_at_ms = now_ms
        if self._round is None:
            self._round = self._walk()
            self._faults, self._faults_before = {}, self._faults
        return self._round

    def _hits(self, now_ms: int) -> Iterator[tuple[int, _Thread]]:
        """Allocating threads and their growth, until the time is up or the round is done."""
        end_ns = time.monotonic_ns() + self.budget_us * 1000
        for thread in self._begin_round(now_ms):
            if thread is not None:
                growth = self._growth(thread)
                if thread.stat.flags & PF_MEMALLOC:
                    yield growth, thread
            if time.monotonic_ns() >= end_ns:
                return
        self._round = None

    def _sigkill_pending(self, thread: _Thread) -> bool:
        path = f"proc/{thread.pid}/task/{thread.tid}/status"
        try:
            return parse_status(self._root.read_record(path)).sigkill_pending
        except ReadError:
            return False

    def sample(self, now_ms: int) -> None:
        """One look, no longer than the budget; of several threads the one with most new faults.

        ``now_ms`` is the caller's clock, kept for ``latest()``. Raises nothing.
        """
        try:
            best = max(self._hits(now_ms), key=lambda hit: hit[0], default=None)
        except ReadError:
            self._round = None
            return
        if best is None:
            return
        thread = best[1]
        self._seen_at_ms = now_ms
        self._seen = CurrentTask(
            pid=thread.pid,
            tid=thread.tid,
            seen_ms_ago=0,
            sigkill_pending=self._sigkill_pending(thread),
            exiting=bool(thread.stat.flags & PF_EXITING),
            starttime_ticks=thread.starttime_ticks,
        )

    def latest(self, now_ms: int, max_age_ms: int) -> CurrentTask | None:
        """The last thread seen allocating, unless that was longer ago than ``max_age_ms``."""
        age_ms = now_ms - self._seen_at_ms
        if self._seen is None or not 0 <= age_ms <= max_age_ms:
            return None
        return self._seen._replace(seen_ms_ago=age_ms)

    def close(self) -> None:
        """Let go of the round in hand: it refers back to us, and nobody collects cycles."""
        self._round = None
