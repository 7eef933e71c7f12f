"""``vm.oom_kill_allocating_task``: current dies for its own request, if it may."""

from typing import Any

import pytest

from oomd.mm.policy import Policy
from oomd.mm_types import PF_KTHREAD, Sysctls, Task
from oomd.oom import Constraint, Kill, OomControl
from tests.mm.machine import BOTH, NODES, current_of, judge, task

ON = Sysctls(oom_kill_allocating_task=1)
HOG = task(200, 300_000)
ALLOCATING = task(300, 1_000)


def ask(policy: Policy, current: Task, tasks: tuple[Task, ...], **oc: Any) -> Kill:
    control = OomControl(current=current_of(current), **oc)
    decision = judge(policy, *tasks, oc=control, sysctls=ON, nodes=NODES)
    assert isinstance(decision, Kill)
    return decision


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_current_dies_unscored(policy: Policy) -> None:
    decision = ask(policy, ALLOCATING, (HOG, ALLOCATING))
    assert decision.chosen == ALLOCATING
    assert decision.points == 0
    assert decision.trace[3].verdict == "kill current"
    assert decision.trace[4].verdict == "not reached"


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({}, "PF_MEMALLOC, 5 ms ago"),
        ({"assumed": True}, "assumed"),
        ({"took_pages": 700}, "not reclaiming; took most of late: 700 pages"),
    ],
)
def test_the_trace_says_how_current_is_known(
    policy: Policy, how: dict[str, Any], words: str
) -> None:
    control = OomControl(current=current_of(ALLOCATING, **how))
    decision = judge(policy, HOG, ALLOCATING, oc=control, sysctls=ON)
    assert isinstance(decision, Kill)
    assert decision.chosen == ALLOCATING
    assert decision.trace[1].detail["seen"] == words
    assert decision.trace[3].detail["seen"] == words


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    ("current", "why"),
    [
        (ALLOCATING._replace(oom_score_adj=-1000), "oom_score_adj -1000"),
        (ALLOCATING._replace(has_mm=False), "no mm"),
        (ALLOCATING._replace(flags=PF_KTHREAD), "kernel thread"),
        (task(1, 1_000), "global init"),
        (ALLOCATING._replace(refused="status: EACCES"), "not readable (status: EACCES)"),
    ],
)
def test_ineligible_current_lives_and_the_worst_dies(
    policy: Policy, current: Task, why: str
) -> None:
    decision = ask(policy, current, (HOG, current))
    assert decision.chosen == HOG
    assert decision.message == "Out of memory"
    assert decision.trace[3].verdict == f"current is not eligible: {why}"


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_the_guard_itself_lives(policy: Policy) -> None:
    decision = ask(policy, ALLOCATING, (HOG, ALLOCATING), spared=frozenset({ALLOCATING.ident}))
    assert decision.chosen == HOG
    assert decision.trace[3].verdict == "current is not eligible: oomd itself"


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_current_without_a_node_of_the_allocation_lives(policy: Policy) -> None:
    current = ALLOCATING._replace(mems_allowed=0b10)
    decision = ask(policy, current, (HOG, current), constraint=Constraint.CPUSET, nodemask=0b01)
    assert decision.chosen == HOG
    assert "no allowed node" in decision.trace[3].verdict


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    "now", [(), (ALLOCATING._replace(starttime_ticks=999),)], ids=["gone", "its pid is another's"]
)
def test_current_that_has_gone_is_not_killed(policy: Policy, now: tuple[Task, ...]) -> None:
    decision = ask(policy, ALLOCATING, (HOG, *now))
    assert decision.chosen == HOG
    assert decision.trace[1].verdict == decision.trace[3].verdict == "current has gone"
