"""When killing stops, and what is said to hold the memory then."""

import pytest

from oomd.effects.futile import FutileGuard, Holder, memory_holders
from oomd.mm_types import MemInfo

SECOND_NS = 1_000_000_000
LIMIT_KIB = 8000


@pytest.mark.parametrize(
    ("freed_kib", "held_kib", "shortfall_kib", "futile", "counts"),
    [
        (0, 1000, 500, True, True),
        (-300, 1000, 500, True, True),
        (99, 1000, 500, True, True),
        # Ten per cent of what it held is worth it.
        (100, 1000, 500, False, False),
        # Nobody knows what it was good for when next to nothing was short, but for now it is over.
        (99, 1000, 99, True, False),
        (99, 1000, 100, True, True),
        # Nothing was short: killed by hand.
        (0, 1000, 0, False, False),
        # Who held nothing could give nothing, and is no failure.
        (0, 0, 500, False, False),
        (-1, 0, 500, True, True),
    ],
)
def test_what_is_futile(
    freed_kib: int, held_kib: int, shortfall_kib: int, futile: bool, counts: bool
) -> None:
    guard = FutileGuard(limit=1)
    assert futile == guard.kill_settled(
        freed_kib=freed_kib,
        held_kib=held_kib,
        shortfall_kib=shortfall_kib,
        now_ns=0,
        available_kib=7000,
    )
    assert guard.in_a_row == counts
    # It takes as much as was short to prove that killing does not help.
    assert guard.holding(1) == (counts and held_kib >= shortfall_kib)
    assert guard.rests(7000, LIMIT_KIB) == futile


def settle(guard: FutileGuard, now_s: int, *, futile: bool) -> None:
    freed_kib = 0 if futile else 1000
    assert futile == guard.kill_settled(
        freed_kib=freed_kib, held_kib=1000, shortfall_kib=500, now_ns=now_s * SECOND_NS
    )


def test_it_stops_after_so_many_in_a_row_and_tries_one_when_the_pause_is_over() -> None:
    guard = FutileGuard(limit=3, hold_off_ms=60_000)
    for now_s in (1, 2):
        settle(guard, now_s, futile=True)
        assert not guard.holding(now_s * SECOND_NS)
    settle(guard, 3, futile=True)
    assert guard.in_a_row == 3
    assert guard.holding(3 * SECOND_NS)
    assert guard.holding(63 * SECOND_NS - 1)
    assert not guard.holding(63 * SECOND_NS)
    settle(guard, 70, futile=True)
    assert guard.holding(71 * SECOND_NS)
    settle(guard, 140, futile=False)
    assert guard.in_a_row == 0
    settle(guard, 150, futile=True)
    assert not guard.holding(150 * SECOND_NS)


def test_a_kill_that_was_worth_it_begins_the_count_anew() -> None:
    guard = FutileGuard(limit=2)
    for futile in (True, False, True):
        settle(guard, 1, futile=futile)
    assert not guard.holding(SECOND_NS)


def test_a_row_that_together_held_less_than_was_short_does_not_pause() -> None:
    """Small children that die before their large parent."""
    guard = FutileGuard(limit=3, hold_off_ms=60_000)

    def small_one(now_s: int) -> bool:
        assert guard.kill_settled(
            freed_kib=0, held_kib=100, shortfall_kib=600, now_ns=now_s * SECOND_NS
        )
        return guard.holding(now_s * SECOND_NS)

    assert [small_one(now_s) for now_s in range(1, 6)] == [False] * 5
    # The sixth makes it 600 KiB: by now the row says something.
    assert small_one(6)
    assert guard.in_a_row == 6


def test_what_a_row_held_is_forgotten_with_the_row() -> None:
    guard = FutileGuard(limit=1)
    for held_kib, freed_kib in ((900, 0), (900, 900)):
        guard.kill_settled(freed_kib=freed_kib, held_kib=held_kib, shortfall_kib=1000, now_ns=0)
    assert guard.kill_settled(freed_kib=0, held_kib=900, shortfall_kib=1000, now_ns=0)
    assert not guard.holding(1)


def test_a_storm_that_is_over_ends_the_row_and_not_the_pause() -> None:
    guard = FutileGuard(limit=2, hold_off_ms=60_000)
    settle(guard, 1, futile=True)
    guard.forget(plenty=True)
    assert guard.in_a_row == 0
    settle(guard, 2, futile=True)
    assert not guard.holding(2 * SECOND_NS)
    settle(guard, 3, futile=True)
    guard.forget(plenty=True)
    assert guard.holding(62 * SECOND_NS)
    assert not guard.holding(63 * SECOND_NS)


def test_after_a_futile_kill_it_rests_for_as_long_as_memory_falls_no_further() -> None:
    guard = FutileGuard()
    assert not guard.rests(7000, LIMIT_KIB)
    guard.kill_settled(freed_kib=0, held_kib=900, shortfall_kib=1000, now_ns=0, available_kib=7000)
    assert guard.rests(7000, LIMIT_KIB)
    # What hovers about the threshold is no new storm.
    guard.forget(plenty=False)
    assert guard.rests(5000, LIMIT_KIB)
    assert not guard.rests(4999, LIMIT_KIB)
    # Somebody takes memory: it has fallen, whatever comes back of it by itself.
    assert not guard.rests(7000, LIMIT_KIB)


@pytest.mark.parametrize("ends", ["plenty", "worth it", "near the kernel", "switched off"])
def test_what_ends_the_rest(ends: str) -> None:
    guard = FutileGuard(limit=0 if ends == "switched off" else 3)
    left_kib = 3900 if ends == "near the kernel" else 7000
    for freed_kib in (0, 900) if ends == "worth it" else (0,):
        guard.kill_settled(
            freed_kib=freed_kib,
            held_kib=900,
            shortfall_kib=1000,
            now_ns=0,
            available_kib=left_kib,
        )
    if ends == "plenty":
        guard.forget(plenty=True)
    assert not guard.rests(left_kib, LIMIT_KIB)


def test_limit_0_switches_it_off() -> None:
    guard = FutileGuard(limit=0)
    for _ in range(10):
        settle(guard, 1, futile=True)
    assert not guard.holding(SECOND_NS)


def test_memory_holders_are_named_largest_first() -> None:
    meminfo = MemInfo(
        mem_total_kib=8 << 20,
        mem_free_kib=0,
        mem_available_kib=0,
        shmem_kib=5 << 20,
        slab_kib=600 << 10,
        slab_reclaimable_kib=100 << 10,
        hugetlb_kib=2 << 20,
        mlocked_kib=1023,
    )
    assert memory_holders(meminfo) == (
        Holder("tmpfs and shared memory", 5 << 10),
        Holder("huge pages", 2 << 10),
        Holder("unreclaimable slab", 500),
    )


def test_nothing_holds_memory_on_an_idle_machine() -> None:
    assert memory_holders(MemInfo(1024, 1024, 1024)) == ()
