"""One kill from the plan to the last companion, of nobody but this test's own children."""

from collections.abc import Iterable

import pytest

from oomd.effects.killer import Killer
from oomd.effects.oom_kill_process import Missed, Victim, open_victim
from oomd.effects.oom_reaper import OomReaper
from oomd.effects.victims import GRACE_MS, VictimsInFlight
from oomd.event import Event, Look
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import MemInfo, Snapshot, Sysctls, Task, TaskId
from oomd.oom import Constraint, Kill, KillPlan, Step
from oomd.report.record import Record
from oomd.settings import Settings
from tests.effects.children import LyingRoot, OwnChildren, task_of, wait_exit
from tests.mm.machine import BOTH, TOTALPAGES, case

pytestmark = pytest.mark.live

MS = 1_000_000
BEFORE = MemInfo(1 << 40, 0, 500)
BACK = BEFORE._replace(mem_available_kib=1 << 30)
LOOK = Look(0, BEFORE, None, (), "exhaustion", 0, limit_kib=1500, guard_kib=0)


class NoKcmpRoot(LyingRoot):
    """The live machine of somebody who may not ask kcmp(2)."""

    def same_mm(self, pid_a: int, pid_b: int) -> bool | None:
        return None


class WatchedReaper(OomReaper):
    """Says whose pidfds it was handed, and does nothing with them."""

    def __init__(self) -> None:
        super().__init__()
        self.handed: list[tuple[TaskId, int]] = []

    def submit(self, ident: TaskId, pidfd: int) -> bool:
        with open(f"/proc/self/fdinfo/{pidfd}", encoding="ascii") as info:
            (pid,) = (int(line[4:]) for line in info if line.startswith("Pid:"))
        self.handed.append((ident, pid))
        return True


class Bench:
    """A killer that may kill ``own`` and no other process."""

    def __init__(
        self,
        root: LyingRoot,
        policy: Policy,
        own: Iterable[int],
        reaper: OomReaper | None = None,
    ) -> None:
        self.flights = VictimsInFlight(root, 60_000)
        self.lines: list[str] = []
        self.policy = policy
        self.killer = Killer(
            root,
            Settings(),
            self.flights,
            self.lines.extend,
            reaper=reaper,
            restrict_to=frozenset(own),
        )

    def kill(self, chosen: Task, *others: Task) -> Missed | Record:
        """The decision fell on ``chosen``; ``others`` were in the same snapshot."""
        decision = Kill(chosen, 1, "Out of memory", Constraint.NONE, TOTALPAGES, ())
        snapshot = Snapshot((chosen, *others), BEFORE)
        event = Event("exhaustion", LOOK, snapshot, Sysctls(), case(self.policy), decision)
        # Step 7 has tests of its own; here the chosen one is the victim.
        plan = KillPlan(chosen, chosen, 1, False, Step(7, "oom_kill_process", "SIGKILL"))
        return self.killer.kill(event, decision, plan)


def killed_pids(end: Missed | Record) -> list[tuple[int, str]]:
    assert isinstance(end, dict)
    return [(victim["pid"], victim["why"]) for victim in end["victims"]]


def sharing_lines(bench: Bench) -> list[str]:
    return [line for line in bench.lines if "sharing same memory" in line]


@pytest.mark.parametrize("policy", BOTH)
def test_a_sharer_dies_with_the_victim(children: OwnChildren, policy: Policy) -> None:
    pid, sharer = children.start_sharing_mm()
    # A victim that has let its mm go already says nothing of who shares it: see the suspects.
    children.hold_at_exit(pid)
    bench = Bench(LyingRoot(), policy, (pid, sharer))
    end = bench.kill(task_of(pid), task_of(sharer))
    assert [one for one, _ in killed_pids(end)] == [pid, sharer]
    assert len(sharing_lines(bench)) == (policy is EL7)
    children.let_die(pid)
    for pidfd in bench.flights.pidfds():
        wait_exit(pidfd)
    (settled,) = bench.flights.sweep(1, BACK)
    assert settled.end == "gone"
    assert settled.task.pid == pid
    assert settled.shortfall_kib == 1000


def test_suspects_die_when_the_victim_has_gone_without_its_memory(children: OwnChildren) -> None:
    pid, sharer = children.start_sharing_mm()
    victim, other = task_of(pid), task_of(sharer)
    bench = Bench(NoKcmpRoot(), EL7, (pid, sharer))
    assert [one for one, _ in killed_pids(bench.kill(victim, other))] == [pid]
    # Not while the victim may still be dying.
    bench.killer.kill_suspects()
    assert bench.flights.victims == {victim.ident}
    (pidfd,) = bench.flights.pidfds()
    wait_exit(pidfd)
    assert bench.flights.sweep(MS, BEFORE) == ()
    assert bench.flights.not_back() == {victim.ident}
    bench.killer.kill_suspects()
    assert bench.flights.victims == {other.ident}
    assert sharing_lines(bench) == [f"Kill process {sharer} ({other.comm}) sharing same memory"]
    (pidfd,) = bench.flights.pidfds()
    wait_exit(pidfd)
    assert bench.flights.sweep(2 * MS, BEFORE) == ()
    # Once: whoever has the memory now, these two have not.
    bench.killer.kill_suspects()
    assert len(sharing_lines(bench)) == 1
    (settled,) = bench.flights.sweep((2 + GRACE_MS) * MS, BEFORE)
    assert settled.task == victim


def test_suspects_live_when_the_memory_is_back(children: OwnChildren) -> None:
    pid, sharer = children.start_sharing_mm()
    victim, other = task_of(pid), task_of(sharer)
    bench = Bench(NoKcmpRoot(), EL7, (pid, sharer))
    bench.kill(victim, other)
    (pidfd,) = bench.flights.pidfds()
    wait_exit(pidfd)
    assert len(bench.flights.sweep(1, BACK)) == 1
    bench.killer.kill_suspects()
    assert not bench.flights.busy
    assert sharing_lines(bench) == []
    assert task_of(sharer).ident == other.ident
    assert not task_of(sharer).sigkill_pending


def test_nobody_else_may_be_killed(children: OwnChildren) -> None:
    pid, sharer = children.start_sharing_mm()
    bench = Bench(LyingRoot(), MAINLINE, (pid,))
    assert [one for one, _ in killed_pids(bench.kill(task_of(pid), task_of(sharer)))] == [pid]
    assert not task_of(sharer).sigkill_pending
    end = bench.kill(task_of(sharer))
    assert isinstance(end, Missed)
    assert end.refused
    assert not task_of(sharer).sigkill_pending


def test_the_reaper_gets_a_pidfd_of_the_victim(children: OwnChildren) -> None:
    child = children.start_stuck_dying()
    task = task_of(child.pid)
    reaper = WatchedReaper()
    bench = Bench(LyingRoot(), MAINLINE, (child.pid,), reaper)
    assert isinstance(bench.kill(task), dict)
    assert reaper.handed == [(task.ident, child.pid)]


def test_so_it_does_of_one_that_was_waited_for_before(children: OwnChildren) -> None:
    """A manual trigger chooses somebody who is dying already."""
    child = children.start_stuck_dying()
    task = task_of(child.pid)
    reaper = WatchedReaper()
    root = LyingRoot()
    bench = Bench(root, MAINLINE, (child.pid,), reaper)
    victim = open_victim(root, task, "dying")
    assert isinstance(victim, Victim)
    held = bench.flights.add(victim, 0, BEFORE)
    assert isinstance(bench.kill(task), dict)
    assert reaper.handed == [(task.ident, child.pid)]
    assert bench.flights.pidfds() == [held]


def test_a_victim_that_went_is_missed_and_nothing_is_said(children: OwnChildren) -> None:
    child = children.start_ready()
    task = task_of(child.pid)
    child.kill()
    child.wait()
    bench = Bench(LyingRoot(), MAINLINE, (child.pid,))
    end = bench.kill(task)
    assert isinstance(end, Missed)
    assert not end.refused
    assert bench.lines == []
    assert not bench.flights.busy
