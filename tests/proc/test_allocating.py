"""Who is current: threads in direct reclaim, sampled within a budget; else who takes most."""

import shutil
from pathlib import Path

import pytest

from oomd.mm_types import PF_EXITING, PF_KTHREAD, PF_MEMALLOC
from oomd.oom import CurrentTask
from oomd.proc.allocating import STALE_MS, TAKER_FLOOR_KIB, AllocatingSampler
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


# --- nobody in direct reclaim: who takes most

FLOOR_PAGES = TAKER_FLOOR_KIB // 4


def sought(path: Path, *rounds: list[Row]) -> CurrentTask | None:
    """Whom a search finds that begins after the first round; a round takes 50 ms."""
    who = sampler(Root(str(path)))
    for number, rows in enumerate(rounds):
        make_root(path, rows)
        if number == 1:
            who.seek()
        who.sample(1000 + 50 * number)
        assert who.latest(1000 + 50 * number, 500) is None
    return who.taker(1000 + 50 * len(rounds))


def test_who_takes_most_while_it_is_sought(tmp_path: Path) -> None:
    found = sought(
        tmp_path,
        [{"pid": 5, "faults": 0}, {"pid": 6, "faults": 900_000}, {"pid": 7, "faults": 100}],
        [{"pid": 5, "faults": 9000}, {"pid": 6, "faults": 900_000}, {"pid": 7, "faults": 5100}],
        [{"pid": 5, "faults": 9000}, {"pid": 6, "faults": 900_400}, {"pid": 7, "faults": 10_100}],
    )
    assert found == CurrentTask(7, 7, 0, starttime_ticks=700, took_pages=10_000, took_ms=150)


def test_what_was_taken_before_the_search_does_not_count(tmp_path: Path) -> None:
    make_root(tmp_path, [{"pid": 5, "faults": 0}])
    who = sampler(Root(str(tmp_path)))
    who.sample(1000)
    make_root(tmp_path, [{"pid": 5, "faults": 90_000}])
    who.sample(1050)
    who.seek()
    who.sample(1100)
    assert who.taker(1150) is None


def test_a_process_that_comes_up_during_the_search_has_taken_what_it_took_since(
    tmp_path: Path,
) -> None:
    found = sought(tmp_path, [], [{"pid": 5, "faults": 7000}], [{"pid": 5, "faults": 7300}])
    assert found is not None
    assert (found.took_pages, found.took_ms) == (300, 100)


def test_a_huge_page_is_as_much_as_it_is(tmp_path: Path) -> None:
    found = sought(
        tmp_path,
        [{"pid": 5, "faults": 0, "rss_pages": 10}, {"pid": 6, "faults": 0}],
        [{"pid": 5, "faults": 8, "rss_pages": 10 + 8 * 512}, {"pid": 6, "faults": 400}],
    )
    assert found is not None
    assert (found.pid, found.took_pages) == (5, 8 * 512)


def test_one_that_is_swapped_out_while_it_takes_is_found(tmp_path: Path) -> None:
    found = sought(
        tmp_path,
        [{"pid": 5, "faults": 0, "rss_pages": 90_000}, {"pid": 6, "faults": 0, "rss_pages": 10}],
        [{"pid": 5, "faults": 800, "rss_pages": 70_000}, {"pid": 6, "faults": 9, "rss_pages": 300}],
    )
    assert found is not None
    assert (found.pid, found.took_pages) == (5, 800)


@pytest.mark.parametrize(("pages", "found"), [(FLOOR_PAGES, 5), (FLOOR_PAGES - 1, None)])
def test_who_takes_next_to_nothing_is_nobody(tmp_path: Path, pages: int, found: int | None) -> None:
    who = sought(tmp_path, [{"pid": 5, "faults": 0}], [{"pid": 5, "faults": pages}])
    assert (who.pid if who else None) == found


def test_all_threads_take_for_their_process(tmp_path: Path) -> None:
    def rows(faults: int) -> list[Row]:
        threads: list[Thread] = [{"tid": 6, "faults": 0}, {"tid": 7, "faults": 0}]
        return [{"pid": 5, "faults": faults, "threads": threads}, {"pid": 8, "faults": 0}]

    found = sought(tmp_path, rows(0), rows(600))
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

    found = sought(tmp_path, rows(0), rows(600))
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
    who = sampler(Root(str(tmp_path)))
    rows: list[Row] = [{"pid": 5, "faults": 0}, {"pid": 6, "faults": 0}]
    make_root(tmp_path, rows)
    who.sample(1000)
    who.seek()
    make_root(tmp_path, [{"pid": 5, "faults": 900}, {"pid": 6, "faults": 800}])
    who.sample(1050)
    shutil.rmtree(tmp_path / "proc/5")
    make_root(tmp_path, now)
    found = who.taker(1100)
    assert found is not None
    assert found.pid == 6


def test_nothing_is_summed_up_once_the_search_is_over(tmp_path: Path) -> None:
    who = sampler(faults(tmp_path, 0))
    who.seek()
    who.sample(1000)
    assert who.taker(1000) is None
    faults(tmp_path, 9000)
    who.sample(1050)
    assert who.taker(1050) is None
    assert not who._counts._taken


@pytest.mark.live
def test_the_live_machine_is_sampled() -> None:
    who = sampler(Root())
    who.sample(0)
    who.latest(0, 500)
