"""A kill has not ended before its memory is seen to be back, or had its time to come back."""

import os

import pytest

from oomd.effects.oom_kill_process import Victim, kill, open_victim
from oomd.effects.victims import GRACE_MS, VictimsInFlight, came_back_kib
from oomd.mm_types import MemInfo
from oomd.proc.root import WritableRoot
from tests.effects.children import OwnChildren, open_fds, task_of, wait_exit

ROOT = WritableRoot()
MS = 1_000_000
TIMEOUT_MS = 60_000
PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
BEFORE = MemInfo(1 << 40, 0, 5000, swap_free_kib=3000, anon_pages_kib=900_000)


@pytest.mark.parametrize(
    ("available_kib", "swap_free_kib", "anon_kib", "back_kib"),
    [
        (5000, 3000, 900_000, 0),
        # MemAvailable lags behind: the pages are in per-CPU lists, and AnonPages is down.
        (5000, 3000, 899_300, 700),
        (5100, 3000, 899_300, 700),
        # Both saw it: it came back once.
        (5700, 3000, 899_300, 700),
        # Shared memory or page tables: no anonymous page is gone.
        (5700, 3000, 900_000, 700),
        # What it had in swap.
        (5000, 3700, 900_000, 700),
        (5100, 3700, 900_000, 800),
        (5000, 3700, 899_900, 800),
        # Others read theirs back in from swap: nothing came back.
        (4300, 3700, 900_700, 0),
        # Others took more than came back.
        (4600, 3000, 900_400, -400),
        (5000, 2600, 900_000, -400),
    ],
)
def test_what_came_back(
    available_kib: int, swap_free_kib: int, anon_kib: int, back_kib: int
) -> None:
    now = BEFORE._replace(
        mem_available_kib=available_kib, swap_free_kib=swap_free_kib, anon_pages_kib=anon_kib
    )
    assert came_back_kib(BEFORE, now) == back_kib


def killed(pid: int, why: str = "chosen") -> Victim:
    victim = open_victim(ROOT, task_of(pid), why)
    assert isinstance(victim, Victim)
    victim = kill(ROOT, victim)
    assert isinstance(victim, Victim)
    return victim


def gone(children: OwnChildren, flights: VictimsInFlight, before: MemInfo = BEFORE) -> Victim:
    """A victim, added at 0, that has exited."""
    victim = killed(children.start_ready().pid)
    flights.add(victim, 0, before)
    wait_exit(victim.pidfd)
    return victim


def ended(flights: VictimsInFlight) -> bool:
    """Nobody is dying any longer, and the memory is not back yet."""
    return flights.busy and not flights.victims


def back(kib: int) -> MemInfo:
    """So much came back, which only AnonPages shows."""
    return BEFORE._replace(anon_pages_kib=BEFORE.anon_pages_kib - kib)


def half_back(victim: Victim) -> MemInfo:
    """Just enough."""
    return back((victim.task.size_pages * PAGE_KIB + 1) // 2)


def nearly_half_back(victim: Victim) -> MemInfo:
    return back((victim.task.size_pages * PAGE_KIB - 1) // 2)


@pytest.mark.live
def test_a_gone_victim_holds_the_next_kill_until_its_memory_is_back(children: OwnChildren) -> None:
    before = open_fds()
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    victim = gone(children, flights)
    assert not ended(flights)
    assert flights.sweep(20 * MS, BEFORE) == ()
    assert ended(flights)
    assert flights.sweep(30 * MS, nearly_half_back(victim)) == ()
    assert flights.busy
    # Nobody is dying any longer: nothing to poll, nothing for the decision to wait for.
    assert flights.pidfds() == []
    assert flights.victims == flights.passed_over == frozenset()
    (settled,) = flights.sweep(40 * MS, half_back(victim))
    assert settled.end == "gone"
    assert settled.freed_kib * 2 >= settled.held_kib > 0
    assert not flights.busy
    children.end()
    assert open_fds() <= before


@pytest.mark.live
def test_it_settles_without_its_memory_when_the_grace_is_over(children: OwnChildren) -> None:
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    victim = gone(children, flights)
    # The grace begins when the end is seen, not at the kill.
    assert flights.sweep(5000 * MS, BEFORE) == ()
    assert flights.sweep((5000 + GRACE_MS) * MS - 1, nearly_half_back(victim)) == ()
    assert flights.busy
    (settled,) = flights.sweep((5000 + GRACE_MS) * MS, BEFORE)
    assert settled.end == "gone"
    assert settled.freed_kib == 0
    assert settled.held_kib == victim.task.size_pages * PAGE_KIB
    assert not flights.busy


@pytest.mark.live
def test_a_reaped_victim_waits_for_its_memory_too(children: OwnChildren) -> None:
    stuck = children.start_stuck_dying()
    victim = killed(stuck.pid)
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(victim, 0, BEFORE)
    flights.reaped(victim.task.ident)
    assert flights.sweep(1, BEFORE) == ()
    assert ended(flights)
    assert [s.end for s in flights.sweep(2, half_back(victim))] == ["reaped"]


@pytest.mark.live
def test_a_kill_with_one_who_is_passed_over_settles_at_once(children: OwnChildren) -> None:
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    victim = gone(children, flights)
    stuck = children.start_stuck_dying()
    flights.join(victim.task.ident, [killed(stuck.pid, "oom_group")])
    assert flights.sweep(TIMEOUT_MS * MS - 1, BEFORE) == ()
    assert not ended(flights)
    assert [s.end for s in flights.sweep(TIMEOUT_MS * MS, BEFORE)] == ["passed over"]
    assert not flights.busy


@pytest.mark.live
@pytest.mark.parametrize(("why", "holds"), [("oom_group", True), ("sharing_mm", False)])
def test_who_joins_resets_the_end(children: OwnChildren, why: str, holds: bool) -> None:
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    victim = gone(children, flights)
    assert flights.sweep(10 * MS, BEFORE) == ()
    assert ended(flights)
    stuck = children.start_stuck_dying(mib=8)
    late = killed(stuck.pid, why)
    flights.join(victim.task.ident, [late])
    assert not ended(flights)
    assert flights.victims == {late.task.ident}
    # The victim's own grace is over, but this one is dying.
    assert flights.sweep((20 + GRACE_MS) * MS, BEFORE) == ()
    children.let_die(stuck.pid)
    wait_exit(late.pidfd)
    # And has its own.
    end_ms = 30 + GRACE_MS
    assert flights.sweep(end_ms * MS, BEFORE) == ()
    assert ended(flights)
    assert flights.sweep((end_ms + GRACE_MS) * MS - 1, BEFORE) == ()
    (settled,) = flights.sweep((end_ms + GRACE_MS) * MS, BEFORE)
    assert settled.task == victim.task
    assert settled.end == "gone"
    held_pages = victim.task.size_pages + (late.task.size_pages if holds else 0)
    assert settled.held_kib == held_pages * PAGE_KIB


@pytest.mark.live
def test_who_joins_a_second_time_resets_nothing(children: OwnChildren) -> None:
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    victim = gone(children, flights)
    stuck = children.start_stuck_dying()
    late = killed(stuck.pid, "oom_group")
    again = killed(stuck.pid, "oom_group")
    flights.join(victim.task.ident, [late])
    children.let_die(stuck.pid)
    wait_exit(late.pidfd)
    assert flights.sweep(10 * MS, BEFORE) == ()
    fds = open_fds()
    flights.join(victim.task.ident, [again])
    assert open_fds() == fds - {str(again.pidfd)}
    assert ended(flights)
    assert [s.end for s in flights.sweep((10 + GRACE_MS) * MS, BEFORE)] == ["gone"]


@pytest.mark.live
def test_who_held_nothing_has_nothing_to_wait_for(children: OwnChildren) -> None:
    child = children.start_ready()
    victim = killed(child.pid)
    small = victim.task._replace(rss_pages=0, pgtables_pages=0, swapents_pages=0)
    flights = VictimsInFlight(ROOT, TIMEOUT_MS)
    flights.add(victim._replace(task=small), 0, BEFORE)
    wait_exit(victim.pidfd)
    assert [s.end for s in flights.sweep(1, BEFORE)] == ["gone"]
