"""Who dies with the victim: on real pairs with one mm, and on trees. Nobody is signalled here."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from oomd.effects.companions import group_members, sharers_anywhere, sharers_at_hand
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import MemCgroup, Task
from oomd.oom import Companion, OomControl
from oomd.proc.root import Root
from oomd.proc.task import read_task
from tests.effects.children import OwnChildren, allocate_mib, task_of
from tests.mm.machine import BOTH, case
from tests.roots import Cgroup, Row, make_root


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
    found = sharers_at_hand(Root(), victim, [victim, twin, sharer], case(policy))
    assert found == (Companion(sharer, "sharing_mm"),)


@pytest.mark.live
def test_nobody_of_the_victim_s_size_nobody_is_asked(children: OwnChildren) -> None:
    class Unasked(Root):
        def same_mm(self, pid_a: int, pid_b: int) -> bool | None:
            raise AssertionError("kcmp was asked")

    victim = task_of(children.start_ready().pid)
    other = task_of(children.start_ready(allocate_mib(4)).pid)
    other = other._replace(total_vm_pages=victim.total_vm_pages + 1)
    assert sharers_at_hand(Unasked(), victim, [victim, other], case(MAINLINE)) == ()


@pytest.mark.live
@pytest.mark.parametrize("policy", BOTH)
def test_a_sharer_that_the_decision_did_not_hold_is_found(
    pair: tuple[Task, Task], policy: Policy
) -> None:
    victim, sharer = pair
    found = sharers_anywhere(Root(), victim, case(policy))
    assert [(one.task.ident, one.why) for one in found] == [(sharer.ident, "sharing_mm")]


@pytest.mark.live
@pytest.mark.parametrize("policy", BOTH)
def test_sharers_that_no_policy_kills(pair: tuple[Task, Task], policy: Policy) -> None:
    victim, sharer = pair
    exempt = sharer._replace(oom_score_adj=-1000)
    spared = case(policy, OomControl(spared=frozenset({sharer.ident})))
    assert sharers_at_hand(Root(), victim, [exempt], case(policy)) == ()
    assert sharers_at_hand(Root(), victim, [sharer], spared) == ()
    assert sharers_anywhere(Root(), victim, spared) == ()


@pytest.mark.live
@pytest.mark.parametrize("policy", BOTH)
def test_who_cannot_be_confirmed_is_left_to_the_next_decision(
    pair: tuple[Task, Task], policy: Policy
) -> None:
    victim, sharer = pair
    root = NoKcmpRoot()
    assert sharers_at_hand(root, victim, [victim, sharer], case(policy)) == ()
    assert sharers_anywhere(root, victim, case(policy)) == ()


@pytest.mark.live
@pytest.mark.parametrize("policy", BOTH)
@pytest.mark.parametrize("root", [Root(), NoKcmpRoot()])
def test_a_preforked_twin_is_no_sharer(children: OwnChildren, policy: Policy, root: Root) -> None:
    victim, twin = (task_of(pid) for pid in children.start_preforked())
    # All that could be seen without kcmp says that they have one mm.
    twin_seen = twin._replace(
        total_vm_pages=victim.total_vm_pages,
        rss_pages=victim.rss_pages,
        pgtables_pages=victim.pgtables_pages,
        swapents_pages=victim.swapents_pages,
    )
    assert sharers_at_hand(root, victim, [victim, twin_seen], case(policy)) == ()
    assert sharers_anywhere(root, victim, case(policy)) == ()


# --- recorded ones

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


@pytest.mark.parametrize("answer", [None, False])
def test_equal_sizes_prove_nothing(tmp_path: Path, answer: bool | None) -> None:
    root = make_root(tmp_path, [VICTIM, {**VICTIM, "pid": 6}], same_mm=[(5, 6, answer)])
    victim, twin = task_in(root, 5), task_in(root, 6)
    assert sharers_at_hand(root, victim, [victim, twin], case(MAINLINE)) == ()
    assert sharers_anywhere(root, victim, case(MAINLINE)) == ()


def test_a_victim_that_has_let_its_mm_go_takes_only_the_confirmed_along(tmp_path: Path) -> None:
    before = make_root(tmp_path / "before", [VICTIM])
    rows: list[Row] = [{"pid": 5, "state": "Z"}, {**VICTIM, "pid": 6}, {**VICTIM, "pid": 7}]
    after = make_root(tmp_path / "after", rows, same_mm=[(5, 6, True), (5, 7, False)])
    victim = task_in(before, 5)
    others = [task_in(after, pid) for pid in (6, 7)]
    assert pids(sharers_at_hand(after, victim, others, case(MAINLINE))) == [6]
    assert pids(sharers_anywhere(after, victim, case(MAINLINE))) == [6]


@pytest.mark.parametrize(("policy", "killed"), [(EL7, []), (MAINLINE, [6])])
def test_el7_spares_who_shares_through_a_thread(
    tmp_path: Path, policy: Policy, killed: list[int]
) -> None:
    other: Row = {**VICTIM, "pid": 6, "mm_tid": 7}
    root = make_root(tmp_path, [VICTIM, other], same_mm=[(5, 7, True)])
    victim, task = task_in(root, 5), task_in(root, 6)
    assert pids(sharers_at_hand(root, victim, [task], case(policy))) == killed
    assert pids(sharers_anywhere(root, victim, case(policy))) == killed


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


@pytest.mark.parametrize(("policy", "group"), [(MAINLINE, [6, 9]), (EL7, [])])
def test_the_group_but_for_who_is_never_killed(
    tmp_path: Path, policy: Policy, group: list[int]
) -> None:
    root = group_root(tmp_path)
    members = group_members(root, task_in(root, 5), case(policy))
    assert sorted(pids(members)) == group
    assert {one.why for one in members} <= {"oom_group"}
    # Whoever is in the group and of the same mm, too, is the killer's to name once.
    assert pids(sharers_anywhere(root, task_in(root, 5), case(policy))) == [7, 9]


@pytest.mark.parametrize(("domain", "group"), [("/box", [6, 9]), ("/box/app/below", [])])
def test_in_a_memcg_its_own_groups_count(tmp_path: Path, domain: str, group: list[int]) -> None:
    root = group_root(tmp_path)
    question = case(MAINLINE)
    question.memcg = MemCgroup(domain, 2, 0, None)
    assert sorted(pids(group_members(root, task_in(root, 5), question))) == group


def test_a_pid_that_is_another_process_s_by_now_has_no_group_of_the_victim_s(
    tmp_path: Path,
) -> None:
    root = group_root(tmp_path)
    now = task_in(root, 5)
    victim = now._replace(starttime_ticks=now.starttime_ticks - 1)
    assert group_members(root, victim, case(MAINLINE)) == ()
    assert group_members(root, now, case(MAINLINE)) != ()


def test_a_victim_that_has_gone_has_nobody_left(tmp_path: Path) -> None:
    root = make_root(tmp_path, [{"pid": 6}], cgroups=GROUP, cgroup_version=2)
    gone = Task(5, 500, total_vm_pages=9000, rss_pages=6000)
    assert group_members(root, gone, case(MAINLINE)) == ()
    assert sharers_anywhere(root, gone, case(MAINLINE)) == ()
