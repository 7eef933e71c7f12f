"""Waits until there may be something to do: PSI triggers, meminfo thresholds, a timer.

Asleep otherwise. The timer is the headroom divided by the fastest rate at which memory can
fill, so that the daemon is awake before memory is used up; the kernel's PSI triggers wake it
when somebody waits for memory before that.
"""

import os
import select

from oomd.clock import monotonic_ms
from oomd.crossing import Crossing, measure
from oomd.event import Look
from oomd.mm_types import MemInfo, Pressure
from oomd.proc.kept_root import KeptRoot, kept_root
from oomd.proc.memcg import read_memcg_meminfo
from oomd.proc.meminfo import Glance, read_meminfo
from oomd.proc.pcp import read_pcp_kib
from oomd.proc.pressure import pressure_file, read_pressure
from oomd.proc.psi_trigger import Trigger, open_trigger
from oomd.proc.root import ReadError, Root
from oomd.proc.sysctl import read_sysctls
from oomd.proc.zram import ZramRoom
from oomd.settings import Settings
from oomd.stalls import SAMPLE_MS, StallWindow
from oomd.thresholds import (
    LONG_WINDOW_MS,
    NO_LONG_STALL,
    LongStall,
    exhaustion_floors,
    exhaustion_limit_kib,
    headroom_kib,
    sleep_ms,
    stall_guard_kib,
)
from oomd.typed import Iterable

__all__ = ["Watch"]

# The kernel's shortest window: it looks ten times a window, so this one reacts in 50 ms.
SHORTEST_WINDOW_MS = 500
# A cgroup that was removed may come back with the next start of its service.
REOPEN_MS = 1000


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
        self._window = StallWindow(settings.stall.window_ms)
        self._long_window = StallWindow(LONG_WINDOW_MS)
        self._reopen_ms: int | None = None
        self._followed: frozenset[int] = frozenset()
        self._glance = Glance(root)
        # Of a cgroup, which may be removed and made anew, each file is opened each time.
        self.kept = root if settings.watch.cgroup else kept_root(root)
        """The machine, for the files that each look reads."""
        self._zram = ZramRoom(self.kept)
        self.glances = 0
        """How often it has slept on since the last look."""
        self.glanced: Look | None = None
        """The last glance, if there was one since this was last cleared: memory as it was then,
        all else as at the look before."""
        self.notes: tuple[str, ...] = ()
        """What is used to wait, or stands in for what this kernel lacks. For the log."""
        self._warm()
        self._open()

    def _warm(self) -> None:
        """What a look reads in a storm is open, and the kernel's buffers for it are there, before
        there is one.
        """
        try:
            self.meminfo()
            read_pressure(self.kept, self._cgroup)
        except ReadError:
            # Said when a look needs it.
            pass
        read_pcp_kib(self.kept, self.kept.page_size_bytes())
        read_sysctls(self.kept)

    def _open(self) -> None:
        path = pressure_file(self._root, self._cgroup)
        if path is None or not self._root.exists(path):
            self.notes = ("no pressure stall information: MemAvailable is polled in its place",)
            if self._cgroup is not None:
                # Its service may not have started yet.
                self._reopen_ms = monotonic_ms() + REOPEN_MS
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
        """Give the triggers back to the kernel, and let go of what is held."""
        self._glance.close()
        if isinstance(self.kept, KeptRoot):
            self.kept.close()
        self._close_triggers()

    def _close_triggers(self) -> None:
        for trigger in (self._tripwire, self._stall):
            if trigger is not None:
                self.unregister(trigger.fd)
                os.close(trigger.fd)
        self._tripwire = self._stall = None

    # --- looking

    def _stalled(
        self, pressure: Pressure | None, meminfo: MemInfo, now_ms: int
    ) -> tuple[float | None, LongStall]:
        """Of the window of the settings, and of the last 10 s."""
        if pressure is None:
            return None, NO_LONG_STALL
        swap_used_kib = meminfo.swap_total_kib - meminfo.swap_free_kib
        percent, _ = self._window.add(now_ms, pressure.full, swap_used_kib)
        long_percent, swapped_kib = self._long_window.add(now_ms, pressure.full, swap_used_kib)
        return percent, LongStall(long_percent, swapped_kib)

    def meminfo(self) -> MemInfo:
        """Of the machine, or of the cgroup in place of it. Raises ``ReadError``."""
        if self._cgroup is None:
            return read_meminfo(self.kept)
        return read_memcg_meminfo(self._root, self._cgroup)

    def _measure(self, meminfo: MemInfo, percent: float | None, long: LongStall) -> Crossing:
        return measure(
            self.kept, meminfo, percent, self._settings, self._cgroup, long=long, zram=self._zram
        )

    def look(self, now_ms: int) -> Look:
        """Read, and hold against the thresholds. Raises ``ReadError``."""
        self.glances = 0
        meminfo = self.meminfo()
        pressure = read_pressure(self.kept, self._cgroup)
        if self._reopen_ms is not None and now_ms >= self._reopen_ms:
            self._reopen_ms = None
            self._open()
        percent, long = self._stalled(pressure, meminfo, now_ms)
        settings = self._settings
        found = self._measure(meminfo, percent, long)
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
        long = LongStall(percent or 0.0)
        found = self._measure(self.meminfo(), percent, long)
        return any(one.crossed for one in found.thresholds if one.name == trigger)

    def acted(self) -> None:
        """Something was done about it: a stall has to be seen anew."""
        self._window.clear()
        self._long_window.clear()

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
        if not events:
            return ()
        now_ms = monotonic_ms()
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

    def _look_within_ms(self, look: Look, longest_ms: int) -> int:
        """For how long glances may stand in for looks; 0: not at all."""
        stall = self._settings.stall
        polled = self._stall is None and stall.full_percent > 0
        if polled or self._cgroup is not None or self._reopen_ms is not None:
            return 0
        if self.near(look) or self.low(look):
            # Who takes it may have to be known, and since when everybody waits.
            return min(SAMPLE_MS, longest_ms)
        if look.now_ms < self._tripped_until_ms:
            return min(stall.window_ms // 4, longest_ms)
        return longest_ms

    def doze(self, look: Look, timeout_ms: int, longest_ms: int) -> tuple[int, ...]:
        """Like :meth:`wait`, but as long as no more than a glance at what is left is due, it sleeps
        on: for ``longest_ms`` in all, and less if there is little memory.
        """
        info, low = look.meminfo, self.low(look)
        within_ms = self._look_within_ms(look, longest_ms)
        floors = exhaustion_floors(info, self._settings.exhaustion)
        tripped_until_ms = self._tripped_until_ms
        slept_ms, next_ms, last, last_ms = 0, timeout_ms, None, 0
        while True:
            ready = self.wait(next_ms)
            slept_ms += next_ms
            # By all but the timer.
            woken = ready or self._tripped_until_ms != tripped_until_ms
            if woken or self._reopen_ms is not None or slept_ms >= within_ms:
                break
            left = self._glance.take()
            if left is None or left[0] != info.mem_total_kib or left[3] != info.swap_total_kib:
                break
            headroom = floors.headroom_kib(left[2], left[4])
            next_ms = sleep_ms(headroom, self._settings.watch, self._cpus)
            # By an eighth, so that the samples show when it began.
            changed = left[2] <= 2 * look.guard_kib or next_ms * 8 <= timeout_ms * 7
            if not headroom or (changed and not low) or next_ms > within_ms - slept_ms:
                break
            self.glances += 1
            last, last_ms = left, look.now_ms + slept_ms
        if last is not None:
            info = info._replace(
                mem_free_kib=last[1], mem_available_kib=last[2], swap_free_kib=last[4]
            )
            self.glanced = look._replace(now_ms=last_ms, meminfo=info)
        return ready

    def _lost(self, event: int, now_ms: int) -> None:
        # POLLERR: the cgroup is gone and its triggers with it. Polled from now on, and asked
        # for again once it is back.
        if event & select.POLLERR:
            self._close_triggers()
            self._tripped_until_ms = 0
            self._reopen_ms = now_ms + REOPEN_MS
