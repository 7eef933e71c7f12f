"""Processes that were only waited for, and companions that join late."""

import os

import pytest

from oomd.effects.oom_kill_process import Victim, open_victim
from oomd.effects.victims import FORGET_MS, GRACE_MS, VictimsInFlight
from oomd.mm_types import MemInfo, Task
from oomd.proc.root import WritableRoot
from tests.effects.children import OwnChildren, killed, open_fds, task_of, wait_exit

pytestmark = pytest.mark.live

ROOT = WritableRoot()
MS = 1_000_000
TIMEOUT_MS = 1000
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024

BEFORE = MemInfo(1 << 40, 0, 500)
"""Memory at the kill: nothing that any child here holds is back."""
BACK = BEFORE._replace(mem_available_kib=1 << 30)
"""More than any child here held."""


def waited_for(task: Task) -> Victim:
    """Held, and sent no signal of ours."""
    victim = open_victim(ROOT, task, "dying")
    assert isinstance(victim, Victim)
    return victim


def test_who_was_only_waited_for_and_lives_on_is_forgotten(children: OwnChildren) -> None:
    task = task_of(children.start_ready().pid)
    before = open_fds()
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(waited_for(task), 0, BEFORE)
    assert len(flights.sweep(TIMEOUT_MS * MS, BEFORE)) == 1
    end_ms = TIMEOUT_MS + FORGET_MS
    flights.sweep(end_ms * MS - 1, BEFORE)
    assert flights.passed_over == {task.ident}
    assert not flights.idle
    flights.sweep(end_ms * MS, BEFORE)
    assert flights.passed_over == frozenset()
    assert flights.idle
    assert open_fds() == before
    # Like any other: it can be waited for anew, or killed.
    flights.add(waited_for(task), end_ms * MS, BEFORE)
    assert flights.victims == {task.ident}


@pytest.mark.parametrize("waits_before", [False, True])
def test_who_was_killed_is_never_forgotten_while_it_is_there(
    children: OwnChildren, waits_before: bool
) -> None:
    stuck = children.start_stuck_dying()
    task = task_of(stuck.pid)
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    if waits_before:
        # Killed by hand, then.
        flights.add(waited_for(task), 0, BEFORE)
    flights.add(killed(task), 0, BEFORE)
    assert len(flights.sweep(TIMEOUT_MS * MS, BEFORE)) == 1
    flights.sweep((TIMEOUT_MS + 10 * FORGET_MS) * MS, BEFORE)
    assert flights.passed_over == {task.ident}
    children.let_die(stuck.pid)
    stuck.wait()
    flights.sweep((TIMEOUT_MS + 10 * FORGET_MS) * MS, BEFORE)
    assert flights.idle


def test_so_is_a_companion_that_was_waited_for_before(children: OwnChildren) -> None:
    child, stuck = children.start_ready(), children.start_stuck_dying()
    task = task_of(stuck.pid)
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(waited_for(task), 0, BEFORE)
    victim = killed(task_of(child.pid))
    flights.add(victim, 0, BEFORE)
    flights.join(victim.task.ident, [killed(task)._replace(why="oom_group")])
    flights.sweep(TIMEOUT_MS * MS, BEFORE)
    flights.sweep((TIMEOUT_MS + 10 * FORGET_MS) * MS, BEFORE)
    assert task.ident in flights.passed_over


def test_without_a_look_at_memory_nothing_is_seen_to_come_back(children: OwnChildren) -> None:
    child = children.start_ready()
    victim = killed(task_of(child.pid))
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(victim, 0, BEFORE)
    wait_exit(victim.pidfd)
    assert flights.sweep(MS, None) == ()
    assert flights.busy
    (settled,) = flights.sweep((1 + GRACE_MS) * MS, None)
    assert (settled.end, settled.freed_kib) == ("gone", 0)
    assert flights.idle


def test_a_companion_that_is_chosen_by_hand_takes_its_own_along(children: OwnChildren) -> None:
    first, second, third = (children.start_stuck_dying() for _ in range(3))
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    before = open_fds()
    victim = killed(task_of(first.pid))
    companion, its_own = (
        killed(task_of(child.pid))._replace(why="oom_group") for child in (second, third)
    )
    flights.add(victim, 0, BEFORE)
    flights.join(victim.task.ident, [companion])
    # A second kill, of the companion, and with it another process.
    again = killed(companion.task)
    assert flights.add(again, 1, BEFORE) == companion.pidfd
    flights.join(companion.task.ident, [its_own])
    assert flights.victims == {one.task.ident for one in (victim, companion, its_own)}
    for child in (first, second, third):
        children.let_die(child.pid)
        child.wait()
    (settled,) = flights.sweep(2, BACK)
    assert settled.task == victim.task
    assert open_fds() == before


def test_who_joins_a_kill_that_has_settled_is_remembered(children: OwnChildren) -> None:
    before = open_fds()
    stuck = children.start_stuck_dying()
    late = killed(task_of(stuck.pid))
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.join(Task(10, 500).ident, [late])
    assert not flights.busy
    assert flights.passed_over == {late.task.ident}
    children.let_die(stuck.pid)
    stuck.communicate()
    flights.sweep(1, BEFORE)
    assert flights.passed_over == frozenset()
    assert open_fds() == before
