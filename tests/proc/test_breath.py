"""The only processor is left to others between two processes that are read."""

import os
import time

import pytest

from oomd.effects import protect
from oomd.proc import breath
from oomd.proc.breath import Breath
from oomd.proc.root import Root, WritableRoot


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """How long it rested, each time."""
    rested: list[float] = []
    monkeypatch.setattr(time, "sleep", rested.append)
    return rested


def work(ns: int) -> None:
    end_ns = time.thread_time_ns() + ns
    while time.thread_time_ns() < end_ns:
        pass


def test_it_rests_after_so_much_work_and_not_after_a_wait(rests: list[float]) -> None:
    breathe = Breath()
    breathe()
    assert len(rests) == 1
    for _ in range(50):
        breathe()
    # What others have used of the processor is no work of ours.
    os.waitpid(os.spawnlp(os.P_NOWAIT, "sleep", "sleep", "0.1"), 0)
    breathe()
    assert len(rests) == 1
    work(breath.WORK_NS)
    breathe()
    breathe()
    assert rests == [breath.REST_S] * 2


@pytest.mark.live
def test_it_is_called_for_each_process_that_is_read() -> None:
    root = Root()
    calls = 0

    def breathe() -> None:
        nonlocal calls
        calls += 1

    root.breathe = breathe
    assert len(list(root.iter_pids())) == calls > 0
    calls = 0
    seen, _ = root.sift_records("oom_score", b"0\n", lambda pid, data: None)
    # Who is gone when it is read is not seen.
    assert 0 < seen <= calls


@pytest.mark.parametrize("cpus", [1, 2, None])
def test_only_where_there_is_no_other_processor(
    monkeypatch: pytest.MonkeyPatch, cpus: int | None
) -> None:
    names = ("exempt_from_oom", "raise_nofile", "lock_memory", "be_realtime")
    for name in names:
        monkeypatch.setattr(protect, name, lambda *_, name=name: name)
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    root = WritableRoot()
    said = list(protect.stay_alive(root))
    assert said[:4] == list(names)
    assert (root.breathe is not None) is (cpus == 1) is (len(said) == 5)
