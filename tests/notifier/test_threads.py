"""Built-in releasers in their threads: left behind when they overrun, and skipped until back."""

import errno
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from oomd.notifier import NOTIFY_STOP, Answer, OomEvent
from oomd.notifier.chain import OomNotifyList, Outcome
from oomd.notifier.plan import Builtin, Plan
from oomd.notifier.threads import ParkedReleaser
from oomd.notifier.waiting import SentinelGone, Waiter
from oomd.notifier.workshop import Workshop
from oomd.proc.root import Refused

PATIENCE_S = 60.0
SHORT_S = 0.1

PLAN = Plan(200, 1000, "all", 0, 32, 64, False)


class Told:
    """A releaser that does what it is told to, when it is told to."""

    name = "told"

    def __init__(self) -> None:
        self.answer: Callable[[], Answer] = lambda: 4096
        self.go = threading.Event()
        self.go.set()
        self.calls: list[str] = []
        self.again_s: float | None = None
        self.threads: set[int] = set()

    def start(self) -> None:
        self.calls.append("start")

    def release(self, event: OomEvent) -> Answer:
        self.calls.append("release")
        self.threads.add(threading.get_ident())
        assert self.go.wait(PATIENCE_S)
        return self.answer()

    def calm(self, now: float) -> float | None:
        self.calls.append("calm")
        self.threads.add(threading.get_ident())
        assert self.go.wait(PATIENCE_S)
        return self.again_s

    def storm(self) -> None:
        self.calls.append("storm")

    def close(self) -> None:
        self.calls.append("close")


class Parked:
    """One of them in its thread, in a workshop of its own."""

    def __init__(self) -> None:
        self.sentinel, channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._channel = channel
        self.lines: list[str] = []
        self.selector = selectors.DefaultSelector()
        self.waiter = Waiter(channel.fileno())
        notifiers = OomNotifyList(lambda: None)
        self.told = Told()
        shop = Workshop(
            PLAN,
            notifiers,
            self.selector,
            self.waiter,
            lambda priority, text: self.lines.append(text),
            lambda: 1 << 40,
        )
        self.parked = ParkedReleaser(shop, self.told, Builtin("told", 5, 200, {}))
        self.parked.start()

    def release(self, seconds: float = PATIENCE_S) -> Outcome:
        deadline = time.monotonic() + seconds
        event = OomEvent(1 << 20, deadline, "exhaustion", "CONSTRAINT_NONE")
        return self.parked.release(event)

    def until(self, done: Callable[[], bool]) -> None:
        """Turn the loop until it is so."""
        end = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end
            self.parked.tick(time.monotonic())
            for key, _ in self.selector.select(0.01):
                key.data()

    def end(self) -> None:
        self.told.go.set()
        self.parked.close(time.monotonic() + PATIENCE_S)
        self.selector.close()
        self.sentinel.close()
        self._channel.close()


@pytest.fixture
def parked() -> Iterator[Parked]:
    one = Parked()
    yield one
    one.end()


def test_it_releases_in_a_thread_of_its_own(parked: Parked) -> None:
    assert parked.release() == Outcome(4096)
    parked.told.answer = lambda: NOTIFY_STOP(5)
    assert parked.release() == Outcome(5, stop=True)
    assert len(parked.told.threads) == 1
    assert threading.get_ident() not in parked.told.threads


def test_a_negative_claim_counts_as_nothing(parked: Parked) -> None:
    parked.told.answer = lambda: -4096
    assert parked.release() == Outcome(0)


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (OSError("it cannot be done\n"), r"failed: it cannot be done\n"),
        (Refused("proc/sys/vm/drop_caches", "EACCES"), "failed: proc/sys/vm/drop_caches: EACCES"),
        (KeyError("a defect"), "failed: KeyError: 'a defect'"),
    ],
    ids=repr,
)
def test_what_it_raises_is_a_fault_and_the_thread_lives(
    parked: Parked, error: Exception, why: str
) -> None:
    def fail() -> int:
        raise error

    parked.told.answer = fail
    assert parked.release() == Outcome(fault=why)
    assert (parked.parked.faults, parked.lines) == (1, [f"told: {why}; fault 1 of 3"])
    parked.told.answer = lambda: 1
    assert parked.release() == Outcome(1)


def test_one_that_overruns_is_left_behind_and_skipped_until_it_is_back(parked: Parked) -> None:
    parked.told.go.clear()
    first = parked.release(SHORT_S)
    assert first.fault.startswith("left behind: not done within")
    assert parked.parked.state() == "still busy"
    assert parked.release() == Outcome(skipped="still busy")
    assert parked.told.calls == ["start", "release"]
    parked.told.go.set()
    parked.until(lambda: parked.parked.state() == "ready")
    assert parked.lines[-1].startswith("told: has come back after")
    assert parked.release() == Outcome(4096)


def fail() -> int:
    raise TimeoutError("was still running at its deadline, and was killed")


def test_after_a_fault_it_is_skipped_until_it_is_calm(parked: Parked) -> None:
    parked.told.answer = fail
    parked.parked.storm()
    assert parked.release().fault
    for _ in range(5):
        parked.parked.storm()
        assert parked.release() == Outcome(skipped="at fault earlier in this storm")
    assert parked.told.calls.count("release") == 1
    parked.parked.calm()
    parked.told.answer = lambda: 1
    parked.parked.storm()
    assert parked.release() == Outcome(1)


def test_back_in_the_same_storm_it_is_skipped_still(parked: Parked) -> None:
    parked.parked.storm()
    parked.told.go.clear()
    assert parked.release(SHORT_S).fault
    parked.told.go.set()
    parked.until(lambda: parked.parked.state() != "still busy")
    assert parked.release() == Outcome(skipped="at fault earlier in this storm")
    parked.parked.calm()
    assert parked.release() == Outcome(4096)


def test_the_third_fault_is_the_last_and_it_is_put_right_when_it_is_calm(parked: Parked) -> None:
    parked.told.answer = fail
    parked.told.again_s = 0.0
    why = "failed: was still running at its deadline, and was killed"
    for _ in range(3):
        parked.parked.calm()
        parked.parked.storm()
        assert parked.release() == Outcome(fault=why)
    assert parked.lines[-1] == f"told: {why}; quarantined (3 faults) until oomd is reloaded"
    parked.until(lambda: parked.parked.due is None)
    parked.told.calls.clear()
    for _ in range(2):
        # Nothing is taken any more that would not be given back, and it is closed once.
        parked.parked.calm()
        assert parked.parked.due is None
        parked.until(lambda: "close" in parked.told.calls)
        assert parked.release() == Outcome(skipped=f"quarantined (3 faults): {why}")
    parked.parked.close(time.monotonic() + PATIENCE_S)
    assert parked.told.calls == ["close"]


@pytest.mark.parametrize(
    "error",
    [BlockingIOError(errno.EAGAIN, "no more processes"), Refused("sys/x/compact", "EBUSY")],
    ids=repr,
)
def test_what_the_kernel_will_not_do_now_is_no_fault(parked: Parked, error: Exception) -> None:
    def refuse() -> int:
        raise error

    parked.told.answer = refuse
    parked.parked.storm()
    for _ in range(4):
        assert parked.release() == Outcome(0)
    assert parked.parked.faults == 0
    assert parked.lines[0].startswith("told: not now: ")


def test_a_release_waits_for_a_step_of_calm_but_not_beyond_its_deadline(parked: Parked) -> None:
    parked.told.go.clear()
    parked.parked.calm()
    parked.until(lambda: "calm" in parked.told.calls)
    assert parked.release(SHORT_S).fault.startswith("left behind: not done within")
    parked.told.go.set()
    parked.until(lambda: parked.parked.state() == "ready")
    # Nobody waits for it any more: memory that is not needed now is not given away.
    assert parked.told.calls == ["start", "calm"]


def test_steps_of_calm_come_when_they_are_wished_for_and_end_with_the_storm(
    parked: Parked,
) -> None:
    assert parked.parked.due is None
    parked.told.again_s = 0.0
    parked.parked.calm()
    parked.until(lambda: parked.told.calls.count("calm") >= 3)
    parked.told.again_s = None
    parked.until(lambda: parked.parked.due is None and parked.parked.state() == "ready")
    parked.told.again_s = 0.0
    parked.told.go.clear()
    parked.parked.calm()
    before = parked.told.calls.count("calm")
    parked.until(lambda: parked.told.calls.count("calm") > before)
    parked.parked.storm()
    assert parked.told.calls[-1] == "storm"
    parked.told.go.set()
    # The step that was under way asks for another; there is a storm, and it gets none.
    assert parked.release() == Outcome(4096)
    assert parked.parked.due is None


def test_when_the_sentinel_goes_nobody_is_waited_for(parked: Parked) -> None:
    parked.told.go.clear()
    parked.sentinel.close()
    with pytest.raises(SentinelGone):
        parked.release()


def test_by_hand_the_sentinels_word_comes_first(parked: Parked) -> None:
    parked.told.go.clear()
    parked.waiter.by_hand = True
    parked.sentinel.send(b"anything")
    outcome = parked.release()
    assert outcome.skipped == "oomd itself needed memory, and that comes first"
    assert not outcome.fault
    assert parked.parked.faults == 0


def test_closing_puts_things_right_unless_it_is_busy(parked: Parked) -> None:
    parked.told.go.clear()
    parked.release(SHORT_S)
    parked.parked.close(time.monotonic() + PATIENCE_S)
    assert "close" not in parked.told.calls
    parked.told.go.set()
    parked.until(lambda: parked.parked.state() == "ready")
    parked.parked.close(time.monotonic() + PATIENCE_S)
    assert parked.told.calls[-2:] == ["storm", "close"]


def test_no_descriptor_is_lost_with_its_calls(parked: Parked) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        parked.release()
    assert len(os.listdir("/proc/self/fd")) == before
