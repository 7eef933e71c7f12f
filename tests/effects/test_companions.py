"""Who dies with the victim: on real pairs with one mm, and on trees. Nobody is signalled here."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from oomd.effects.companions import Suspects, known_sharers, other_companions, still_holding
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import MemCgroup, Task, TaskId
from oomd.oom import Companion, OomControl
from oomd.proc.root import Root
from oomd.proc.task import read_task
from tests.effects.children import OwnChildren, allocate_mib, task_of
from tests.mm.machine import BOTH, case
from tests.roots import Cgroup, Row, make_root

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class NoKcmpRoot(Root):
    """The live machine of somebody who may not ask kcmp(2)."""

    def same_mm(self, pid_a: int, pid_b: int) -> bool | None:
        return None


def pids(companions: Iterable[Companion]) -> list[int]:
    return [one.task.pid for one in companions]


# --- a real CLONE_VM pair


@pytest.fixture
def pair(children: OwnChildren) -> tuple[Task, Task]:
    pid, sharer = children.start_sharing_mm()
    return task_of(pid), task_of(sharer)


@pytest.mark.live
@pytest.mark.parametrize("policy", BOTH)
def test_a_sharer_among_the_tasks_is_known_at_once(
    children: OwnChildren, pair: tuple[Task, Task], policy: Policy
) -> None:
    victim, sharer = pair
    other = task_of(children.start_ready(allocate_mib(4)).pid)
    # The same address space, as far as its size goes: kcmp tells them apart.
    twin = other._replace(total_vm_pages=victim.total_vm_pages)
    known, suspects = known_sharers(Root(), victim, [victim, twin, sharer], case(policy))
    assert known == (Companion(sharer, "sharing_mm"),)
    assert suspects == Suspects(victim, ())


@pytest.mark.live
def test_nobody_of_the_victim_s_size_nobody_is_asked(children: OwnChildren) -> None:
    class Unasked(Root):
        def same_mm(self, pid_a: int, pid_b: int) -> bool | None:
            raise AssertionError("kcmp was asked")

    victim = task_of(children.start_ready().pid)
    other = task_of(children.start_ready(allocate_mib(4)).pid)
    other = other._replace(total_vm_pages=victim.total_vm_pages + 1)
    nobody = (), Suspects(victim, ())
    assert known_sharers(Unasked(), victim, [victim, other], case(MAINLINE)) == nobody


@pytest.mark.live
@pytest.mark.parametrize("policy", BOTH)
def test_a_sharer_that_the_decision_did_not_hold_is_found(
    pair: tuple[Task, Task], policy: Policy
) -> None:
    victim, sharer = pair
    others, suspects = other_companions(Root(), victim, (), case(policy))
    assert sharer.ident in [one.task.ident for one in others if one.why == "sharing_mm"]
    assert victim.ident not in [one.task.ident for one in others]
    assert sharer.ident not in [task.ident for task in suspects.tasks]


@pytest.mark.live
def test_who_is_known_is_not_found_again(pair: tuple[Task, Task]) -> None:
    victim, sharer = pair
    known = (Companion(sharer, "sharing_mm"),)
    others, _ = other_companions(Root(), victim, known, case(MAINLINE))
    assert sharer.pid not in pids(others)


@pytest.mark.live
@pytest.mark.parametrize("policy", BOTH)
def test_sharers_that_no_policy_kills(pair: tuple[Task, Task], policy: Policy) -> None:
    victim, sharer = pair
    exempt = sharer._replace(oom_score_adj=-1000)
    spared = case(policy, OomControl(spared=frozenset({sharer.ident})))
    assert known_sharers(Root(), victim, [exempt], case(policy))[0] == ()
    assert known_sharers(Root(), victim, [sharer], spared)[0] == ()
    suspects = Suspects(victim, (sharer,))
    assert still_holding(NoKcmpRoot(), suspects, spared) == ()


# --- suspects


@pytest.mark.live
def test_who_could_not_be_asked_about_is_a_suspect_and_named_once(
    children: OwnChildren, pair: tuple[Task, Task]
) -> None:
    root = NoKcmpRoot()
    victim, sharer = pair
    other = task_of(children.start_ready(allocate_mib(64)).pid)
    other = other._replace(total_vm_pages=victim.total_vm_pages)
    # Of the same address space, but not of the same size: kcmp would have to say so.
    known, suspects = known_sharers(root, victim, [victim, sharer, other], case(MAINLINE))
    assert known == ()
    assert suspects == Suspects(victim, (sharer,))
    others, more = other_companions(root, victim, known, case(MAINLINE))
    assert sharer.pid not in [one.task.pid for one in others if one.why == "sharing_mm"]
    assert sharer.ident in [task.ident for task in more.tasks]
    # Found before and after the kill: named once.
    both = Suspects(victim, (sharer, *(task for task in more.tasks if task.pid == sharer.pid)))
    assert len(both.tasks) == 2
    assert still_holding(root, both, case(MAINLINE)) == (Companion(sharer, "sharing_mm"),)


@pytest.mark.live
def test_the_victim_itself_is_no_suspect(pair: tuple[Task, Task]) -> None:
    victim, _ = pair
    known, suspects = known_sharers(NoKcmpRoot(), victim, [victim], case(MAINLINE))
    _, more = other_companions(NoKcmpRoot(), victim, known, case(MAINLINE))
    assert victim.ident not in [task.ident for task in suspects.tasks + more.tasks]


VICTIM: Row = {
    "pid": 5,
    "rss_pages": 6000,
    "total_vm_pages": 9000,
    "pgtables_pages": 200,
    "swapents_pages": 200,
}


def task_in(root: Root, pid: int) -> Task:
    task = read_task(root, pid, 4096)
    assert task is not None
    return task


@pytest.mark.parametrize(
    ("row", "suspect"),
    [
        ({}, True),
        # One mm, read at two moments: a 64th of its 6400 pages is 100.
        ({"rss_pages": 6100}, True),
        ({"rss_pages": 5900}, True),
        ({"rss_pages": 6101}, False),
        ({"rss_pages": 5899}, False),
        ({"pgtables_pages": 301}, False),
        ({"swapents_pages": 301}, False),
        # Swapped out meanwhile: as much as before.
        ({"rss_pages": 5000, "swapents_pages": 1200}, True),
        ({"total_vm_pages": 9001}, False),
        ({"total_vm_pages": 8999}, False),
    ],
)
def test_a_suspect_has_the_victim_s_size(tmp_path: Path, row: Row, suspect: bool) -> None:
    other: Row = {**VICTIM, **row, "pid": 6}
    root = make_root(tmp_path, [VICTIM, other])
    victim, task = task_in(root, 5), task_in(root, 6)
    expected = Suspects(victim, (task,) if suspect else ())
    assert known_sharers(root, victim, [victim, task], case(MAINLINE)) == ((), expected)
    assert other_companions(root, victim, (), case(MAINLINE)) == ((), expected)


@pytest.mark.parametrize(
    ("now", "named"),
    [
        ({}, True),
        # It goes on working with what it shares.
        ({"rss_pages": 7000, "total_vm_pages": 9500}, True),
        ({"rss_pages": 5900, "swapents_pages": 300}, True),
        ({"rss_pages": 5999}, False),
        ({"pgtables_pages": 199}, False),
        ({"swapents_pages": 199}, False),
        ({"state": "Z"}, False),
        ({"has_mm": False}, False),
        # Another process by now.
        ({"starttime_ticks": 601}, False),
        ({"oom_score_adj": -1000}, False),
        (None, False),
    ],
)
def test_a_suspect_is_named_while_it_holds_as_much(
    tmp_path: Path, now: Row | None, named: bool
) -> None:
    other: Row = {**VICTIM, "pid": 6}
    before = make_root(tmp_path / "before", [VICTIM, other])
    suspects = Suspects(task_in(before, 5), (task_in(before, 6),))
    later: list[Row] = [{**other, **now}] if now is not None else []
    after = make_root(tmp_path / "after", later)
    expected = [6] if named else []
    assert pids(still_holding(after, suspects, case(MAINLINE))) == expected


@pytest.mark.parametrize(("policy", "killed"), [(EL7, []), (MAINLINE, [6])])
def test_el7_spares_who_shares_through_a_thread(
    tmp_path: Path, policy: Policy, killed: list[int]
) -> None:
    other: Row = {**VICTIM, "pid": 6, "mm_tid": 7}
    root = make_root(tmp_path, [VICTIM, other], same_mm=[(5, 7, True)])
    victim, task = task_in(root, 5), task_in(root, 6)
    assert pids(known_sharers(root, victim, [task], case(policy))[0]) == killed
    assert pids(other_companions(root, victim, (), case(policy))[0]) == killed
    assert pids(still_holding(root, Suspects(victim, (task,)), case(policy))) == killed


# --- the oom.group

GROUP: list[Cgroup] = [
    {"path": "/box", "pids": []},
    {"path": "/box/app", "pids": [5, 6, 8, 9], "oom_group": True},
]


def group_root(path: Path) -> Root:
    rows: list[Row] = [
        VICTIM,
        {"pid": 6, "rss_pages": 10},
        {**VICTIM, "pid": 7},
        {"pid": 8, "rss_pages": 10, "oom_score_adj": -1000},
        # In the group, and of the same mm.
        {**VICTIM, "pid": 9},
        {"pid": 10, "rss_pages": 10},
    ]
    kcmp = [(5, 7, True), (5, 9, True)]
    cgroup = {"proc/5/cgroup": "0::/box/app\n"}
    return make_root(path, rows, cgroups=GROUP, cgroup_version=2, same_mm=kcmp, files=cgroup)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (MAINLINE, {6: "oom_group", 7: "sharing_mm", 9: "oom_group"}),
        (EL7, {7: "sharing_mm", 9: "sharing_mm"}),
    ],
)
def test_the_group_and_the_sharers_each_once(
    tmp_path: Path, policy: Policy, why: dict[int, str]
) -> None:
    root = group_root(tmp_path)
    others, suspects = other_companions(root, task_in(root, 5), (), case(policy))
    assert {one.task.pid: one.why for one in others} == why
    assert len(others) == len(why)
    assert suspects.tasks == ()


def test_a_known_sharer_in_the_group_is_not_named_again(tmp_path: Path) -> None:
    root = group_root(tmp_path)
    victim = task_in(root, 5)
    tasks = [task_in(root, pid) for pid in (5, 6, 7, 8, 9, 10)]
    known, _ = known_sharers(root, victim, tasks, case(MAINLINE))
    assert pids(known) == [7, 9]
    assert pids(other_companions(root, victim, known, case(MAINLINE))[0]) == [6]


@pytest.mark.parametrize(("domain", "group"), [("/box", [6]), ("/box/app/below", [])])
def test_in_a_memcg_its_own_groups_count(tmp_path: Path, domain: str, group: list[int]) -> None:
    root = group_root(tmp_path)
    question = case(MAINLINE)
    question.memcg = MemCgroup(domain, 2, 0, None)
    known = [Companion(task_in(root, pid), "sharing_mm") for pid in (7, 9)]
    assert pids(other_companions(root, task_in(root, 5), known, question)[0]) == group


def test_a_victim_that_has_gone_has_no_group_left(tmp_path: Path) -> None:
    root = make_root(tmp_path, [{"pid": 6}], cgroups=GROUP, cgroup_version=2)
    gone = Task(5, 500, total_vm_pages=9000, rss_pages=6000)
    assert gone.ident == TaskId(5, 500)
    assert other_companions(root, gone, (), case(MAINLINE)) == ((), Suspects(gone, ()))
