"""Who is current: threads in direct reclaim, sampled within a budget."""

from pathlib import Path

import pytest

from oomd.mm_types import PF_EXITING, PF_KTHREAD, PF_MEMALLOC
from oomd.oom import CurrentTask
from oomd.proc.allocating import STALE_MS, AllocatingSampler
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
    assert len(who._faults) == remembered
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


@pytest.mark.live
def test_the_live_machine_is_sampled() -> None:
    who = sampler(Root())
    who.sample(0)
    who.latest(0, 500)
