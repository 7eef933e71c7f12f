"""Waits until there may be something to do: PSI triggers, meminfo thresholds, a timer.

Asleep otherwise. The timer is the headroom divided by the fastest rate at which memory can
fill, so that the daemon is awake before memory is used up; the kernel's PSI triggers wake it
when somebody waits for memory before that.
"""

import errno
import os
import select
import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from oomd.event import Look
from oomd.mm_types import MemInfo, Pressure, Stall
from oomd.proc.memcg import read_memcg_meminfo
from oomd.proc.meminfo import read_meminfo
from oomd.proc.pcp import read_pcp_kib
from oomd.proc.pressure import pressure_file, read_pressure
from oomd.proc.root import ReadError, Root
from oomd.settings import Settings
from oomd.thresholds import (
    Threshold,
    evaluate,
    exhaustion_limit_kib,
    headroom_kib,
    sleep_ms,
    stall_guard_kib,
    stalled_percent,
    would_act,
)

__all__ = ["Crossing", "Trigger", "Watch", "measure", "open_trigger"]

# Without CAP_SYS_RESOURCE a trigger's window must be a multiple of this (kernel/sched/psi.c).
UNPRIVILEGED_WINDOW_MS = 2000
# The kernel's shortest window: it looks ten times a window, so this one reacts in 50 ms.
SHORTEST_WINDOW_MS = 500
# While somebody waits for memory and there is little of it, this is how often threads are
# sampled for ``current``: one look in ten or so meets a thread in direct reclaim.
SAMPLE_MS = 50
# Looks remembered to count a stall from: the longest window, and the two ends of it.
SAMPLES = 10_000 // SAMPLE_MS + 2
# A cgroup that was removed may come back with the next start of its service.
REOPEN_MS = 1000


class Trigger(NamedTuple):
    """A PSI trigger that the kernel took."""

    fd: int
    window_ms: int


class Crossing(NamedTuple):
    """The thresholds, and which of them is crossed."""

    thresholds: tuple[Threshold, ...]
    crossed: str | None
    pcp_kib: int
    """What was counted on top of MemAvailable."""


def measure(
    root: Root,
    meminfo: MemInfo,
    full_percent: float | None,
    settings: Settings,
    cgroup: str | None = None,
) -> Crossing:
    """Hold memory against the thresholds, and look twice before one counts as crossed.

    The per-CPU lists are then counted as well: MemAvailable leaves them out, and the kernel
    would use them first.
    """
    thresholds = evaluate(meminfo, full_percent, settings)
    crossed = would_act(thresholds)
    if crossed is None or cgroup is not None:
        return Crossing(thresholds, crossed, 0)
    pcp_kib = read_pcp_kib(root, root.page_size_bytes())
    counted = meminfo._replace(mem_available_kib=meminfo.mem_available_kib + pcp_kib)
    thresholds = evaluate(counted, full_percent, settings)
    return Crossing(thresholds, would_act(thresholds), pcp_kib)


def open_trigger(root: Root, path: str, kind: str, stall_ms: int, window_ms: int) -> Trigger | str:
    """Ask for a wake-up when ``kind`` (some, full) stalls last ``stall_ms`` in ``window_ms``.

    The share is kept where the kernel only grants longer windows. Returns why not, in words,
    where it grants none. Documentation/accounting/psi.rst.
    """
    unprivileged_ms = -(-window_ms // UNPRIVILEGED_WINDOW_MS) * UNPRIVILEGED_WINDOW_MS
    reason = ""
    for window in dict.fromkeys((window_ms, unprivileged_ms)):
        stall_us = max(1, stall_ms * 1000 * window // window_ms)
        try:
            fd = root.open(path, os.O_RDWR | os.O_NONBLOCK)
        except ReadError as error:
            return str(error)
        try:
            # The kernel overwrites the last byte, so there has to be one to spare.
            os.write(fd, f"{kind} {stall_us} {window * 1000}\n".encode())
        except OSError as error:
            os.close(fd)
            reason = f"{path}: {errno.errorcode.get(error.errno or 0, str(error.errno))}"
            continue
        return Trigger(fd, window)
    return reason


class Watch:
    """What is watched: the machine, or the cgroup that the settings name."""

    def __init__(self, root: Root, settings: Settings, cpus: int) -> None:
        self._root = root
        self._settings = settings
        self._cpus = cpus
        self._cgroup = settings.watch.cgroup or None
        self._poll = select.poll()
        self._tripwire: Trigger | None = None
        self._stall: Trigger | None = None
        self._tripped_until_ms = 0
        self._samples: deque[tuple[int, Stall]] = deque(maxlen=SAMPLES)
        self._reopen_ms: int | None = None
        self._followed: frozenset[int] = frozenset()
        self.notes: tuple[str, ...] = ()
        """What is used to wait, or stands in for what this kernel lacks. For the log."""
        self._open()

    def _open(self) -> None:
        path = pressure_file(self._root, self._cgroup)
        if path is None or not self._root.exists(path):
            self.notes = ("no pressure stall information: MemAvailable is polled in its place",)
            if self._cgroup is not None:
                # Its service may not have started yet.
                self._reopen_ms = time.monotonic_ns() // 1_000_000 + REOPEN_MS
            return
        if not self._root.live:
            # A file of a tree would be written over, and never wake anybody up.
            self.notes = ("not the live machine: pressure and MemAvailable are polled",)
            return
        self.notes = (self._open_tripwire(path), self._open_stall(path))

    def _open_tripwire(self, path: str) -> str:
        stall_ms = self._settings.watch.tripwire_ms
        window_ms = max(SHORTEST_WINDOW_MS, stall_ms)
        tripwire = open_trigger(self._root, path, "some", stall_ms, window_ms)
        if isinstance(tripwire, str):
            return f"no PSI tripwire ({tripwire}): pressure and MemAvailable are polled"
        self._tripwire = tripwire
        self._poll.register(tripwire.fd, select.POLLPRI)
        note = f"PSI tripwire: some {stall_ms} ms in {window_ms} ms"
        if tripwire.window_ms != window_ms:
            note += f", seen over {tripwire.window_ms} ms (no CAP_SYS_RESOURCE)"
        return note

    def _open_stall(self, path: str) -> str:
        settings = self._settings.stall
        if settings.full_percent <= 0:
            return "the stall threshold is switched off"
        stall_ms = int(settings.window_ms * settings.full_percent / 100)
        stall = open_trigger(self._root, path, "full", max(stall_ms, 1), settings.window_ms)
        if isinstance(stall, str):
            return f"no PSI trigger for stalls ({stall}): they are polled"
        self._stall = stall
        self._poll.register(stall.fd, select.POLLPRI)
        return f"PSI stall trigger: full {settings.full_percent:g} % of {stall.window_ms} ms"

    def close(self) -> None:
        """Give the triggers back to the kernel."""
        for trigger in (self._tripwire, self._stall):
            if trigger is not None:
                self.unregister(trigger.fd)
                os.close(trigger.fd)
        self._tripwire = self._stall = None

    # --- looking

    def _full_percent(self, pressure: Pressure | None, now_ms: int) -> float | None:
        """Share of the last window in which every task waited, by the kernel's own count.

        A PSI event only wakes us up: the kernel may send one late, for a stall long past.
        """
        if pressure is None:
            return None
        window_ms = self._settings.stall.window_ms
        samples = self._samples
        # The newest that is at least a window old stays, as the one to count from.
        while len(samples) > 1 and samples[1][0] <= now_ms - window_ms:
            samples.popleft()
        if samples and now_ms - samples[0][0] > 2 * window_ms:
            # The last look is long past: what was stalled since then may have been then.
            samples.clear()
        if not samples or now_ms - samples[-1][0] >= SAMPLE_MS:
            samples.append((now_ms, pressure.full))
        begin_ms, begin = samples[0]
        # A share of the whole window, from the first look on: one long wait is not all the time.
        elapsed_us = max(now_ms - begin_ms, window_ms) * 1000
        return stalled_percent(begin, pressure.full, elapsed_us)

    def meminfo(self) -> MemInfo:
        """Of the machine, or of the cgroup in place of it. Raises ``ReadError``."""
        if self._cgroup is None:
            return read_meminfo(self._root)
        return read_memcg_meminfo(self._root, self._cgroup)

    def look(self, now_ms: int) -> Look:
        """Read, and hold against the thresholds. Raises ``ReadError``."""
        meminfo = self.meminfo()
        pressure = read_pressure(self._root, self._cgroup)
        if self._reopen_ms is not None and now_ms >= self._reopen_ms:
            self._reopen_ms = None
            self._open()
        percent = self._full_percent(pressure, now_ms)
        settings = self._settings
        found = measure(self._root, meminfo, percent, settings, self._cgroup)
        counted = meminfo._replace(mem_available_kib=meminfo.mem_available_kib + found.pcp_kib)
        return Look(
            now_ms=now_ms,
            meminfo=meminfo,
            pressure=pressure,
            thresholds=found.thresholds,
            crossed=found.crossed,
            pcp_kib=found.pcp_kib,
            headroom_kib=headroom_kib(counted, settings.exhaustion),
            limit_kib=exhaustion_limit_kib(meminfo, settings.exhaustion),
            guard_kib=stall_guard_kib(meminfo, settings.stall),
        )

    def near(self, look: Look) -> bool:
        """Somebody waits for memory, and there is little of it: worth sampling threads."""
        tripped = look.now_ms < self._tripped_until_ms
        return look.crossed is not None or (tripped and self.low(look))

    def low(self, look: Look) -> bool:
        """There is little memory, whether or not somebody waits for it."""
        return look.meminfo.mem_available_kib <= 2 * look.guard_kib

    def still(self, trigger: str) -> bool:
        """Whether memory is still as short as ``trigger`` asks. Raises ``ReadError``."""
        percent = self._settings.stall.full_percent if trigger == "stall" else None
        found = measure(self._root, self.meminfo(), percent, self._settings, self._cgroup)
        return any(one.crossed for one in found.thresholds if one.name == trigger)

    def acted(self) -> None:
        """Something was done about it: a stall has to be seen anew."""
        self._samples.clear()

    # --- waiting

    def register(self, fd: int) -> None:
        """Wake up too when ``fd`` is readable."""
        self._poll.register(fd, select.POLLIN)

    def unregister(self, fd: int) -> None:
        """Do not any more; the descriptor may be closed already."""
        try:
            self._poll.unregister(fd)
        except KeyError:
            pass

    def follow(self, fds: Iterable[int]) -> None:
        """Wake up when one of these is readable, and no more for those of the last call."""
        wanted = frozenset(fds)
        for fd in self._followed - wanted:
            self.unregister(fd)
        for fd in wanted - self._followed:
            self.register(fd)
        self._followed = wanted

    def sleep_ms(self, look: Look) -> int:
        """How long nothing can go wrong unseen."""
        longest = sleep_ms(look.headroom_kib, self._settings.watch, self._cpus)
        if self.near(look):
            return min(longest, SAMPLE_MS)
        if look.now_ms < self._tripped_until_ms:
            # So that a stall, if one follows, is counted from a look that is not long past.
            return min(longest, self._settings.stall.window_ms // 4)
        if self._stall is None and self._settings.stall.full_percent > 0:
            if look.pressure is not None:
                return min(longest, self._settings.stall.window_ms)
        return longest

    def wait(self, timeout_ms: int) -> tuple[int, ...]:
        """Sleep until something happens; the registered descriptors that are readable."""
        ready = []
        events = self._poll.poll(timeout_ms)
        now_ms = time.monotonic_ns() // 1_000_000
        tripwire, stall = self._tripwire, self._stall
        for fd, event in events:
            if event & select.POLLNVAL:
                # Closed and not unregistered: poll() would return at once for ever.
                self.unregister(fd)
            elif tripwire is not None and fd == tripwire.fd:
                self._tripped_until_ms = now_ms + tripwire.window_ms
                self._lost(event, now_ms)
            elif stall is not None and fd == stall.fd:
                self._tripped_until_ms = now_ms + stall.window_ms
                self._lost(event, now_ms)
            else:
                ready.append(fd)
        return tuple(ready)

    def _lost(self, event: int, now_ms: int) -> None:
        # POLLERR: the cgroup is gone and its triggers with it. Polled from now on, and asked
        # for again once it is back.
        if event & select.POLLERR:
            self.close()
            self._tripped_until_ms = 0
            self._reopen_ms = now_ms + REOPEN_MS
