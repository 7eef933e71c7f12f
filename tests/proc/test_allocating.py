"""Who is current: threads in direct reclaim, sampled within a budget; else who takes most."""

import shutil
from pathlib import Path

import pytest

from oomd.mm_types import PF_EXITING, PF_KTHREAD, PF_MEMALLOC
from oomd.oom import CurrentTask
from oomd.proc.allocating import (
    KTHREAD_ROUNDS,
    STALE_MS,
    TAKER_FLOOR_KIB,
    AllocatingSampler,
)
from oomd.proc.page_counts import HALF_LIFE_MS
from oomd.proc.root import Root
from tests.proc.formats import Row, Thread
from tests.roots import make_root

PLENTY_US = 3_600_000_000


def sampler(root: Root, budget_us: int = PLENTY_US) -> AllocatingSampler:
    return AllocatingSampler(root, budget_us=budget_us)


def test_nobody_allocates(tmp_path: Path) -> None:
    rows: list[Row] = [{"pid": 5}, {"pid": 2, "flags": PF_KTHREAD | PF_MEMALLOC}]
    who = sampler(make_root(tmp_path, rows))
    who.sample(1000)
    assert who.latest(1000, 500) is None


def test_a_thread_of_a_process(tmp_path: Path) -> None:
    flags = PF_MEMALLOC | PF_EXITING
    threads: list[Thread] = [{"tid": 6}, {"tid": 7, "flags": flags, "sigkill_pending": True}]
    rows: list[Row] = [{"pid": 5, "starttime_ticks": 44, "threads": threads}]
    who = sampler(make_root(tmp_path, rows))
    who.sample(1000)
    expected = CurrentTask(5, 7, 0, sigkill_pending=True, exiting=True, starttime_ticks=44)
    assert who.latest(1000, 500) == expected
    assert who.latest(1400, 500) == expected._replace(seen_ms_ago=400)
    assert who.latest(1501, 500) is None


def test_the_latest_hit_stays_until_it_is_too_old(tmp_path: Path) -> None:
    root = make_root(tmp_path, [{"pid": 5, "flags": PF_MEMALLOC}])
    who = sampler(root)
    who.sample(1000)
    make_root(tmp_path, [{"pid": 5}])
    who.sample(1300)
    seen = who.latest(1300, 500)
    assert seen is not None
    assert (seen.pid, seen.seen_ms_ago) == (5, 300)


def faults(path: Path, *counts: int) -> Root:
    rows: list[Row] = [
        {"pid": 5 + number, "flags": PF_MEMALLOC, "faults": count}
        for number, count in enumerate(counts)
    ]
    return make_root(path, rows)


def test_of_several_the_one_with_most_new_faults(tmp_path: Path) -> None:
    who = sampler(faults(tmp_path, 9_000_000, 100, 500))
    who.sample(1000)
    faults(tmp_path, 9_000_050, 300, 510)
    who.sample(1050)
    seen = who.latest(1050, 500)
    assert seen is not None
    assert seen.pid == 6


def test_counts_of_the_last_storm_are_forgotten(tmp_path: Path) -> None:
    who = sampler(faults(tmp_path, 0, 0))
    who.sample(0)
    later = STALE_MS + 1
    faults(tmp_path, 100, 9_000_000)
    who.sample(later)
    faults(tmp_path, 300, 9_000_001)
    who.sample(later + 50)
    seen = who.latest(later + 50, 500)
    assert seen is not None
    assert seen.pid == 5


def test_a_sample_stops_when_its_time_is_up_and_the_next_goes_on(tmp_path: Path) -> None:
    rows: list[Row] = [{"pid": pid} for pid in range(10, 19)]
    root = make_root(tmp_path, [*rows, {"pid": 19, "flags": PF_MEMALLOC}])
    who = sampler(root, budget_us=0)
    for sample in range(9):
        who.sample(sample)
        assert who.latest(sample, 500) is None
    who.sample(9)
    seen = who.latest(9, 500)
    assert seen is not None
    assert seen.pid == 19


@pytest.mark.parametrize("remembered", [0, 1, 2])
def test_what_is_remembered_is_bounded(tmp_path: Path, remembered: int) -> None:
    who = AllocatingSampler(faults(tmp_path, 1, 2, 3), budget_us=PLENTY_US, remembered=remembered)
    who.sample(0)
    who.sample(50)
    assert len(who._counts) == remembered
    assert who.latest(50, 500) is not None


def test_an_unreadable_proc_is_survived(tmp_path: Path) -> None:
    who = sampler(Root(str(tmp_path / "nothing")))
    who.sample(0)
    assert who.latest(0, 500) is None
    refused = {"proc/5/task": "EACCES"}
    rows: list[Row] = [{"pid": 5, "threads": [{"tid": 6}]}]
    who = sampler(make_root(tmp_path / "hidden", rows, refused=refused))
    who.sample(0)
    assert who.latest(0, 500) is None


# --- nobody in direct reclaim: who took most of late

FLOOR_PAGES = TAKER_FLOOR_KIB // 4


def taker(path: Path, *rounds: list[Row], every_ms: int = 50) -> CurrentTask | None:
    """Who took most, as asked at the last of these rounds."""
    who, now_ms = sampler(Root(str(path))), 1000
    for rows in rounds:
        make_root(path, rows)
        now_ms += every_ms
        who.sample(now_ms)
        assert who.latest(now_ms, 500) is None
    return who.taker(now_ms)


def test_who_took_most_since_it_is_known(tmp_path: Path) -> None:
    found = taker(
        tmp_path,
        [{"pid": 5, "faults": 900_000}, {"pid": 6, "faults": 100}, {"pid": 7, "faults": 0}],
        [{"pid": 5, "faults": 900_600}, {"pid": 6, "faults": 5100}, {"pid": 7, "faults": 0}],
        # Not met before: what it took in the past is not of late.
        [{"pid": 5, "faults": 901_200}, {"pid": 6, "faults": 5100}, {"pid": 8, "faults": 70_000}],
    )
    # What 6 took 50 ms ago counts a little less.
    assert found == CurrentTask(6, 6, 0, starttime_ticks=600, took_pages=4665)


def test_what_was_taken_half_a_second_ago_counts_half(tmp_path: Path) -> None:
    def rows(stopped: int, going_on: int) -> list[Row]:
        return [{"pid": 5, "faults": stopped}, {"pid": 6, "faults": going_on}]

    rounds = [rows(0, 0), rows(8000, 500), rows(8000, 1000)]
    found = taker(tmp_path / "soon", *rounds, every_ms=HALF_LIFE_MS)
    assert found is not None
    assert (found.pid, found.took_pages) == (5, 4000)
    rounds += [rows(8000, 500 * number) for number in (3, 4, 5, 6)]
    found = taker(tmp_path / "later", *rounds, every_ms=HALF_LIFE_MS)
    assert found is not None
    assert (found.pid, found.took_pages) == (6, 984)


def test_a_huge_page_is_as_much_as_it_is(tmp_path: Path) -> None:
    found = taker(
        tmp_path,
        [{"pid": 5, "faults": 0, "rss_pages": 10}, {"pid": 6, "faults": 0}],
        [{"pid": 5, "faults": 8, "rss_pages": 10 + 8 * 512}, {"pid": 6, "faults": 400}],
    )
    assert found is not None
    assert (found.pid, found.took_pages) == (5, 8 * 512)


def test_one_that_is_swapped_out_while_it_takes_is_found(tmp_path: Path) -> None:
    found = taker(
        tmp_path,
        [{"pid": 5, "faults": 0, "rss_pages": 90_000}, {"pid": 6, "faults": 0, "rss_pages": 10}],
        [{"pid": 5, "faults": 800, "rss_pages": 70_000}, {"pid": 6, "faults": 9, "rss_pages": 300}],
    )
    assert found is not None
    assert (found.pid, found.took_pages) == (5, 800)


@pytest.mark.parametrize(("pages", "found"), [(FLOOR_PAGES, 5), (FLOOR_PAGES - 1, None)])
def test_who_took_next_to_nothing_is_nobody(tmp_path: Path, pages: int, found: int | None) -> None:
    who = taker(tmp_path, [{"pid": 5, "faults": 0}], [{"pid": 5, "faults": pages}])
    assert (who.pid if who else None) == found


def test_all_threads_take_for_their_process(tmp_path: Path) -> None:
    def rows(faults: int) -> list[Row]:
        threads: list[Thread] = [{"tid": 6, "faults": 0}, {"tid": 7, "faults": 0}]
        return [{"pid": 5, "faults": faults, "threads": threads}, {"pid": 8, "faults": 0}]

    found = taker(tmp_path, rows(0), rows(600))
    assert found is not None
    # Counted once, and not once a thread.
    assert (found.pid, found.took_pages) == (5, 600)


def test_a_thread_that_lives_stands_for_a_leader_that_has_exited(tmp_path: Path) -> None:
    def rows(faults: int) -> list[Row]:
        threads: list[Thread] = [
            {"tid": 6, "flags": PF_EXITING},
            {"tid": 7, "flags": 0, "state": "R", "sigkill_pending": True},
        ]
        leader: Row = {"pid": 5, "mm_tid": 7, "state": "Z", "flags": PF_EXITING, "faults": faults}
        return [{**leader, "threads": threads}]

    found = taker(tmp_path, rows(0), rows(600))
    assert found is not None
    assert (found.pid, found.tid, found.exiting, found.sigkill_pending) == (5, 7, False, True)


@pytest.mark.parametrize(
    "now",
    [
        [],
        [{"pid": 5, "faults": 900, "state": "Z", "flags": PF_EXITING}],
        [{"pid": 5, "faults": 900, "starttime_ticks": 999}],
    ],
    ids=["gone", "a zombie", "its pid is another's"],
)
def test_who_has_gone_takes_no_more_and_the_next_one_is_found(
    tmp_path: Path, now: list[Row]
) -> None:
    who = sampler(make_root(tmp_path, [{"pid": 5, "faults": 0}, {"pid": 6, "faults": 0}]))
    who.sample(1000)
    make_root(tmp_path, [{"pid": 5, "faults": 900}, {"pid": 6, "faults": 800}])
    who.sample(1050)
    shutil.rmtree(tmp_path / "proc/5")
    make_root(tmp_path, now)
    found = who.taker(1050)
    assert found is not None
    assert (found.pid, found.took_pages) == (6, 800)


def test_another_with_the_same_pid_has_taken_nothing_yet(tmp_path: Path) -> None:
    first: list[Row] = [{"pid": 5, "faults": 0}]
    second: list[Row] = [{"pid": 5, "faults": 900, "starttime_ticks": 999}]
    assert taker(tmp_path, first, second) is None


def test_known_kernel_threads_are_passed_over(tmp_path: Path) -> None:
    # Of five in a row, at most one is read again in the next round.
    def rows(pages: int) -> list[Row]:
        crowd: list[Row] = [{"pid": pid, "flags": PF_KTHREAD} for pid in range(2, 7)]
        return [*crowd, {"pid": 70, "faults": pages}]

    who = sampler(make_root(tmp_path, rows(0)))
    who.sample(1000)
    make_root(tmp_path, rows(600))
    who.budget_us = 0
    who.sample(1000)
    who.sample(1000)
    assert who.taker(1000) is not None


def test_a_kernel_threads_pid_is_another_ones_in_time(tmp_path: Path) -> None:
    who = sampler(make_root(tmp_path, [{"pid": 5, "flags": PF_KTHREAD}]))
    who.sample(1000)
    make_root(tmp_path, [{"pid": 5, "flags": PF_MEMALLOC}])
    for _ in range(KTHREAD_ROUNDS):
        who.sample(1000)
    seen = who.latest(1000, 500)
    assert seen is not None
    assert seen.pid == 5


@pytest.mark.live
def test_the_live_machine_is_sampled() -> None:
    who = sampler(Root())
    who.sample(0)
    who.latest(0, 500)
