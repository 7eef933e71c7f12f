"""Scores through descriptors that stay open, on this machine."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from oomd.proc.kept_scores import KeptScores
from oomd.proc.root import Root

pytestmark = pytest.mark.live

COUNT = 20


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


class Sleepers:
    """Processes of our own, which end when their standard input does."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.processes = [self._start() for _ in range(COUNT)]

    def _start(self) -> "subprocess.Popen[bytes]":
        return self.stack.enter_context(subprocess.Popen(["cat"], stdin=subprocess.PIPE))

    def pids(self) -> set[int]:
        return {process.pid for process in self.processes}

    def end_some(self) -> set[int]:
        """The pids of those that are left."""
        for process in self.processes[: COUNT // 2]:
            process.kill()
            process.wait()
        del self.processes[: COUNT // 2]
        return self.pids()

    def start_more(self) -> None:
        self.processes += [self._start() for _ in range(COUNT // 2)]


@pytest.fixture
def sleepers() -> Iterator[Sleepers]:
    own = Sleepers()
    with own.stack:
        yield own


Sift = Callable[[bytes, Callable[[int, bytes], None]], tuple[int, int]]


def scores(sift: Sift, pids: set[int]) -> dict[int, bytes]:
    """What is found of these, and that the others were counted."""
    found: dict[int, bytes] = {}
    seen, usual = sift(b"666\n", found.__setitem__)
    assert seen == usual + len(found)
    again: dict[int, bytes] = {}
    assert sift(b"", again.__setitem__)[1] == 0
    return {pid: data for pid, data in again.items() if pid in pids}


def anew(usual: bytes, unusual: Callable[[int, bytes], None]) -> tuple[int, int]:
    return Root().sift_records("oom_score", usual, unusual)


class BrokenOff(Exception):
    pass


def break_off(pid: int, data: bytes) -> None:
    raise BrokenOff


def test_says_what_opening_each_anew_says(sleepers: Sleepers) -> None:
    before = open_fds()
    kept = KeptScores(Root(), 100_000)
    for _ in range(3):
        assert scores(kept.sift, sleepers.pids()) == scores(anew, sleepers.pids())
        assert set(scores(anew, sleepers.pids())) == sleepers.pids()
        assert open_fds() == before + len(kept)
    # Those who have ended are let go of, and those who were born since are kept.
    left = sleepers.end_some()
    sleepers.start_more()
    before = open_fds() - len(kept)
    assert set(scores(kept.sift, sleepers.pids())) == sleepers.pids() > left
    assert open_fds() == before + len(kept)
    kept.close()
    assert open_fds() == before


def test_the_budget_holds(sleepers: Sleepers) -> None:
    before = open_fds()
    kept = KeptScores(Root(), 7)
    for _ in range(2):
        assert set(scores(kept.sift, sleepers.pids())) == sleepers.pids()
        assert len(kept) == 7
        assert open_fds() == before + 7
    kept.close()


def test_a_look_that_is_broken_off_loses_no_descriptor(sleepers: Sleepers) -> None:
    before = open_fds()
    kept = KeptScores(Root(), 100_000)
    scores(kept.sift, set())
    with pytest.raises(BrokenOff):
        kept.sift(b"", break_off)
    assert open_fds() == before + len(kept)
    assert scores(kept.sift, sleepers.pids()).keys() == sleepers.pids()
    kept.close()
    assert open_fds() == before
