"""``task_will_free_mem()``: dying already, and about to give its memory back."""

from typing import Any

import pytest

from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm.task_will_free_mem import current_will_free_mem, task_will_free_mem
from oomd.oom import LetItExit, OomControl
from tests.mm.machine import BOTH, current_of, judge, task

PROCESS = task(300, 1_000)
HOG = task(200, 300_000)


@pytest.mark.parametrize(
    ("thread", "process", "el7", "mainline"),
    [
        ({}, {}, "", ""),
        # el7 asks for the thread alone, mainline for the process.
        ({"sigkill_pending": True}, {}, "SIGKILL is pending", ""),
        ({"exiting": True}, {}, "it is exiting", ""),
        ({}, {"sigkill_pending": True}, "", "SIGKILL is pending"),
        ({}, {"flags": 4}, "", "it is exiting"),
        ({"exiting": True}, {"flags": 4, "num_threads": 2}, "it is exiting", ""),
        ({"exiting": True}, {"flags": 4, "has_mm": False}, "it is exiting", ""),
    ],
)
def test_current(thread: dict[str, Any], process: dict[str, Any], el7: str, mainline: str) -> None:
    current = current_of(PROCESS, **thread)
    seen = PROCESS._replace(**process)
    assert current_will_free_mem(current, seen, EL7) == el7
    assert current_will_free_mem(current, seen, MAINLINE) == mainline


@pytest.mark.parametrize(
    ("process", "el7", "mainline"),
    [
        ({}, "", ""),
        ({"flags": 4}, "it is exiting", "it is exiting"),
        ({"flags": 4, "num_threads": 3}, "it is exiting", ""),
        ({"sigkill_pending": True}, "", "SIGKILL is pending"),
        ({"sigkill_pending": True, "flags": 4}, "it is exiting", "it is exiting"),
        ({"sigkill_pending": True, "has_mm": False}, "", ""),
    ],
)
def test_chosen(process: dict[str, Any], el7: str, mainline: str) -> None:
    assert task_will_free_mem(PROCESS._replace(**process), EL7) == el7
    assert task_will_free_mem(PROCESS._replace(**process), MAINLINE) == mainline


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_current_is_named_as_the_snapshot_has_it(policy: Policy) -> None:
    dying = PROCESS._replace(sigkill_pending=True, comm="going")
    oc = OomControl(current=current_of(dying, sigkill_pending=True))
    decision = judge(policy, HOG, dying, oc=oc)
    assert isinstance(decision, LetItExit)
    assert (decision.task, decision.comm) == (dying.ident, "going")
    assert decision.trace[1].detail == {"pid": 300, "tid": 300, "seen": "PF_MEMALLOC, 5 ms ago"}


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    "now",
    [{"starttime_ticks": 999}, {"state": "Z", "has_mm": False}],
    ids=["its pid is another's", "zombie"],
)
def test_current_that_has_gone_is_not_waited_for(policy: Policy, now: dict[str, Any]) -> None:
    oc = OomControl(current=current_of(PROCESS, sigkill_pending=True, exiting=True))
    decision = judge(policy, HOG, PROCESS._replace(**now), oc=oc)
    assert decision.trace[1].verdict == "current has gone"
    assert not isinstance(decision, LetItExit)


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_current_whose_time_is_up_is_passed_over(policy: Policy) -> None:
    stuck = PROCESS._replace(sigkill_pending=True)
    oc = OomControl(
        current=current_of(stuck, sigkill_pending=True), passed_over=frozenset({stuck.ident})
    )
    decision = judge(policy, HOG, stuck, oc=oc)
    assert "passed over" in decision.trace[1].verdict
    assert not isinstance(decision, LetItExit)
