"""The whole loop on a machine in simulated time: whenever and however fast memory is filled, no
more than `watch.min_sleep_ms` are slept at exhaustion, and hardly a wake-up is wasted before it.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from oomd.guard import Guard
from oomd.mm.policy import EL7
from oomd.mm_types import MemInfo
from oomd.settings import Settings, StallSettings, WatchSettings
from oomd.thresholds import exhaustion, headroom_kib
from oomd.watch import Watch
from tests.audit.machines import TASKS
from tests.guard.fake_act import FakeAct
from tests.proc.formats import meminfo_text
from tests.roots import make_root

GIB = 1 << 20  # in KiB


class Machine:
    """Memory that is left alone until ``begin_ms``, and then taken at a rate until nothing is left.

    What swap there is goes the same way, ``to_swap`` of each piece: memory is what remains.
    """

    def __init__(self, info: MemInfo, begin_ms: int, kib_per_ms: float, to_swap: float) -> None:
        self.full = info
        self.begin_ms = begin_ms
        self.kib_per_ms = kib_per_ms
        self.to_swap = to_swap

    def at(self, now_ms: int) -> MemInfo:
        """Its meminfo at a moment."""
        taken_kib = int(max(now_ms - self.begin_ms, 0) * self.kib_per_ms)
        swapped_kib = min(int(taken_kib * self.to_swap), self.full.swap_free_kib)
        left_kib = self.full.mem_available_kib - (taken_kib - swapped_kib)
        if left_kib < 0:
            swapped_kib = min(swapped_kib - left_kib, self.full.swap_free_kib)
        return self.full._replace(
            mem_available_kib=max(left_kib, 0),
            swap_free_kib=self.full.swap_free_kib - swapped_kib,
        )


class Clockwork(Watch):
    """Sleeps by moving the clock on. Its machine's memory is what the clock says."""

    machine: Machine
    meminfo_file: Path
    now_ms = 0

    def show(self) -> None:
        self.meminfo_file.write_text(meminfo_text(self.machine.at(self.now_ms)))

    def wait(self, timeout_ms: int) -> tuple[int, ...]:
        self.slept_ms.append(timeout_ms)
        self.now_ms += timeout_ms
        self.show()
        return ()

    @property
    def slept_ms(self) -> list[int]:
        return self.__dict__.setdefault("_slept", [])  # type: ignore[no-any-return]


def running(
    machine: Machine, watching: WatchSettings, cpus: int
) -> Iterator[tuple[Clockwork, FakeAct]]:
    """The loop on this machine, after each of its turns."""
    # Without PSI: nothing wakes it but its own clock.
    chosen = Settings(watch=watching, stall=StallSettings(full_percent=0))
    with tempfile.TemporaryDirectory() as folder:
        root = make_root(Path(folder), tasks=TASKS, meminfo=machine.full)
        watch = Clockwork(root, chosen, cpus)
        watch.machine, watch.meminfo_file = machine, Path(folder) / "proc/meminfo"
        watch.show()
        act = FakeAct()
        guard = Guard(root, chosen, EL7, watch, act)
        try:
            while True:
                with patch("oomd.guard.monotonic_ms", lambda: watch.now_ms):
                    guard.turn()
                if guard.notes:
                    # Said before the sleep: it does not sleep over them.
                    guard.notes.clear()
                    continue
                yield watch, act
        finally:
            guard.close()


MACHINES = st.builds(
    lambda total, available, swap: MemInfo(
        total, total // 2, int(total * available), swap, swap, anon_pages_kib=total // 4
    ),
    st.integers(GIB // 2, 64 * GIB),
    st.sampled_from([0.1, 0.5, 0.98]),
    st.one_of(st.just(0), st.integers(GIB // 4, 16 * GIB)),
)


@settings(max_examples=25, deadline=None)
@given(
    info=MACHINES,
    watching=st.builds(
        lambda rate, least, most: WatchSettings(
            fill_rate_mib_per_s=rate, min_sleep_ms=least, max_sleep_s=most
        ),
        st.integers(1000, 10_000),
        st.sampled_from([1, 10, 100]),
        st.sampled_from([1, 20, 60]),
    ),
    cpus=st.sampled_from([1, 2, 64]),
    begins=st.floats(0, 3),
    speed=st.sampled_from([0.2, 0.9, 1.0]),
    to_swap=st.sampled_from([0.0, 0.5, 1.0]),
)
def test_it_is_awake_at_exhaustion(
    *,
    info: MemInfo,
    watching: WatchSettings,
    cpus: int,
    begins: float,
    speed: float,
    to_swap: float,
) -> None:
    fastest = watching.fill_rate_mib_per_s * 1024 * cpus / 1000
    limits = Settings().exhaustion
    # At any moment of the first few sleeps.
    first_ms = min(headroom_kib(info, limits) / fastest, watching.max_sleep_s * 1000)
    machine = Machine(info, int(begins * first_ms), fastest * speed, to_swap)
    for watch, act in running(machine, watching, cpus):
        if act.events:
            # Decided at the wake-up; the last sleep began at one at which all was well.
            decided_ms = watch.now_ms - watch.slept_ms[-1]
            a_sleep_ago = machine.at(decided_ms - watching.min_sleep_ms - 1)
            assert not exhaustion(a_sleep_ago, limits).crossed
            break
        before_ms = watch.now_ms - watch.slept_ms[-1]
        # No more often than the bound asks for.
        headroom = headroom_kib(machine.at(before_ms), limits)
        least_ms = max(int(headroom / fastest) - 1, watching.min_sleep_ms)
        assert watch.slept_ms[-1] >= min(least_ms, watching.max_sleep_s * 1000)


def test_twenty_seconds_with_plenty_free() -> None:
    """A machine on which nothing can be used up sooner is looked at three times a minute."""
    info = MemInfo(256 * GIB, 200 * GIB, 240 * GIB)
    for watch, act in running(Machine(info, 0, 0, 0), WatchSettings(), cpus=2):
        assert watch.slept_ms[-1] == 20_000 and not act.events
        if len(watch.slept_ms) == 9:
            break
