"""Children of every thread, and who shares the victim's mm."""

import shutil
from pathlib import Path

import pytest

from oomd.mm_types import Task
from oomd.proc.relatives import (
    candidates_for_sharing,
    confirm_sharers,
    find_sharers,
    grew_between,
    iter_children,
    presumed_same_mm,
    twin_lives,
)
from oomd.proc.root import Root
from oomd.proc.task import read_task
from tests.proc.formats import Row
from tests.roots import make_root

FAMILY: list[Row] = [
    {"pid": 5, "threads": [{"tid": 6, "children": [40, 8]}, {"tid": 7}]},
    {"pid": 8, "ppid": 5, "starttime_ticks": 900},
    {"pid": 20, "ppid": 5, "starttime_ticks": 700},
    {"pid": 30, "ppid": 5, "starttime_ticks": 600},
    {"pid": 40, "ppid": 5, "starttime_ticks": 800},
    {"pid": 50, "ppid": 20},
]


def task_of(root: Root, pid: int) -> Task:
    task = read_task(root, pid, 4096)
    assert task is not None
    return task


def children_of(root: Root, pid: int) -> list[int]:
    return [child.pid for child in iter_children(root, task_of(root, pid), 4096)]


def test_children_of_every_thread_in_the_kernel_s_order(tmp_path: Path) -> None:
    root = make_root(tmp_path, FAMILY)
    assert children_of(root, 5) == [30, 20, 40, 8]
    assert children_of(root, 50) == []


def test_children_by_parent_where_the_kernel_has_no_list(tmp_path: Path) -> None:
    root = make_root(tmp_path, FAMILY, children_files=False)
    assert children_of(root, 5) == [30, 20, 40, 8]
    assert children_of(root, 50) == []


def test_children_that_vanished_are_left_out(tmp_path: Path) -> None:
    root = make_root(tmp_path, [{"pid": 5, "children": [20, 30]}, {"pid": 30}])
    assert children_of(root, 5) == [30]


@pytest.mark.parametrize("children_files", [True, False])
def test_children_come_one_at_a_time(tmp_path: Path, children_files: bool) -> None:
    root = make_root(tmp_path, FAMILY, children_files=children_files)
    children = iter_children(root, task_of(root, 5), 4096)
    assert next(children).pid == 30
    # Read when it is asked for, and not before: this one is gone by then.
    shutil.rmtree(tmp_path / "proc/20")
    assert [child.pid for child in children] == [40, 8]


def test_a_parent_that_vanished_has_none(tmp_path: Path) -> None:
    assert list(iter_children(make_root(tmp_path / "iter"), Task(5, 500), 4096)) == []
    assert tuple(iter_children(make_root(tmp_path), Task(5, 500), 4096)) == ()


# --- same mm

VICTIM: Row = {"pid": 5, "rss_pages": 90, "total_vm_pages": 300, "pgtables_pages": 3}
ROWS: list[Row] = [
    VICTIM,
    {**VICTIM, "pid": 6},
    {**VICTIM, "pid": 7, "rss_pages": 91},
    {**VICTIM, "pid": 8, "total_vm_pages": 301},
    {**VICTIM, "pid": 9, "mm_tid": 10},
    {"pid": 11, "flags": 0x00200000},
    {"pid": 12, "state": "Z"},
]


def test_presumed_by_all_four_sizes(tmp_path: Path) -> None:
    root = make_root(tmp_path, ROWS)
    others = [task_of(root, row["pid"]) for row in ROWS[1:]]
    presumed = presumed_same_mm(task_of(root, 5), others)
    assert {ident.pid for ident in presumed} == {6, 9}


def test_one_mm_that_grows_is_known_by_a_look_before_and_one_after() -> None:
    before = Task(5, 500, total_vm_pages=300, rss_pages=90, pgtables_pages=3)
    after = before._replace(rss_pages=95, pgtables_pages=4)
    assert before.has_mm
    other = before._replace(pid=6)
    for rss_pages, grew in ((89, False), (90, True), (93, True), (95, True), (96, False)):
        assert grew_between(before, other._replace(rss_pages=rss_pages), after) is grew
    # One whose memory goes to swap.
    swapped = after._replace(rss_pages=80, swapents_pages=15)
    assert grew_between(
        after, other._replace(rss_pages=85, swapents_pages=10, pgtables_pages=4), swapped
    )
    # Another size of address space; another process; a steady size is that of presumed_same_mm().
    assert not grew_between(before, other._replace(total_vm_pages=301), after)
    assert not grew_between(before, other, after._replace(starttime_ticks=501))
    assert not grew_between(before, other._replace(rss_pages=91), before)
    assert grew_between(before, other, before)


def test_two_without_an_mm_share_nothing(tmp_path: Path) -> None:
    root = make_root(tmp_path, ROWS)
    zombie = task_of(root, 12)
    assert presumed_same_mm(zombie, [zombie]) == frozenset()


def test_candidates_by_address_space(tmp_path: Path) -> None:
    root = make_root(tmp_path, ROWS)
    tasks = [task_of(root, row["pid"]) for row in ROWS]
    candidates = candidates_for_sharing(tasks, task_of(root, 5))
    assert [task.pid for task in candidates] == [6, 7, 9]


def test_relatives_are_candidates_if_they_are_nearly_as_large() -> None:
    victim = Task(5, 500, ppid=4, total_vm_pages=800, has_mm=True)
    child = victim._replace(pid=6, ppid=5)
    found = [
        pages
        for pages in (699, 700, 900, 901)
        if candidates_for_sharing([child._replace(total_vm_pages=pages)], victim)
    ]
    assert found == [700, 900]
    parent = victim._replace(pid=4, ppid=1, total_vm_pages=900)
    stranger = victim._replace(pid=7, ppid=1, total_vm_pages=801)
    assert candidates_for_sharing([parent, stranger], victim) == (parent,)


def test_a_twin_is_of_about_the_same_size_in_memory_too(tmp_path: Path) -> None:
    victim = Task(5, 500, total_vm_pages=800, rss_pages=80)
    others: list[Row] = [
        {"pid": 5, "total_vm_pages": 800, "rss_pages": 80},
        {"pid": 6, "total_vm_pages": 800, "rss_pages": 91},
        {"pid": 7, "total_vm_pages": 901, "rss_pages": 80},
        {"pid": 8, "state": "Z"},
    ]
    assert not twin_lives(make_root(tmp_path / "strangers", others), victim)
    others.append({"pid": 9, "total_vm_pages": 720, "rss_pages": 90})
    assert twin_lives(make_root(tmp_path / "twin", others), victim)
    assert not twin_lives(Root(str(tmp_path / "nowhere")), victim)


def test_sharers_are_those_that_kcmp_confirms(tmp_path: Path) -> None:
    kcmp = [(5, 6, True), (5, 7, False), (5, 10, True), (5, 8, True)]
    root = make_root(tmp_path, ROWS, same_mm=kcmp)
    sharers = find_sharers(root, task_of(root, 5), 4096)
    assert [task.pid for task in sharers.confirmed] == [6, 9]
    assert sharers.unconfirmed == ()


def test_nothing_is_assumed_where_kcmp_may_not_be_asked(tmp_path: Path) -> None:
    root = make_root(tmp_path, ROWS, same_mm=[(5, 6, True)])
    sharers = find_sharers(root, task_of(root, 5), 4096)
    assert [task.pid for task in sharers.confirmed] == [6]
    assert [task.pid for task in sharers.unconfirmed] == [7, 9]


@pytest.mark.parametrize("now", [{"pid": 5, "state": "Z"}, None])
def test_not_equal_of_a_victim_without_an_mm_says_nothing(tmp_path: Path, now: Row | None) -> None:
    before = make_root(tmp_path / "before", ROWS)
    victim = task_of(before, 5)
    others = [task_of(before, 6), task_of(before, 7)]
    rows = ROWS[1:] if now is None else [now, *ROWS[1:]]
    after = make_root(tmp_path / "after", rows, same_mm=[(5, 6, True), (5, 7, False)])
    sharers = confirm_sharers(after, victim, others, 4096)
    assert [task.pid for task in sharers.confirmed] == [6]
    assert [task.pid for task in sharers.unconfirmed] == [7]


def test_a_victim_whose_leader_ends_first_is_asked_through_a_thread(tmp_path: Path) -> None:
    before = make_root(tmp_path / "before", ROWS)
    victim = task_of(before, 5)
    others = [task_of(before, 6), task_of(before, 7)]
    kcmp = [(5, 6, False), (5, 7, False), (13, 6, True), (13, 7, False)]
    rows: list[Row] = [{**VICTIM, "mm_tid": 13}, *ROWS[1:]]
    after = make_root(tmp_path / "after", rows, same_mm=kcmp)
    sharers = confirm_sharers(after, victim, others, 4096)
    assert [task.pid for task in sharers.confirmed] == [6]
    assert sharers.unconfirmed == ()


def test_a_reused_pid_is_not_the_victim(tmp_path: Path) -> None:
    root = make_root(tmp_path, ROWS, same_mm=[(5, 6, False)])
    victim = task_of(root, 5)._replace(starttime_ticks=1)
    assert [t.pid for t in confirm_sharers(root, victim, [task_of(root, 6)], 4096).unconfirmed] == [
        6
    ]
