"""One kill from the plan to the last companion, of nobody but this test's own children."""

from collections.abc import Callable
from pathlib import Path

import pytest

from oomd.effects import killer
from oomd.effects.oom_kill_process import Missed, Victim, open_victim
from oomd.effects.oom_reaper import OomReaper
from oomd.effects.victims import GRACE_MS
from oomd.mm.oom_badness import Case
from oomd.mm.oom_kill_process import plan_kill
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import Task, TaskId
from oomd.oom import Companion, Kill, KillPlan, Relatives
from oomd.proc.root import Refused, WritableRoot
from oomd.proc.task import read_task
from oomd.report.record import Record
from tests.effects.bench import BACK, BEFORE, MS, Bench
from tests.effects.children import LyingRoot, OwnChildren, task_of, wait_exit
from tests.mm.machine import BOTH
from tests.roots import Row, make_root

pytestmark = pytest.mark.live


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


def killed_pids(end: Missed | Record) -> list[tuple[int, str]]:
    assert isinstance(end, dict)
    return [(victim["pid"], victim["why"]) for victim in end["victims"]]


def sharing_lines(bench: Bench) -> list[str]:
    return [line for line in bench.lines if "sharing same memory" in line]


def with_the_sizes_of(one: Task, other: Task) -> Task:
    """All that could be seen without kcmp says that they have one mm."""
    return other._replace(
        total_vm_pages=one.total_vm_pages,
        rss_pages=one.rss_pages,
        pgtables_pages=one.pgtables_pages,
        swapents_pages=one.swapents_pages,
    )


@pytest.mark.parametrize("policy", BOTH)
def test_a_sharer_dies_with_the_victim(children: OwnChildren, policy: Policy) -> None:
    pid, sharer = children.start_sharing_mm()
    # A victim that has let its mm go already says nothing of who shares it.
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


def test_who_cannot_be_confirmed_is_left_to_the_next_decision(children: OwnChildren) -> None:
    pid, sharer = children.start_sharing_mm()
    victim, other = task_of(pid), task_of(sharer)
    children.hold_at_exit(pid)
    bench = Bench(NoKcmpRoot(), EL7, (pid, sharer))
    assert killed_pids(bench.kill(victim, other)) == [(pid, "chosen")]
    assert bench.flights.victims == {victim.ident}
    children.let_die(pid)
    (pidfd,) = bench.flights.pidfds()
    wait_exit(pidfd)
    # Nothing came back, and nobody dies of that.
    assert bench.flights.sweep(MS, BEFORE) == ()
    assert [one.end for one in bench.flights.sweep((1 + GRACE_MS) * MS, BEFORE)] == ["gone"]
    assert sharing_lines(bench) == []
    assert not task_of(sharer).sigkill_pending
    assert killed_pids(bench.kill(other)) == [(sharer, "chosen")]


@pytest.mark.parametrize("root", [LyingRoot(), NoKcmpRoot()])
@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("policy", BOTH)
def test_a_preforked_twin_lives(
    children: OwnChildren, policy: Policy, held: bool, root: LyingRoot
) -> None:
    victim, twin = (task_of(pid) for pid in children.start_preforked())
    # Asked while it still has its mm, or when it may have none to tell of.
    if held:
        children.hold_at_exit(victim.pid)
    bench = Bench(root, policy, (victim.pid, twin.pid))
    assert killed_pids(bench.kill(victim, with_the_sizes_of(victim, twin))) == [
        (victim.pid, "chosen")
    ]
    assert sharing_lines(bench) == []
    assert bench.flights.victims == {victim.ident}
    assert not task_of(twin.pid).sigkill_pending


def test_two_of_the_same_size_the_other_lives(children: OwnChildren) -> None:
    victim, other = (task_of(children.start_ready().pid) for _ in range(2))
    children.hold_at_exit(victim.pid)
    bench = Bench(LyingRoot(), MAINLINE, (victim.pid, other.pid))
    end = bench.kill(victim, with_the_sizes_of(victim, other))
    assert killed_pids(end) == [(victim.pid, "chosen")]
    assert not task_of(other.pid).sigkill_pending


def test_each_is_killed_and_named_once(
    children: OwnChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sharer at hand that is in the group, and is found anywhere else, too."""
    victim, sharer, member = (task_of(children.start_ready().pid) for _ in range(3))
    found = {
        "sharers_at_hand": [Companion(sharer, "sharing_mm")],
        "group_members": [Companion(one, "oom_group") for one in (sharer, member)],
        "sharers_anywhere": [Companion(one, "sharing_mm") for one in (sharer, member)],
    }
    for name, companions in found.items():
        monkeypatch.setattr(killer, name, lambda *_, ends=tuple(companions): ends)
    bench = Bench(LyingRoot(), MAINLINE, [one.pid for one in (victim, sharer, member)])
    assert killed_pids(bench.kill(victim)) == [
        (victim.pid, "chosen"),
        (sharer.pid, "sharing_mm"),
        (member.pid, "oom_group"),
    ]


class FreezerRoot(LyingRoot):
    """The live machine, with a cgroup v1 freezer."""

    def exists(self, rel: str) -> bool:
        return rel == "sys/fs/cgroup/freezer" or super().exists(rel)


def test_the_most_urgent_first_and_the_words_last(
    children: OwnChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []

    def step(name: str, result: object) -> Callable[..., object]:
        def done(*_: object) -> object:
            steps.append(name)
            return result

        return done

    for name in ("sharers_at_hand", "group_members", "sharers_anywhere"):
        monkeypatch.setattr(killer, name, step(name, ()))
    monkeypatch.setattr(killer, "thaw", step("thaw", "thawed freezer cgroup /box"))
    task = task_of(children.start_stuck_dying().pid)
    reaper = WatchedReaper()
    monkeypatch.setattr(reaper, "submit", step("reaper", True))
    bench = Bench(FreezerRoot(), MAINLINE, (task.pid,), reaper, steps)
    end = bench.kill(task)
    assert isinstance(end, dict)
    assert steps == [
        "sharers_at_hand",
        "group_members",
        "sharers_anywhere",
        "reaper",
        "thaw",
        "publish",
        "say",
    ]
    # The kernel says nothing of it: a line of ours.
    assert bench.said == ["thawed freezer cgroup /box"]
    assert end["lines"] == bench.lines


class CgroupRoot(LyingRoot):
    """The live machine, with cgroup v2 alone and everybody in one service."""

    def exists(self, rel: str) -> bool:
        return rel == "sys/fs/cgroup/cgroup.controllers" or super().exists(rel)

    def read_record(self, rel: str) -> bytes:
        if rel.endswith("/cgroup"):
            return b"0::/system.slice/\x1bdb.service/inner\n"
        return super().read_record(rel)

    def open(self, rel: str, flags: int) -> int:
        raise Refused(rel, "EACCES")


def test_whose_the_victim_was_is_told_and_why_its_unit_was_not(children: OwnChildren) -> None:
    tasks = [task_of(children.start_ready().pid) for _ in range(2)]
    bench = Bench(CgroupRoot(), MAINLINE, [one.pid for one in tasks])
    for task in tasks:
        end = bench.kill(task)
        assert isinstance(end, dict)
        victim = end["victims"][0]
        assert victim["cgroup"] == "/system.slice/\\x1bdb.service/inner"
        assert victim["unit"] == "\\x1bdb.service"
    # Once.
    (said,) = bench.said
    assert said.startswith("systemd cannot be told whose process was killed: sys/fs/cgroup/system.")
    assert said.isprintable()


def test_units_are_left_alone_if_that_is_wanted(children: OwnChildren) -> None:
    task = task_of(children.start_ready().pid)
    bench = Bench(CgroupRoot(), MAINLINE, (task.pid,))
    kill = bench.killer.settings.kill._replace(mark_units=False)
    bench.killer.settings = bench.killer.settings._replace(kill=kill)
    end = bench.kill(task)
    assert isinstance(end, dict)
    assert end["victims"][0]["unit"] == "\\x1bdb.service"
    assert bench.said == []


# --- the child that dies for its parent

PARENT_ROW: Row = {"pid": 5, "rss_pages": 9000, "total_vm_pages": 9000, "children": [8, 7, 6, 9]}
CHILD_ROWS: list[Row] = [
    {"pid": 6, "ppid": 5, "rss_pages": 50, "total_vm_pages": 99, "starttime_ticks": 800},
    # As large as the first, and older.
    {"pid": 7, "ppid": 5, "rss_pages": 50, "total_vm_pages": 99, "starttime_ticks": 700},
    {"pid": 8, "ppid": 5, "rss_pages": 20, "total_vm_pages": 99, "starttime_ticks": 600},
    # Presumed to have its parent's mm.
    {"pid": 9, "ppid": 5, "rss_pages": 9000, "total_vm_pages": 9000},
    # Not a child by the time that it is read.
    {"pid": 10, "ppid": 1, "rss_pages": 5000, "total_vm_pages": 9999},
]


@pytest.mark.parametrize("order", [[8, 7, 6, 9, 10], [10, 9, 6, 7, 8], [6, 10, 8, 9, 7]])
def test_of_the_children_only_the_best_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: list[int]
) -> None:
    rows: list[Row] = [{**PARENT_ROW, "children": order}, *CHILD_ROWS]
    root = make_root(tmp_path, rows, opener=WritableRoot)
    kept: list[Relatives] = []

    def plan(decision: Kill, relatives: Relatives, question: Case) -> KillPlan:
        kept.append(relatives)
        return plan_kill(decision, relatives, question)

    monkeypatch.setattr(killer, "plan_kill", plan)
    chosen = read_task(root, 5, 4096)
    assert isinstance(root, WritableRoot) and chosen is not None
    bench = Bench(root, EL7, ())
    found = bench.plan(chosen)
    assert (found.chosen.pid, found.victim.pid) == (5, 7)
    assert found.trace.detail["children"] == 4
    assert found.trace.detail["same_mm"] == "equal sizes"
    assert [[child.pid for child in one.children] for one in kept] == [[7]]


def test_one_with_the_mm_of_a_parent_that_grows_does_not_die_for_it(tmp_path: Path) -> None:
    twin: Row = {"pid": 9, "ppid": 5, "rss_pages": 9050, "total_vm_pages": 9000}
    grown: Row = {**PARENT_ROW, "children": [6, 9], "rss_pages": 9100}
    root = make_root(tmp_path, [grown, CHILD_ROWS[0], twin], opener=WritableRoot)
    now = read_task(root, 5, 4096)
    assert isinstance(root, WritableRoot) and now is not None
    chosen = now._replace(rss_pages=9000)
    assert Bench(root, EL7, ()).plan(chosen).victim.pid == 6
    # One that does not grow has none: this is a process of its own.
    assert Bench(root, EL7, ()).plan(now).victim.pid == 9


def test_mainline_reads_no_children(tmp_path: Path) -> None:
    root = make_root(tmp_path, [PARENT_ROW, *CHILD_ROWS], opener=WritableRoot)
    chosen = read_task(root, 5, 4096)
    assert isinstance(root, WritableRoot) and chosen is not None
    assert Bench(root, MAINLINE, ()).plan(chosen).victim == chosen


# --- who may be killed, and what becomes of it


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
