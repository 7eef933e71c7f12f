"""The parked thread: with real dying children, and with calls that hang."""

import _thread
import errno
import os
import signal
from collections.abc import Iterator

import pytest

from oomd.effects import oom_reaper
from oomd.effects.oom_reaper import OomReaper, Reaped
from oomd.mm_types import TaskId
from tests.effects.children import OwnChildren, open_fds, task_of, wait_exit

pytestmark = pytest.mark.live


class HangingCall:
    """process_mrelease(2) that waits until it is let go, as for an mmap lock."""

    def __init__(self) -> None:
        self.entered = os.eventfd(0)
        self.gate = _thread.allocate_lock()
        self.gate.acquire()

    def __call__(self, pidfd: int) -> int:
        os.eventfd_write(self.entered, 1)
        with self.gate:
            return 0


@pytest.fixture
def hanging() -> Iterator[HangingCall]:
    call = HangingCall()
    yield call
    os.close(call.entered)


def first_result(reaper: OomReaper) -> Reaped:
    wait_exit(reaper.fileno())
    (result,) = reaper.results()
    return result


def test_it_takes_the_memory_of_a_dying_child(children: OwnChildren) -> None:
    child = children.start_stuck_dying(mib=64)
    task = task_of(child.pid)
    assert task.rss_pages * os.sysconf("SC_PAGE_SIZE") >= 64 << 20
    reaper = OomReaper()
    assert reaper.start() == 0
    assert reaper.submit(task.ident, children.hold(child.pid))
    result = first_result(reaper)
    assert result.ident == task.ident
    assert result.error == 0
    assert task_of(child.pid).anon_rss_pages == 0
    assert reaper.results() == ()


def test_a_child_that_is_not_dying_keeps_its_memory(children: OwnChildren) -> None:
    child = children.start_ready()
    reaper = OomReaper()
    reaper.start()
    assert reaper.submit(task_of(child.pid).ident, children.hold(child.pid))
    assert first_result(reaper).error == errno.EINVAL
    assert child.poll() is None


def test_submit_never_waits_and_the_ring_is_bounded(hanging: HangingCall) -> None:
    before = open_fds()
    reaper = OomReaper(hanging)
    reaper.start()
    own = os.open("/dev/null", os.O_RDONLY)
    assert reaper.submit(TaskId(10, 0), own)
    os.eventfd_read(hanging.entered)
    # Eight wait behind the one in the call.
    taken = [reaper.submit(TaskId(11 + n, 0), own) for n in range(9)]
    assert taken == [True] * 8 + [False]
    assert reaper.skipped == 1
    assert reaper.results() == ()
    os.close(own)
    hanging.gate.release()
    done: list[TaskId] = []
    while len(done) < 9:
        wait_exit(reaper.fileno())
        done += [result.ident for result in reaper.results()]
    assert [ident.pid for ident in done] == list(range(10, 19))
    assert open_fds() == before | {str(reaper.fileno())}
    os.close(reaper.fileno())


def test_it_tries_again_while_a_part_could_not_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oom_reaper, "_RETRY_SECONDS", 0)
    answers = iter([-errno.EAGAIN, -errno.EAGAIN, 0])
    reaper = OomReaper(lambda _: next(answers))
    reaper.start()
    with open("/dev/null", "rb") as own:
        assert reaper.submit(TaskId(10, 0), own.fileno())
    assert first_result(reaper).error == 0


def test_it_gives_up_after_the_kernels_number_of_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oom_reaper, "_RETRY_SECONDS", 0)
    tries: list[int] = []

    def never(pidfd: int) -> int:
        tries.append(pidfd)
        return -errno.EAGAIN

    reaper = OomReaper(never)
    reaper.start()
    with open("/dev/null", "rb") as own:
        assert reaper.submit(TaskId(10, 0), own.fileno())
    assert first_result(reaper).error == errno.EAGAIN
    assert len(tries) == 11


def test_an_exception_costs_one_victim_and_no_descriptor() -> None:
    calls: list[int] = []

    def out_of_memory_at_first(pidfd: int) -> int:
        calls.append(pidfd)
        if len(calls) == 1:
            raise MemoryError
        return 0

    before = open_fds()
    reaper = OomReaper(out_of_memory_at_first)
    reaper.start()
    with open("/dev/null", "rb") as own:
        assert reaper.submit(TaskId(10, 0), own.fileno())
        assert reaper.submit(TaskId(11, 0), own.fileno())
    # Results come in order: the first victim had its turn, and has no result.
    assert first_result(reaper).ident == TaskId(11, 0)
    assert reaper.skipped == 1
    assert len(calls) == 2
    assert open_fds() == before | {str(reaper.fileno())}
    os.close(reaper.fileno())


def test_signals_go_to_the_main_thread() -> None:
    masks = []

    def record(pidfd: int) -> int:
        masks.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        return 0

    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    reaper = OomReaper(record)
    reaper.start()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    with open("/dev/null", "rb") as own:
        reaper.submit(TaskId(10, 0), own.fileno())
    first_result(reaper)
    unblockable = {signal.SIGKILL, signal.SIGSTOP}
    assert masks == [signal.valid_signals() - unblockable]


def test_what_is_not_started_or_has_no_pidfd_is_skipped() -> None:
    reaper = OomReaper()
    assert reaper.fileno() == -1
    assert not reaper.submit(TaskId(10, 0), 0)
    assert reaper.results() == ()
    reaper.start()
    assert not reaper.submit(TaskId(10, 0), -1)
    assert not reaper.submit(TaskId(10, 0), 1 << 20)
    assert reaper.skipped == 3
