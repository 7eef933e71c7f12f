"""Waiting for victims, on an injected clock: nothing here sleeps."""

import os
from collections.abc import Callable

import pytest

from oomd.effects.oom_kill_process import Victim, kill_companions, open_victim
from oomd.effects.victims import VictimsInFlight
from oomd.mm_types import MemInfo, Task
from oomd.oom import Companion
from oomd.proc.root import WritableRoot
from tests.effects.children import (
    LyingRoot,
    OwnChildren,
    has_exited,
    killed,
    open_fds,
    task_of,
    wait_exit,
)

pytestmark = pytest.mark.live

ROOT = WritableRoot()
MS = 1_000_000
TIMEOUT_MS = 1000
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024

BEFORE = MemInfo(1 << 40, 0, 500)
"""Memory at the kill: nothing that any child here holds is back."""
BACK = BEFORE._replace(mem_available_kib=1 << 30)
"""More than any child here held."""


def test_a_zombie_is_gone(children: OwnChildren) -> None:
    before = open_fds()
    child = children.start_ready()
    task = task_of(child.pid)
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    victim = killed(task)
    assert flights.add(victim, 0, BEFORE, shortfall_kib=77) == victim.pidfd
    assert flights.victims == {task.ident}
    assert flights.pidfds() == [victim.pidfd]
    assert flights.busy
    wait_exit(victim.pidfd)
    # Nobody has waited for it yet.
    assert task_of(child.pid).state == "Z"
    held_kib = task.size_pages * PAGE_KIB
    now = BEFORE._replace(mem_available_kib=500 + held_kib)
    (settled,) = flights.sweep(20 * MS, now)
    assert settled.task == task
    assert settled.end == "gone"
    assert settled.took_ms == 20
    assert settled.held_kib == settled.freed_kib == held_kib
    assert settled.shortfall_kib == 77
    assert settled.killed
    assert flights.victims == flights.passed_over == frozenset()
    assert flights.pidfds() == []
    assert not flights.busy
    assert flights.sweep(30 * MS, now) == ()
    child.communicate()
    assert open_fds() == before


def test_a_stuck_victim_is_passed_over_when_its_time_is_up(children: OwnChildren) -> None:
    before = open_fds()
    child = children.start_stuck_dying()
    task = task_of(child.pid)
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(killed(task), 5 * MS, BEFORE)
    assert flights.sweep((5 + TIMEOUT_MS) * MS - 1, BACK) == ()
    assert flights.victims == {task.ident}
    # At once, whether anything came back or not.
    (settled,) = flights.sweep((5 + TIMEOUT_MS) * MS, BEFORE)
    assert settled.end == "passed over"
    assert settled.took_ms == TIMEOUT_MS
    assert settled.freed_kib == 0
    assert not flights.busy
    assert flights.victims == frozenset()
    assert flights.passed_over == {task.ident}
    # Remembered until it is gone.
    assert flights.sweep(10**6 * MS, BEFORE) == ()
    assert flights.passed_over == {task.ident}
    children.let_die(child.pid)
    child.communicate()
    assert flights.sweep(10**6 * MS, BEFORE) == ()
    assert flights.passed_over == frozenset()
    assert open_fds() == before


def test_a_victim_whose_memory_process_mrelease_took_is_reaped(children: OwnChildren) -> None:
    child = children.start_stuck_dying()
    task = task_of(child.pid)
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(killed(task), 0, BEFORE)
    flights.reaped(task.ident)
    assert flights.passed_over == {task.ident}
    (settled,) = flights.sweep(1, BACK)
    assert settled.end == "reaped"
    assert flights.passed_over == {task.ident}
    children.let_die(child.pid)
    child.wait()
    flights.sweep(2, BACK)
    assert flights.passed_over == frozenset()


@pytest.mark.parametrize(
    ("scores", "freed_share", "ends"),
    [
        # The score before the kill and now; half of what the victim held must be back.
        ((b"670\n", b"0\n"), 0.5, ["reaped"]),
        ((b"670\n", b"0\n"), 0.49, []),
        ((b"670\n", b"670\n"), 1.0, []),
        # el7 shows 0 for anybody small: no news.
        ((b"0\n", b"0\n"), 1.0, []),
    ],
)
def test_a_victim_without_an_mm_is_reaped_once_the_memory_is_back(
    children: OwnChildren, scores: tuple[bytes, bytes], freed_share: float, ends: list[str]
) -> None:
    child = children.start_stuck_dying()
    task = task_of(child.pid)._replace(rss_pages=1000, pgtables_pages=0, swapents_pages=0)
    path = f"proc/{child.pid}/oom_score"
    root = LyingRoot({path: scores[0]})
    flights = VictimsInFlight(root, TIMEOUT_MS)
    flights.add(killed(task), 0, BEFORE)
    root.lies[path] = scores[1]
    available_kib = BEFORE.mem_available_kib + int(1000 * PAGE_KIB * freed_share)
    settled = flights.sweep(1, BEFORE._replace(mem_available_kib=available_kib))
    assert [s.end for s in settled] == ends


def test_a_kill_ends_with_its_last_companion(children: OwnChildren) -> None:
    child, stuck = children.start_ready(), children.start_stuck_dying()
    victim = killed(task_of(child.pid))
    companions = [Companion(task_of(stuck.pid), "oom_group")]
    with_it = [e for e in kill_companions(ROOT, companions) if isinstance(e, Victim)]
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(victim, 0, BEFORE)
    flights.join(victim.task.ident, with_it)
    wait_exit(victim.pidfd)
    assert flights.sweep(1, BACK) == ()
    assert flights.victims == {with_it[0].task.ident}
    children.let_die(stuck.pid)
    wait_exit(with_it[0].pidfd)
    (settled,) = flights.sweep(2, BACK)
    assert settled.end == "gone"
    # Both held memory of their own.
    assert settled.held_kib == PAGE_KIB * (victim.task.size_pages + with_it[0].task.size_pages)


def test_who_shares_the_mm_is_empty_when_the_victim_is(children: OwnChildren) -> None:
    # Nothing is signalled here: two records of stuck children stand for one mm.
    child, other = children.start_stuck_dying(), children.start_stuck_dying()
    victim = killed(task_of(child.pid))
    sharer = killed(task_of(other.pid))._replace(why="sharing_mm")
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(victim, 0, BEFORE)
    flights.join(victim.task.ident, [sharer])
    flights.reaped(victim.task.ident)
    (settled,) = flights.sweep(1, BACK)
    assert settled.end == "reaped"
    assert settled.held_kib == victim.task.size_pages * PAGE_KIB
    assert flights.passed_over == {victim.task.ident, sharer.task.ident}


def test_two_kills_settle_each_on_its_own(children: OwnChildren) -> None:
    """A manual trigger kills while another victim is still dying."""
    stuck, child = children.start_stuck_dying(), children.start_ready()
    first, second = task_of(stuck.pid), task_of(child.pid)
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(killed(first), 0, BEFORE)
    victim = killed(second)
    flights.add(victim, 100 * MS, BEFORE)
    wait_exit(victim.pidfd)
    assert [s.task for s in flights.sweep(200 * MS, BACK)] == [second]
    assert flights.victims == {first.ident}
    assert [s.task for s in flights.sweep(TIMEOUT_MS * MS, BACK)] == [first]


def test_a_process_that_dies_by_itself_is_waited_for_once(children: OwnChildren) -> None:
    child = children.start_stuck_dying()
    task = task_of(child.pid)
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    before = open_fds()
    held = []
    for now_ms in (0, 10):
        victim = open_victim(ROOT, task, "dying")
        assert isinstance(victim, Victim)
        held.append(flights.add(victim, now_ms * MS, BEFORE))
    # The number that the second one came with is closed, and may soon be another process's.
    assert held[0] == held[1]
    assert open_fds() - before == {str(held[0])}
    (settled,) = flights.sweep(TIMEOUT_MS * MS, BEFORE)
    assert settled.end == "passed over"
    assert not settled.killed
    victim = open_victim(ROOT, task, "dying")
    assert isinstance(victim, Victim)
    assert flights.add(victim, TIMEOUT_MS * MS, BEFORE) == held[0]
    assert flights.victims == frozenset()
    children.let_die(child.pid)
    child.wait()
    flights.sweep(TIMEOUT_MS * MS, BEFORE)
    assert open_fds() == before


def test_a_new_timeout_holds_for_those_in_flight_too(children: OwnChildren) -> None:
    child = children.start_stuck_dying()
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(killed(task_of(child.pid)), 0, BEFORE)
    flights.configure(10)
    assert flights.sweep(10 * MS - 1, BEFORE) == ()
    assert [s.end for s in flights.sweep(10 * MS, BEFORE)] == ["passed over"]
    children.let_die(child.pid)
    child.wait()
    flights.sweep(11 * MS, BEFORE)


def test_no_victims_no_kill() -> None:
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    assert not flights.busy
    assert flights.sweep(1, BACK) == ()


STAT = "%d (x) %s 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 %d 0 %d 0 0 0 0\n"


@pytest.mark.parametrize(
    ("stat", "gone"),
    [
        (None, True),
        (STAT % (10, "R", 1, 500), False),
        (STAT % (10, "Z", 1, 500), True),
        # The leader has exited, a thread is still there.
        (STAT % (10, "Z", 2, 500), False),
        # The pid is another process's.
        (STAT % (10, "R", 1, 501), True),
        ("torn", False),
    ],
)
def test_without_a_pidfd_stat_tells(
    fake_tree: Callable[[dict[str, bytes]], WritableRoot], stat: str | None, gone: bool
) -> None:
    root = fake_tree({"proc/10/stat": stat.encode()} if stat else {})
    flights = VictimsInFlight(root, TIMEOUT_MS)
    assert flights.add(Victim(Task(10, 500), -1), 0, BEFORE) == -1
    assert flights.pidfds() == []
    assert [s.end for s in flights.sweep(1, BEFORE)] == (["gone"] if gone else [])


def test_the_stuck_child_of_these_tests_is_stuck(children: OwnChildren) -> None:
    child = children.start_stuck_dying()
    pidfd = children.hold(child.pid)
    assert not has_exited(pidfd)
    assert task_of(child.pid).has_mm
    children.let_die(child.pid)
    wait_exit(pidfd)
