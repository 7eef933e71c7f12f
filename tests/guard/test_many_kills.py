"""Many kills in a row by one executor: nothing is left over from any of them."""

import gc
import os
import tracemalloc
from collections.abc import Iterator

import pytest

from oomd.mm.policy import EL7
from oomd.mm_types import TaskId
from tests.audit.machines import AMPLE
from tests.effects.children import open_fds, task_of
from tests.guard.acting import Acting

pytestmark = pytest.mark.live

KILLS = 1000
# Those in which tables and caches reach their size.
FIRST = 50
# Nothing that is kept of a kill is smaller than this.
GROWTH_BYTES = 16 * (KILLS - FIRST)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """As in the daemon: a cycle would stay for ever."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def kill_one(acting: Acting) -> None:
    """A child comes, is decided upon, dies, and is collected."""
    pid = os.posix_spawnp("sleep", ["sleep", "infinity"], os.environ)
    # Nobody else may be touched.
    acting.act._killer._restrict_to = frozenset((pid,))
    acting.decide(task_of(pid), policy=EL7)
    acting.settle(AMPLE)
    assert acting.ends() in ([(pid, "gone")], [(pid, "reaped")])
    os.waitpid(pid, 0)
    acting.said.clear()
    acting.told.clear()


def traced_bytes() -> int:
    # Empties the free lists, too, which keep a bounded number of everything.
    assert gc.collect() == 0, "a cycle"
    return tracemalloc.get_traced_memory()[0]


def test_nothing_is_left_over(no_collector: None) -> None:
    acting = Acting(())
    for _ in range(FIRST):
        kill_one(acting)
    gc.collect()
    fds = open_fds()
    tracemalloc.start()
    try:
        kill_one(acting)
        before_bytes = traced_bytes()
        for _ in range(KILLS - FIRST - 1):
            kill_one(acting)
        assert traced_bytes() - before_bytes < GROWTH_BYTES
    finally:
        tracemalloc.stop()
    assert open_fds() == fds
    assert acting.act.control().victims == frozenset[TaskId]()
