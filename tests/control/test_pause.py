"""The pause's clock."""

import time

import pytest

from oomd.control.pause import LONGEST_S, Pause


def test_there_is_none_at_first() -> None:
    pause = Pause()
    assert not pause.begun
    assert pause.left_ms() == 0


def test_it_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now_ns = [5_000_000_000]

    def clock(which: int) -> int:
        # Goes on while the machine is suspended, and nobody can set it.
        assert which == time.CLOCK_BOOTTIME
        return now_ns[0]

    monkeypatch.setattr(time, "clock_gettime_ns", clock)
    pause = Pause()
    pause.begin(LONGEST_S)
    assert (pause.begun, pause.left_ms()) == (True, LONGEST_S * 1000)
    now_ns[0] += (LONGEST_S - 1) * 10**9
    assert (pause.begun, pause.left_ms()) == (True, 1000)
    now_ns[0] += 10**12
    # Over; whoever watches has still to say so.
    assert (pause.begun, pause.left_ms()) == (True, 0)
    pause.end()
    assert not pause.begun


def test_a_second_one_takes_the_place_of_the_first() -> None:
    pause = Pause()
    pause.begin(3600)
    pause.begin(60)
    assert 0 < pause.left_ms() <= 60_000
