"""Victims that were killed and are not gone yet, waited for without blocking.

Userspace cannot see TIF_MEMDIE or MMF_OOM_SKIP, so what stands for them is kept here: who
was killed and is dying, and who is not worth waiting for any longer.
"""

import os
import select

from oomd.effects.oom_kill_process import Victim
from oomd.mm_types import MemInfo, Task, TaskId
from oomd.proc.root import Gone, ReadError, Root
from oomd.proc.task import parse_stat
from oomd.typed import Iterable, Iterator, NamedTuple

__all__ = ["PASSED_OVER", "Settled", "VictimsInFlight", "came_back_kib"]

# A kill that has ended without its memory waits this long for it, and no longer: whoever takes
# the memory as fast as it comes back must not outrun the guard.
GRACE_MS = 100

# Who seemed to be dying, was waited for and lives on (a thread's exec, a change of mind) may be
# chosen again after this.
FORGET_MS = 60_000

_DYING = ""
_GONE = "gone"
_REAPED = "reaped"
PASSED_OVER = "passed over"


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
    """What came back since the kill; negative: others took more. See ``came_back_kib()``."""
    shortfall_kib: int
    """What was missing to the threshold when it was chosen."""
    killed: bool
    """False: it was dying by itself, and was only waited for."""


class _Flight:
    """One dying process."""

    __slots__ = ("end", "had_score", "killed", "pidfd", "skipped_ns", "victim")

    def __init__(self, victim: Victim, *, had_score: bool):
        self.victim = victim
        self.pidfd = victim.pidfd
        self.had_score = had_score
        self.killed = victim.killed_at_ns > 0
        self.end = _DYING
        self.skipped_ns = 0


def came_back_kib(before: MemInfo, now: MemInfo) -> int:
    """How much memory and swap a kill has given back so far.

    The larger of what MemAvailable and what AnonPages say: the first lags behind while freed
    pages sit in per-CPU lists, the second does not see shared memory or page tables.
    """
    swap_kib = now.swap_free_kib - before.swap_free_kib
    available_kib = now.mem_available_kib - before.mem_available_kib
    anon_kib = before.anon_pages_kib - now.anon_pages_kib
    return swap_kib + max(available_kib, anon_kib)


class _Kill:
    """One kill: the victim first, then its companions."""

    __slots__ = (
        "added_ns",
        "before",
        "ended_ns",
        "flights",
        "held_kib",
        "shortfall_kib",
    )

    def __init__(
        self, flight: _Flight, added_ns: int, before: MemInfo, held_kib: int, shortfall_kib: int
    ):
        self.flights = [flight]
        self.added_ns = added_ns
        self.before = before
        self.held_kib = held_kib
        self.shortfall_kib = shortfall_kib
        self.ended_ns = 0
        """When nobody was dying any longer. 0: somebody is."""

    @property
    def victim(self) -> Victim:
        return self.flights[0].victim

    def end(self) -> str:
        """How it has ended, or ``_DYING``."""
        ends = {flight.end for flight in self.flights}
        return next(end for end in (_DYING, PASSED_OVER, _REAPED, _GONE) if end in ends)


def _settled(kill: _Kill, now_ns: int, freed_kib: int) -> Settled:
    return Settled(
        kill.victim.task,
        kill.end(),
        # Until nobody was dying any longer; the wait for the memory is not theirs.
        ((kill.ended_ns or now_ns) - kill.added_ns) // 1_000_000,
        kill.held_kib,
        freed_kib,
        kill.shortfall_kib,
        killed=kill.victim.killed_at_ns > 0,
    )


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

    def waited_for(self) -> Iterator[tuple[Task, str, int]]:
        """Who is dying and still waited for: the task, why it dies, and since when (monotonic)."""
        for kill in self._kills:
            for flight in kill.flights:
                if flight.end == _DYING:
                    yield flight.victim.task, flight.victim.why, kill.added_ns

    @property
    def passed_over(self) -> frozenset[TaskId]:
        """For ``OomControl.passed_over``: memory back or time up; kept until they are gone."""
        flights = (*self._skipped, *self._waited_for())
        return frozenset(f.victim.task.ident for f in flights if f.end in (_REAPED, PASSED_OVER))

    def pidfds(self) -> list[int]:
        """For poll(POLLIN): readable when all threads have exited (pidfd_open(2))."""
        return [f.pidfd for f in self._waited_for() if f.end == _DYING and f.pidfd >= 0]

    @property
    def idle(self) -> bool:
        """Nobody is in flight, and nobody who was passed over is left to go."""
        return not self._kills and not self._skipped

    @property
    def busy(self) -> bool:
        """Somebody is dying, or has died and the memory is not back yet."""
        return bool(self._kills)

    def add(self, victim: Victim, now_ns: int, before: MemInfo, shortfall_kib: int = 0) -> int:
        """Wait for one kill, from the signal on. The pidfd by which it is held, or -1.

        ``before`` is memory before it, ``shortfall_kib`` what was missing to the threshold. A
        process that was dying already, and was sent no signal, is waited for in the same way.
        One that is known already goes on being held by the pidfd that it came with first.
        """
        for flight in self._not_known_yet((victim,)):
            held_kib = victim.task.size_pages * self._page_kib
            self._kills.append(_Kill(flight, now_ns, before, held_kib, shortfall_kib))
            return flight.pidfd
        ident = victim.task.ident
        known = (*self._skipped, *self._waited_for())
        return next((f.pidfd for f in known if f.victim.task.ident == ident), -1)

    def join(self, ident: TaskId, companions: Iterable[Victim]) -> None:
        """Wait for the victim's companions too; they are its kill's, and have its time."""
        # By any of its flights: a manual kill may choose one that is another's companion.
        kills = (k for k in self._kills if any(f.victim.task.ident == ident for f in k.flights))
        kill = next(kills, None)
        for flight in self._not_known_yet(companions):
            if kill is None:
                # That kill has settled, so they are not waited for, only remembered.
                flight.end = PASSED_OVER
                self._skipped.append(flight)
                continue
            kill.flights.append(flight)
            kill.ended_ns = 0
            # Who shares the victim's mm holds nothing of its own.
            if flight.victim.why != "sharing_mm":
                kill.held_kib += flight.victim.task.size_pages * self._page_kib

    def _not_known_yet(self, victims: Iterable[Victim]) -> tuple[_Flight, ...]:
        # A process that is waited for or passed over already keeps the time it was given.
        known = {f.victim.task.ident: f for f in (*self._skipped, *self._waited_for())}
        flights = []
        for victim in victims:
            flight = known.get(victim.task.ident)
            if flight is None:
                score = self._oom_score(victim.task.pid)
                flights.append(_Flight(victim, had_score=score > 0))
                continue
            # Only waited for so far, perhaps, and killed now.
            flight.killed = flight.killed or victim.killed_at_ns > 0
            if victim.pidfd >= 0:
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

    def sweep(self, now_ns: int, memory: MemInfo | None) -> tuple[Settled, ...]:
        """Look at every victim; the kills that have ended since the last look.

        ``memory`` as just read; None: it could not be, and nothing is seen to come back.
        A kill has ended when nobody of it is dying any longer and its memory is back, or has
        had its time to come back.
        """
        self._skipped = [f for f in self._skipped if not self._forgotten(f, now_ns)]
        settled, waiting = [], []
        for kill in self._kills:
            freed_kib = 0 if memory is None else came_back_kib(kill.before, memory)
            memory_back = freed_kib * 2 >= kill.held_kib
            self._look_at(kill, now_ns, memory_back)
            grace_over = now_ns >= kill.ended_ns + GRACE_MS * 1_000_000
            timed_out = kill.end() == PASSED_OVER
            if kill.ended_ns and (memory_back or grace_over or timed_out):
                settled.append(_settled(kill, now_ns, freed_kib))
                self._skip(kill, now_ns)
            else:
                waiting.append(kill)
        self._kills = waiting
        return tuple(settled)

    def _skip(self, kill: _Kill, now_ns: int) -> None:
        for flight in kill.flights:
            if flight.end != _GONE:
                flight.skipped_ns = now_ns
                self._skipped.append(flight)

    def _forgotten(self, flight: _Flight, now_ns: int) -> bool:
        """It has gone; or it was only waited for, and lives on: then it is like any other."""
        if self._exited(flight):
            return True
        if flight.killed or now_ns < flight.skipped_ns + FORGET_MS * 1_000_000:
            return False
        if flight.pidfd >= 0:
            os.close(flight.pidfd)
        return True

    def _look_at(self, kill: _Kill, now_ns: int, memory_back: bool) -> None:
        for flight in kill.flights:
            if flight.end == _DYING:
                flight.end = self._look(flight, memory_back=memory_back)
            # Unlike the kernel: el7 waits for ever for a victim that cannot die.
            if flight.end == _DYING and now_ns >= kill.added_ns + self._timeout_ns:
                flight.end = PASSED_OVER
        if not kill.ended_ns and kill.end() != _DYING:
            kill.ended_ns = now_ns

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
