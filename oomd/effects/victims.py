"""Victims that were killed and are not gone yet, waited for without blocking.

Userspace cannot see TIF_MEMDIE or MMF_OOM_SKIP, so what stands for them is kept here: who
was killed and is dying, and who is not worth waiting for any longer.
"""

import os
import select
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from oomd.effects.oom_kill_process import Victim
from oomd.mm_types import Task, TaskId
from oomd.proc.root import Gone, ReadError, Root
from oomd.proc.task import parse_stat

__all__ = ["Settled", "VictimsInFlight"]

_DYING = ""
_GONE = "gone"
_REAPED = "reaped"
_PASSED_OVER = "passed over"


class Settled(NamedTuple):
    """A kill that has ended, the victim's and all its companions'."""

    task: Task
    """The victim."""
    end: str
    """``gone``: every process has exited. ``reaped``: the memory is back, somebody is still
    exiting. ``passed over``: somebody's time was up."""
    took_ms: int
    held_kib: int
    """rss, page tables and swap of the victim and its oom_group, when it was chosen."""
    freed_kib: int
    """Growth of MemAvailable + SwapFree since the kill; negative: others took more."""
    killed: bool
    """False: it was dying by itself, and was only waited for."""


class _Flight:
    """One dying process."""

    __slots__ = ("end", "had_score", "pidfd", "victim")

    def __init__(self, victim: Victim, *, had_score: bool):
        self.victim = victim
        self.pidfd = victim.pidfd
        self.had_score = had_score
        self.end = _DYING


class _Kill(NamedTuple):
    """One kill: the victim first, then its companions."""

    flights: tuple[_Flight, ...]
    added_ns: int
    free_kib: int
    held_kib: int


def _settled(kill: _Kill, end: str, now_ns: int, freed_kib: int) -> Settled:
    took_ms = (now_ns - kill.added_ns) // 1_000_000
    victim = kill.flights[0].victim
    killed = victim.killed_at_ns > 0
    return Settled(victim.task, end, took_ms, kill.held_kib, freed_kib, killed)


class VictimsInFlight:
    """Owns the victims' pidfds from the kill on. No call waits, none raises."""

    __slots__ = ("_kills", "_page_kib", "_root", "_skipped", "_timeout_ns")

    def __init__(self, root: Root, timeout_ms: int):
        """``timeout_ms``: how long a victim may take to die before it is passed over."""
        self._root = root
        self._timeout_ns = timeout_ms * 1_000_000
        self._page_kib = root.page_size_bytes() // 1024
        self._kills: list[_Kill] = []
        # Of kills that have settled: reaped or passed over, and not gone yet.
        self._skipped: list[_Flight] = []

    def configure(self, timeout_ms: int) -> None:
        """Another time to die in, for those in flight too."""
        self._timeout_ns = timeout_ms * 1_000_000

    def _waited_for(self) -> Iterator[_Flight]:
        for kill in self._kills:
            yield from kill.flights

    @property
    def victims(self) -> frozenset[TaskId]:
        """For ``OomControl.victims``: dying, and still waited for."""
        return frozenset(f.victim.task.ident for f in self._waited_for() if f.end == _DYING)

    @property
    def passed_over(self) -> frozenset[TaskId]:
        """For ``OomControl.passed_over``: memory back or time up; kept until they are gone."""
        flights = (*self._skipped, *self._waited_for())
        return frozenset(f.victim.task.ident for f in flights if f.end in (_REAPED, _PASSED_OVER))

    def pidfds(self) -> list[int]:
        """For poll(POLLIN): readable when all threads have exited (pidfd_open(2))."""
        return [f.pidfd for f in self._waited_for() if f.end == _DYING and f.pidfd >= 0]

    def deadline_ns(self) -> int | None:
        """CLOCK_MONOTONIC when the next victim's time is up. None: nobody is waited for."""
        return min((kill.added_ns + self._timeout_ns for kill in self._kills), default=None)

    def add(self, victims: Iterable[Victim], now_ns: int, free_kib: int) -> None:
        """Wait for one kill: the victim first, then its companions.

        ``free_kib`` is MemAvailable + SwapFree before the kill. A process that was dying
        already, and was sent no signal, is waited for in the same way.
        """
        flights = self._not_known_yet(victims)
        if flights:
            # Who shares the victim's mm holds nothing of its own.
            own = (f.victim.task for f in flights if f.victim.why != "sharing_mm")
            held_kib = sum(task.size_pages for task in own) * self._page_kib
            self._kills.append(_Kill(flights, now_ns, free_kib, held_kib))

    def _not_known_yet(self, victims: Iterable[Victim]) -> tuple[_Flight, ...]:
        # A process that is waited for or passed over already keeps the time it was given.
        known = {f.victim.task.ident for f in (*self._skipped, *self._waited_for())}
        flights = []
        for victim in victims:
            if victim.task.ident not in known:
                score = self._oom_score(victim.task.pid)
                flights.append(_Flight(victim, had_score=score > 0))
            elif victim.pidfd >= 0:
                os.close(victim.pidfd)
        return tuple(flights)

    def reaped(self, ident: TaskId) -> None:
        """process_mrelease(2) took this process's memory: no need to wait for its exit."""
        for kill in self._kills:
            for flight in kill.flights:
                # With the victim's mm, that of those who share it is empty too.
                shares = flight.victim.why == "sharing_mm"
                owner = kill.flights[0] if shares else flight
                if flight.end == _DYING and owner.victim.task.ident == ident:
                    flight.end = _REAPED

    def sweep(self, now_ns: int, free_kib: int) -> tuple[Settled, ...]:
        """Look at every victim; the kills that have ended since the last look.

        ``free_kib`` is MemAvailable + SwapFree now.
        """
        self._skipped = [f for f in self._skipped if not self._exited(f)]
        settled = []
        for kill in self._kills:
            freed_kib = free_kib - kill.free_kib
            for flight in kill.flights:
                if flight.end == _DYING:
                    flight.end = self._look(flight, memory_back=freed_kib * 2 >= kill.held_kib)
                # Unlike the kernel: el7 waits for ever for a victim that cannot die.
                if flight.end == _DYING and now_ns >= kill.added_ns + self._timeout_ns:
                    flight.end = _PASSED_OVER
            ends = {flight.end for flight in kill.flights}
            if _DYING not in ends:
                end = next(end for end in (_PASSED_OVER, _REAPED, _GONE) if end in ends)
                settled.append(_settled(kill, end, now_ns, freed_kib))
                self._skipped += [f for f in kill.flights if f.end != _GONE]
        self._kills = [k for k in self._kills if any(f.end == _DYING for f in k.flights)]
        return tuple(settled)

    def _look(self, flight: _Flight, *, memory_back: bool) -> str:
        if self._exited(flight):
            return _GONE
        # oom_score falls to 0 when no thread has an mm any longer; exit_mmap() may still be at
        # work then, so the memory must be seen to be back. status would say the same, but
        # reading it can drop the last reference to a dying mm and free it here, in our time.
        if memory_back and flight.had_score and self._oom_score(flight.victim.task.pid) == 0:
            return _REAPED
        return _DYING

    def _oom_score(self, pid: int) -> int:
        # -1: not observable.
        try:
            return int(self._root.read_record(f"proc/{pid}/oom_score"))
        except (ReadError, ValueError):
            return -1

    def _exited(self, flight: _Flight) -> bool:
        if flight.pidfd < 0:
            return self._exited_by_stat(flight.victim.task)
        poll = select.poll()
        poll.register(flight.pidfd, select.POLLIN)
        if not poll.poll(0):
            return False
        os.close(flight.pidfd)
        flight.pidfd = -1
        return True

    def _exited_by_stat(self, task: Task) -> bool:
        try:
            stat = parse_stat(self._root.read_record(f"proc/{task.pid}/stat"))
        except Gone:
            return True
        except ReadError:
            return False
        # A zombie with other threads is a leader that has exited before them.
        dead = stat.state in ("Z", "X", "x") and stat.num_threads <= 1
        return dead or stat.starttime_ticks != task.starttime_ticks
