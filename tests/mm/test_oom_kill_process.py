"""``oom_kill_process()``: who dies for the chosen one, and who with it."""

from itertools import permutations
from typing import Any

import pytest

from oomd.mm.oom_badness import Case
from oomd.mm.oom_kill_process import (
    oom_group_to_kill,
    pick_child,
    plan_kill,
    sharers_to_kill,
)
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import PF_EXITING, PF_KTHREAD, Task
from oomd.oom import Constraint, Kill, KillPlan, OomControl, Relatives
from tests.mm.machine import BOTH, case, judge, memcg_of, task

PARENT = task(100, 1_000, comm="parent")
CHILD = task(201, 10, ppid=100)
BIGGER = task(202, 30, ppid=100)
TWIN = task(203, 30, ppid=100)


def plan(
    policy: Policy, *children: Task, asked: Case | None = None, chosen: Task = PARENT, **more: Any
) -> KillPlan:
    kill = judge(policy, chosen, oc=OomControl(manual=True))
    assert isinstance(kill, Kill)
    return plan_kill(kill, Relatives(tuple(children), **more), asked or case(policy))


# --- child sacrifice


@pytest.mark.parametrize(
    ("children", "victim", "points"),
    [
        ((), 100, 1_000),
        # Any child that may be killed, however small, dies for its parent.
        ((CHILD,), 201, 10),
        ((CHILD._replace(rss_pages=0),), 201, 1),
        ((CHILD, BIGGER), 202, 30),
        ((TWIN, CHILD, BIGGER), 202, 30),
        ((BIGGER._replace(starttime_ticks=999), TWIN), 203, 30),
        ((CHILD, BIGGER._replace(oom_score_adj=-1000)), 201, 10),
        ((CHILD, BIGGER._replace(has_mm=False)), 201, 10),
        ((CHILD, BIGGER._replace(state="Z")), 201, 10),
        ((CHILD, BIGGER._replace(flags=PF_KTHREAD)), 201, 10),
        ((CHILD, BIGGER._replace(refused="status: EACCES")), 201, 10),
        ((CHILD._replace(oom_score_adj=-1000),), 100, 1_000),
        # Bigger than its parent, and adjusted.
        ((CHILD, BIGGER._replace(oom_score_adj=500)), 202, 500_030),
    ],
)
def test_el7_sacrifices_the_worst_child(
    children: tuple[Task, ...], victim: int, points: int
) -> None:
    found = plan(EL7, *children)
    assert (found.victim.pid, found.victim_points, found.already_dying) == (victim, points, False)
    assert found.chosen == PARENT
    assert found.trace.step == 7
    assert found.trace.detail["chosen_pid"] == 100
    assert found.trace.detail["victim_pid"] == victim
    assert found.trace.detail["children"] == len(children)


@pytest.mark.parametrize(("children", "seen"), [((BIGGER,), 30_000), ((), 7), ((), 0)])
def test_el7_tells_of_all_children_where_only_the_best_was_kept(
    children: tuple[Task, ...], seen: int
) -> None:
    found = plan(EL7, *children, seen=seen, how="equal sizes")
    assert found.victim == (children[0] if children else PARENT)
    assert found.trace.detail["children"] == seen


@pytest.mark.parametrize("order", list(permutations((CHILD, BIGGER, TWIN))))
def test_el7_picks_the_same_child_one_by_one(order: tuple[Task, ...]) -> None:
    best: tuple[Task, ...] = ()
    for child in order:
        picked = pick_child((*best, child), case(EL7))
        best = () if picked is None else (picked,)
    assert best == (BIGGER,)
    assert pick_child(order, case(EL7)) == BIGGER


def test_el7_nobody_is_picked_of_those_that_may_not_be_killed() -> None:
    assert pick_child((CHILD._replace(oom_score_adj=-1000),), case(EL7)) is None
    assert pick_child((), case(EL7)) is None


def test_el7_child_with_the_same_mm_is_no_sacrifice() -> None:
    found = plan(EL7, CHILD, BIGGER, same_mm=frozenset({BIGGER.ident}), how="equal sizes")
    assert found.victim == CHILD
    assert found.trace.detail["same_mm"] == "equal sizes"
    alone = plan(EL7, BIGGER, same_mm=frozenset({BIGGER.ident}))
    assert alone.victim == PARENT


def test_el7_children_are_met_in_fork_order_in_a_memory_cgroup_too() -> None:
    oc = OomControl(constraint=Constraint.MEMCG)
    asked = case(EL7, oc, memcg=memcg_of((PARENT, BIGGER, TWIN)))
    assert plan(EL7, TWIN, BIGGER, asked=asked).victim == BIGGER


def test_el7_child_outside_the_memory_cgroup_lives() -> None:
    oc = OomControl(constraint=Constraint.MEMCG)
    asked = case(EL7, oc, memcg=memcg_of((PARENT, CHILD)))
    assert plan(EL7, CHILD, BIGGER, asked=asked).victim == CHILD


@pytest.mark.parametrize(
    "oc",
    [
        OomControl(spared=frozenset({BIGGER.ident})),
        OomControl(passed_over=frozenset({BIGGER.ident})),
    ],
)
def test_el7_child_that_must_not_be_chosen(oc: OomControl) -> None:
    assert plan(EL7, CHILD, BIGGER, asked=case(EL7, oc)).victim == CHILD


def test_el7_sacrifices_for_the_allocating_task_too() -> None:
    kill = judge(EL7, PARENT)
    assert isinstance(kill, Kill)
    unscored = kill._replace(points=0)
    assert plan_kill(unscored, Relatives((CHILD,)), case(EL7)).victim == CHILD
    assert plan_kill(unscored, Relatives(), case(EL7)).victim_points == 0


def test_mainline_sacrifices_nobody() -> None:
    found = plan(MAINLINE, CHILD, BIGGER)
    assert (found.victim, found.victim_points, found.already_dying) == (PARENT, 1_000, False)
    assert found.trace.verdict == "SIGKILL to the chosen process"


# --- dying already


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_chosen_one_that_is_exiting_is_marked_and_nobody_dies(policy: Policy) -> None:
    exiting = PARENT._replace(flags=PF_EXITING)
    found = plan(policy, CHILD, chosen=exiting)
    assert found.already_dying
    assert found.victim == exiting
    assert found.trace.verdict == "marked, nobody is killed: it is exiting"


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_chosen_one_with_a_pending_sigkill(policy: Policy) -> None:
    """el7 looks at PF_EXITING alone."""
    pending = PARENT._replace(sigkill_pending=True)
    found = plan(policy, CHILD, chosen=pending)
    assert found.already_dying is (policy is MAINLINE)
    assert found.victim == (pending if policy is MAINLINE else CHILD)


# --- who shares its memory


ORDINARY = task(301, 1_000)
PROTECTED = task(302, 1_000, oom_score_adj=-1000)
HEADLESS = task(303, 1_000, mm_tid=999)
KTHREAD = task(304, flags=PF_KTHREAD)
INIT = task(1, 1_000)
SHARERS = (INIT, PARENT, ORDINARY, PROTECTED, HEADLESS, KTHREAD)


@pytest.mark.parametrize(("policy", "pids"), [(EL7, [301]), (MAINLINE, [301, 303])])
def test_sharers(policy: Policy, pids: list[int]) -> None:
    companions = sharers_to_kill(PARENT, SHARERS, case(policy))
    assert [one.task.pid for one in companions] == pids
    assert {one.why for one in companions} == {"sharing_mm"}


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_the_guard_never_dies_with_a_sharer(policy: Policy) -> None:
    oc = OomControl(spared=frozenset({ORDINARY.ident}))
    assert sharers_to_kill(PARENT, (ORDINARY,), case(policy, oc)) == ()


# --- memory.oom.group


def test_oom_group_dies_whole_on_mainline() -> None:
    companions = oom_group_to_kill(PARENT, SHARERS, case(MAINLINE))
    assert [one.task.pid for one in companions] == [301, 303]
    assert {one.why for one in companions} == {"oom_group"}


def test_oom_group_spares_the_guard() -> None:
    oc = OomControl(spared=frozenset({ORDINARY.ident}))
    assert oom_group_to_kill(PARENT, (ORDINARY,), case(MAINLINE, oc)) == ()


def test_el7_knows_no_oom_group() -> None:
    assert oom_group_to_kill(PARENT, SHARERS, case(EL7)) == ()
