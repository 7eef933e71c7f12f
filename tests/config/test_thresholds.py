"""When to act and how long to sleep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.mm_types import MemInfo, Stall
from oomd.settings import ExhaustionSettings, Settings, StallSettings, WatchSettings
from oomd.thresholds import (
    LongStall,
    available_limit_kib,
    evaluate,
    exhaustion,
    headroom_kib,
    long_stall_limit_percent,
    sleep_ms,
    stall,
    stalled_percent,
    swap_limit_kib,
    would_act,
)

MIB = 1024
GIB = 1024 * MIB


def meminfo(total: int, available: int, swap: int = 0, swap_free: int = 0) -> MemInfo:
    return MemInfo(total, available, available, swap, swap_free)


LIMITS = [
    # 5 % of a small machine, the cap on a large one.
    (4 * GIB, 5.0, 1024, 4 * GIB // 20),
    (20 * GIB, 5.0, 1024, GIB),
    (1024 * GIB, 5.0, 1024, GIB),
    (1024 * GIB, 12.5, 4096, 4 * GIB),
    (16 * GIB, 12.5, 4096, 2 * GIB),
    (0, 5.0, 1024, 0),
]


@pytest.mark.parametrize(("total", "percent", "cap", "limit"), LIMITS)
def test_the_limit_is_a_share_and_never_above_the_cap(
    total: int, percent: float, cap: int, limit: int
) -> None:
    assert available_limit_kib(meminfo(total, 0), percent, cap) == limit


EXHAUSTION = [
    ("no swap, plenty", meminfo(1024 * GIB, 50 * GIB), False, "above its limit, there is no swap"),
    ("no swap, one above", meminfo(20 * GIB, GIB + 1), False, "above its limit, there is no swap"),
    ("no swap, at it", meminfo(20 * GIB, GIB), True, "at or below its limit, there is no swap"),
    (
        "swap is left",
        meminfo(20 * GIB, 0, 10 * GIB, GIB + 1),
        False,
        "at or below its limit, free swap is above its limit",
    ),
    (
        "swap is used up",
        meminfo(20 * GIB, GIB, 10 * GIB, GIB),
        True,
        "at or below its limit, free swap is at or below its limit",
    ),
    (
        "only swap is used up",
        meminfo(20 * GIB, 2 * GIB, 10 * GIB, 0),
        False,
        "above its limit, free swap is at or below its limit",
    ),
]


@pytest.mark.parametrize(
    ("info", "crossed", "verdict"), [row[1:] for row in EXHAUSTION], ids=[r[0] for r in EXHAUSTION]
)
def test_exhaustion(info: MemInfo, crossed: bool, verdict: str) -> None:
    threshold = exhaustion(info, ExhaustionSettings())
    assert threshold.crossed is crossed
    assert threshold.verdict == f"MemAvailable is {verdict}"
    assert (threshold.name, threshold.unit) == ("exhaustion", "KiB")
    assert (threshold.value, threshold.limit) == (info.mem_available_kib, GIB)
    assert ("swap_free_kib" in threshold.detail) is (info.swap_total_kib > 0)


def test_all_of_swap_does_not_ask_for_it() -> None:
    settings = ExhaustionSettings(swap_free_percent=100.0)
    assert exhaustion(meminfo(20 * GIB, GIB, 10 * GIB, 10 * GIB), settings).crossed


GUARD = 4 * GIB
STALL = [
    ("both", 20.0, GUARD, 20.0, True, "at or above its limit, MemAvailable is at or below"),
    ("little stall", 19.9, GUARD, 20.0, False, "below its limit, MemAvailable is at or below"),
    ("plenty of memory", 99.0, GUARD + 1, 20.0, False, "at or above its limit, MemAvailable is ab"),
    ("off", 100.0, 0, 0.0, False, "switched off"),
    ("no PSI", None, 0, 20.0, False, "not observable"),
]


@pytest.mark.parametrize(
    ("full", "available", "limit", "crossed", "verdict"),
    [row[1:] for row in STALL],
    ids=[row[0] for row in STALL],
)
def test_stall(
    full: float | None, available: int, limit: float, crossed: bool, verdict: str
) -> None:
    threshold = stall(full, meminfo(64 * GIB, available), StallSettings(full_percent=limit))
    assert threshold.crossed is crossed
    assert verdict in threshold.verdict
    assert (threshold.value, threshold.limit, threshold.unit) == (full, limit, "%")
    assert threshold.detail["available_guard_kib"] == GUARD


@pytest.mark.parametrize(
    ("name", "short", "long", "swap_left", "crossed"),
    [
        ("a short one", 20.0, LongStall(4.0), False, True),
        ("neither", 19.9, LongStall(9.9), False, False),
        ("less, but for long", 19.9, LongStall(10.0), False, True),
        ("short, and there is swap", 100.0, LongStall(19.9), True, False),
        ("long, and there is swap", 20.0, LongStall(20.0, GIB - 1), True, True),
        ("who fills swap gets his memory", 100.0, LongStall(100.0, GIB), True, False),
        ("swap was filled, and is used up", 20.0, LongStall(20.0, GIB), False, True),
        ("swap is being emptied", 20.0, LongStall(20.0, -GIB), True, True),
    ],
)
def test_short_stalls_long_ones_and_swap(
    name: str, short: float, long: LongStall, swap_left: bool, crossed: bool
) -> None:
    info = meminfo(64 * GIB, int(GUARD * 0.8))
    threshold = stall(short, info, StallSettings(), long, swap_left=swap_left)
    assert threshold.crossed == crossed
    assert threshold.detail["long_percent"] == long.full_percent
    assert threshold.detail["swapped_kib"] == long.swapped_kib
    assert ("of the last 10 s" in threshold.verdict) == (name == "less, but for long")


@pytest.mark.parametrize(("available", "crossed"), [(GUARD * 4 // 5, True), (GUARD - 1, False)])
def test_a_crawl_is_nearer_to_the_end_of_memory(available: int, crossed: bool) -> None:
    threshold = stall(10, meminfo(64 * GIB, available), StallSettings(), LongStall(12.0))
    assert threshold.crossed == crossed


@pytest.mark.parametrize(("window_ms", "limit"), [(500, 10), (2000, 10), (8000, 16), (10_000, 20)])
def test_a_window_as_long_as_the_long_one_has_its_limit(window_ms: int, limit: float) -> None:
    assert long_stall_limit_percent(StallSettings(window_ms=window_ms)) == limit


@pytest.mark.parametrize(("swap_free", "crossed"), [(100, "stall"), (101, None)])
def test_swap_that_is_left_is_what_exhaustion_asks_for(swap_free: int, crossed: str | None) -> None:
    info = meminfo(64 * GIB, 3 * GIB, 1000, swap_free)
    assert would_act(evaluate(info, 100.0, Settings(), LongStall(19.0))) == crossed


def test_order_and_the_first_that_is_crossed() -> None:
    settings = Settings()
    clear = evaluate(meminfo(64 * GIB, 60 * GIB), 100.0, settings)
    stalled = evaluate(meminfo(64 * GIB, 3 * GIB), 100.0, settings)
    both = evaluate(meminfo(64 * GIB, 0), 100.0, settings)
    exhausted = evaluate(meminfo(64 * GIB, 0), None, settings)
    for thresholds in (clear, stalled, both, exhausted):
        assert [threshold.name for threshold in thresholds] == ["exhaustion", "stall"]
    acts = [would_act(thresholds) for thresholds in (clear, stalled, both, exhausted)]
    assert acts == [None, "stall", "exhaustion", "exhaustion"]


def test_the_share_of_a_window_that_was_stalled() -> None:
    def at(total_us: int) -> Stall:
        return Stall(0.0, 0.0, 0.0, total_us)

    assert stalled_percent(at(1_000_000), at(1_400_000), 2_000_000) == 20.0
    assert stalled_percent(at(0), at(5), 0) == 0.0
    assert stalled_percent(at(9), at(5), 10) == 0.0
    assert stalled_percent(at(0), at(50), 10) == 100.0


SLEEP = [
    # 3600 MiB at 3600 MiB/s: a second on one CPU, half of one on two.
    (3600 * MIB, 1, 1000),
    (3600 * MIB, 2, 500),
    (0, 1, 10),
    (1, 64, 10),
    (1024 * GIB, 1, 20_000),
    # Nobody could tell how many CPUs there are.
    (3600 * MIB, 0, 1000),
]


@pytest.mark.parametrize(("headroom", "cpus", "milliseconds"), SLEEP)
def test_sleep(headroom: int, cpus: int, milliseconds: int) -> None:
    assert sleep_ms(headroom, WatchSettings(), cpus) == milliseconds


@st.composite
def machines(draw: st.DrawFn) -> MemInfo:
    total = draw(st.integers(64 * MIB, 4096 * GIB))
    swap = draw(st.one_of(st.just(0), st.integers(1, total)))
    return meminfo(
        total, draw(st.integers(0, total)), swap, draw(st.integers(0, swap)) if swap else 0
    )


EXHAUSTIONS = st.builds(
    ExhaustionSettings, st.floats(0.1, 50), st.integers(16, 1 << 20), st.floats(0.1, 100)
)


@given(machines(), EXHAUSTIONS)
def test_no_headroom_is_exhaustion(info: MemInfo, settings: ExhaustionSettings) -> None:
    assert exhaustion(info, settings).crossed is (headroom_kib(info, settings) == 0)


def filled(info: MemInfo, out_kib: int, share: float, ratio: float) -> MemInfo:
    """``out_kib`` more are allocated, and ``share`` of as much is swapped out at the same time.

    To zram, which takes 1 / ``ratio`` of it away from memory again; a disk is a very high ratio.
    """
    swapped = min(int(out_kib * share), info.swap_free_kib)
    available = info.mem_available_kib - out_kib + int(swapped * (1 - 1 / ratio))
    return info._replace(
        mem_available_kib=max(available, 0), swap_free_kib=info.swap_free_kib - swapped
    )


# Machines with something left to sleep for, and the corners of how it can be used up: drawn from
# wide ranges, nearly all examples are exhausted already or sleep for min_sleep_ms.
_SHARES = st.sampled_from([0.5, 0.9, 1.0])


@given(
    info=st.builds(
        lambda total, available, swap, swap_free: meminfo(
            total, int(total * available), swap, int(swap * swap_free)
        ),
        st.integers(GIB, 64 * GIB),
        _SHARES,
        st.one_of(st.just(0), st.integers(GIB, 64 * GIB)),
        _SHARES,
    ),
    limits=st.builds(
        ExhaustionSettings, st.floats(0.1, 20), st.integers(16, 4096), st.floats(0.1, 20)
    ),
    watch=st.builds(
        WatchSettings,
        fill_rate_mib_per_s=st.integers(100, 10_000),
        min_sleep_ms=st.sampled_from([1, 10, 100]),
        max_sleep_s=st.integers(1, 60),
    ),
    cpus=st.sampled_from([1, 4, 64]),
    share=st.sampled_from([0.0, 0.5, 1.0]),
    ratio=st.sampled_from([1.0, 3.0, 1e9]),
    speed=st.sampled_from([0.5, 1.0]),
)
def test_nobody_sleeps_through_exhaustion(
    *,
    info: MemInfo,
    limits: ExhaustionSettings,
    watch: WatchSettings,
    cpus: int,
    share: float,
    ratio: float,
    speed: float,
) -> None:
    """However memory is filled, at the wake-up no more is gone than fits into min_sleep_ms."""
    kib_per_ms = watch.fill_rate_mib_per_s * 1024 * cpus / 1000
    for _ in range(50):
        if exhaustion(info, limits).crossed:
            return
        asleep_ms = sleep_ms(headroom_kib(info, limits), watch, cpus)
        assert watch.min_sleep_ms <= asleep_ms <= watch.max_sleep_s * 1000
        before = info
        info = filled(info, int(kib_per_ms * asleep_ms * speed), share, ratio)
        if exhaustion(info, limits).crossed:
            # Awake min_sleep_ms earlier, it would not have been: so much is the overshoot.
            earlier_ms = asleep_ms - watch.min_sleep_ms
            earlier = filled(before, int(kib_per_ms * earlier_ms * speed), share, ratio)
            assert not exhaustion(earlier, limits).crossed


def test_zram_and_memory_can_fill_each_other() -> None:
    info = meminfo(20 * GIB, 3 * GIB, 4 * GIB, 4 * GIB)
    settings = ExhaustionSettings()
    # 2 GiB to the limit of memory, 3.6 GiB to that of swap: 3.6, and not 5.6.
    assert headroom_kib(info, settings) == 4 * GIB - swap_limit_kib(info, settings)
    incompressible = filled(info, headroom_kib(info, settings), 1.0, 1.0)
    assert exhaustion(incompressible, settings).crossed
