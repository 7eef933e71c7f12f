"""``Candidates``: a streamed scan decides as a full one does, and holds few tasks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.mm.candidates import DYING_KEPT, Candidates
from oomd.mm.constraint import case_of
from oomd.mm.out_of_memory import out_of_memory
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import PF_EXITING, Snapshot, Sysctls, Task
from oomd.oom import Constraint, Decision, Kill, OomControl, Wait
from tests.mm.machine import BOTH, current_of, machine, memcg_of, task
from tests.mm.strategies import Question, policies, questions, sysctls


def stream(question: Question, policy: Policy, kept: int) -> Snapshot:
    """The snapshot with only those tasks that a streamed scan would have held."""
    memory = question.snapshot._replace(tasks=())
    candidates = Candidates(case_of(question.oc, memory, policy), kept)
    for one in question.snapshot.tasks:
        candidates.add(one)
    assert candidates.seen == len(question.snapshot.tasks)
    return question.snapshot._replace(tasks=candidates.tasks())


def both_ways(
    question: Question, settings: Sysctls, policy: Policy, kept: int
) -> tuple[Decision, Decision]:
    streamed = stream(question, policy, kept)
    full = out_of_memory(question.oc, question.snapshot, settings, policy)
    return out_of_memory(question.oc, streamed, settings, policy), full


@given(questions(), sysctls, policies, st.integers(0, 6))
def test_streamed_scan_decides_as_a_full_one(
    question: Question, settings: Sysctls, policy: Policy, kept: int
) -> None:
    streamed, full = both_ways(question, settings, policy, kept)
    assert streamed == full


@given(questions(dying=False), sysctls, policies)
def test_streamed_scan_decides_as_a_full_one_when_nobody_is_dying(
    question: Question, settings: Sysctls, policy: Policy
) -> None:
    streamed, full = both_ways(question, settings, policy, 2)
    assert streamed == full


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize("constraint", [Constraint.NONE, Constraint.MEMCG])
def test_more_equals_than_are_kept(policy: Policy, constraint: Constraint) -> None:
    equals = [task(pid, 500, starttime_ticks=pid // 3) for pid in range(100, 200)]
    best = task(50, 501)
    for population in (equals, [*equals[::-1], best]):
        oc = OomControl(constraint=constraint)
        question = Question(oc, machine(population, memcg=memcg_of(population), tasks_seen=1))
        streamed, full = both_ways(question, Sysctls(), policy, 16)
        assert streamed == full
        assert isinstance(full, Kill)


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize("constraint", [Constraint.NONE, Constraint.MEMCG])
def test_more_dying_than_are_kept(policy: Policy, constraint: Constraint) -> None:
    many = [task(pid, 5_000, sigkill_pending=True) for pid in range(100, 100 + 5 * DYING_KEPT)]
    oc = OomControl(constraint=constraint)
    for population in (many, many[::-1]):
        question = Question(oc, machine(population, memcg=memcg_of(population), tasks_seen=1))
        streamed, full = both_ways(question, Sysctls(), policy, 16)
        assert streamed == full
        assert isinstance(full, Wait)


def test_root_discount_reorders_the_kept() -> None:
    """On el7 the discounted giant is not the worst; a bound by size alone would have lost 300."""
    roots = [task(pid, 1_000, cap_sys_admin=True) for pid in range(200, 240)]
    population = [task(300, 980), *roots]
    for policy, pid in ((EL7, 300), (MAINLINE, 239)):
        question = Question(OomControl(), machine(population, tasks_seen=1))
        streamed, full = both_ways(question, Sysctls(), policy, 2)
        assert streamed == full
        assert isinstance(full, Kill)
        assert full.chosen.pid == pid


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_holds_a_bounded_number_however_many_there_are(policy: Policy) -> None:
    small = task(5, 1)
    oc = OomControl(current=current_of(small), origins=frozenset({task(7).ident}))
    candidates = Candidates(case_of(oc, machine(()), policy), 16)

    def population() -> list[Task]:
        hogs = [task(pid, pid, starttime_ticks=9_000 - pid) for pid in range(10, 3_000)]
        exiting = [one._replace(pid=one.pid + 3_000, flags=PF_EXITING) for one in hogs]
        return [small, task(7, 1), *hogs, *exiting]

    for one in population():
        candidates.add(one)
    held = candidates.tasks()
    assert candidates.seen == len(population())
    assert len(held) <= 16 + 2 * DYING_KEPT + 2
    assert {5, 7} <= {one.pid for one in held}
    assert list(held) == sorted(held, key=lambda one: one.starttime_ticks)
