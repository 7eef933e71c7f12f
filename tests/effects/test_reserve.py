"""A kill when hardly a descriptor is left: the reserve is given up for it, and taken again."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from oomd.effects.oom_kill_process import Victim, kill_companions
from oomd.effects.reserve import DESCRIPTORS, Reserve
from oomd.mm.policy import EL7
from oomd.oom import Companion
from oomd.proc.root import ReadError, WritableRoot
from tests.audit.machines import AMPLE
from tests.effects.children import OwnChildren, open_fds, wait_exit
from tests.guard.acting import Acting, started, wait_for_all

pytestmark = pytest.mark.live


@contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """No more than so many can be opened."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []
    highest = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + count, limits[1]))
    try:
        try:
            while True:
                taken.append(os.eventfd(0))
        except OSError:
            pass
        for _ in range(count):
            os.close(taken.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for fd in taken:
            os.close(fd)


@pytest.fixture
def reserve() -> Iterator[Reserve]:
    held = Reserve(again_s=0)
    yield held
    held.give_up()


# 1: for the pidfd, and then none to look at the process again. 0: nothing at all can be read.
@pytest.mark.parametrize("left", [0, 1, 2])
def test_the_victim_dies(children: OwnChildren, reserve: Reserve, left: int) -> None:
    task = started(children)
    acting = Acting({task.pid}, reserve=reserve)
    event = acting.event([task])
    with descriptors_left(left):
        acting.act.decided(event)
        assert acting.victims() == [(task.pid, "chosen")]
        (pidfd,) = acting.act.pidfds()
        wait_exit(pidfd)
        acting.settle(AMPLE)
    assert acting.ends() == [(task.pid, "gone")]


def test_without_a_reserve_nobody_is_passed_over_for_it(children: OwnChildren) -> None:
    task = started(children)
    acting = Acting({task.pid})
    event = acting.event([task])
    with descriptors_left(1):
        acting.act.decided(event)
    assert acting.said[-1].endswith("EMFILE")
    # The next turn has it in view again.
    assert acting.act.control().passed_over == frozenset()
    acting.decide(task, policy=EL7)
    assert acting.victims() == [(task.pid, "chosen")]
    wait_for_all(acting)


def test_who_cannot_look_at_memory_gives_it_up(reserve: Reserve) -> None:
    acting = Acting((), reserve=reserve)
    with descriptors_left(0):
        with pytest.raises(ReadError, match="EMFILE"):
            acting.root.read("proc/meminfo")
        acting.act.settle(None)
        assert acting.root.read("proc/meminfo")
        assert acting.root.pids()
    before = open_fds()
    acting.act.calm(acting.event(()).look)
    assert len(open_fds()) == len(before) + DESCRIPTORS


def test_a_group_dies_though_not_all_of_it_can_be_held(children: OwnChildren) -> None:
    group = [started(children, 1) for _ in range(4)]
    with descriptors_left(3):
        ends = kill_companions(WritableRoot(), [Companion(one, "oom_group") for one in group])
    assert all(isinstance(end, Victim) and end.killed_at_ns for end in ends)
    held = [end.pidfd for end in ends if isinstance(end, Victim) and end.pidfd >= 0]
    assert 0 < len(held) < len(group)
    for pidfd in held:
        wait_exit(pidfd)
        os.close(pidfd)
