"""What holds for every machine and every question."""

import copy
from random import Random
from typing import assert_never

from hypothesis import given
from hypothesis import strategies as st

from oomd.mm.constraint import case_of
from oomd.mm.oom_badness import oom_badness
from oomd.mm.oom_kill_process import plan_kill
from oomd.mm.out_of_memory import STEP_NAMES, out_of_memory
from oomd.mm.policy import Policy
from oomd.mm.select_bad_process import select_bad_process
from oomd.mm_types import OOM_SCORE_ADJ_MIN, Sysctls, Task, TaskId
from oomd.oom import (
    Constraint,
    Decision,
    Freed,
    Kill,
    LetItExit,
    NoneKillable,
    NotifierChain,
    OomControl,
    Panic,
    Relatives,
    Value,
    Wait,
)
from tests.mm.machine import machine
from tests.mm.strategies import Question, chains, policies, populations, questions, sysctls, tasks


def ask(question: Question, settings: Sysctls, policy: Policy, freed: NotifierChain) -> Decision:
    return out_of_memory(question.oc, question.snapshot, settings, policy, freed=freed)


def assert_may_die(task: Task, oc: OomControl) -> None:
    assert task.pid != 1
    assert not task.kthread
    assert task.has_mm
    assert not task.exit_state
    assert not task.refused or task.ident in oc.origins
    assert task.oom_score_adj != OOM_SCORE_ADJ_MIN or task.ident in oc.origins
    assert task.ident not in oc.spared | oc.passed_over


@given(questions(), sysctls, policies, chains)
def test_only_the_killable_are_chosen(
    question: Question, settings: Sysctls, policy: Policy, freed: NotifierChain
) -> None:
    decision = ask(question, settings, policy, freed)
    if isinstance(decision, Kill):
        assert decision.chosen in question.snapshot.tasks
        assert_may_die(decision.chosen, question.oc)
        memcg = question.snapshot.memcg
        assert memcg is None or decision.chosen.pid in memcg.pids


@given(questions(), policies, st.data())
def test_only_the_killable_are_sacrificed(
    question: Question, policy: Policy, data: st.DataObject
) -> None:
    decision = ask(question, Sysctls(), policy, NotifierChain())
    if not isinstance(decision, Kill):
        return
    others = [task for task in question.snapshot.tasks if task != decision.chosen]
    children = tuple(data.draw(st.lists(st.sampled_from(others), unique=True)) if others else ())
    case = case_of(question.oc, question.snapshot, policy)
    plan = plan_kill(decision, Relatives(children), case)
    assert plan.victim == decision.chosen or plan.victim in children
    assert_may_die(plan.victim, question.oc)
    assert plan.trace.step == len(STEP_NAMES)
    assert plan.trace.name == STEP_NAMES[-1]


@given(questions(), sysctls, policies, chains, st.randoms())
def test_same_snapshot_same_decision_in_whatever_order(
    question: Question,
    settings: Sysctls,
    policy: Policy,
    freed: NotifierChain,
    random: Random,
) -> None:
    shuffled = list(question.snapshot.tasks)
    random.shuffle(shuffled)
    again = question._replace(snapshot=question.snapshot._replace(tasks=tuple(shuffled)))
    assert ask(again, settings, policy, freed) == ask(question, settings, policy, freed)


def assert_plain(value: Value) -> None:
    assert value is None or isinstance(value, (bool, int, float, str))


@given(questions(), sysctls, policies, chains)
def test_trace_is_the_seven_steps_and_tells_the_ending(
    question: Question, settings: Sysctls, policy: Policy, freed: NotifierChain
) -> None:
    decision = ask(question, settings, policy, freed)
    assert [step.step for step in decision.trace] == [1, 2, 3, 4, 5, 6, 7]
    assert tuple(step.name for step in decision.trace) == STEP_NAMES
    for step in decision.trace:
        assert step.verdict
        for value in step.detail.values():
            assert_plain(value)
    reached = [step.step for step in decision.trace if not step.verdict.startswith("not reached")]
    assert reached == list(range(1, len(reached) + 1))
    match decision:
        case Freed():
            assert len(reached) == 1
        case LetItExit():
            assert len(reached) == 2
        case Panic():
            assert len(reached) == decision.step
        case Kill():
            assert len(reached) in (4, 5)
        case Wait():
            assert len(reached) == 5
        case NoneKillable():
            assert len(reached) in (1, 6)
        case _:
            assert_never(decision)


@given(questions(), sysctls, policies, chains)
def test_nothing_that_was_asked_is_changed(
    question: Question, settings: Sysctls, policy: Policy, freed: NotifierChain
) -> None:
    before = copy.deepcopy((question, settings, policy, freed))
    ask(question, settings, policy, freed)
    assert (question, settings, policy, freed) == before


@given(questions(constraints=[Constraint.MEMCG]), sysctls, policies)
def test_memory_cgroup_never_panics_for_want_of_a_victim(
    question: Question, settings: Sysctls, policy: Policy
) -> None:
    decision = ask(question, settings, policy, NotifierChain())
    if isinstance(decision, Panic):
        assert (decision.step, settings.panic_on_oom) == (3, 2)


@given(questions(), sysctls, policies)
def test_manual_oom_waits_for_nobody(question: Question, settings: Sysctls, policy: Policy) -> None:
    manual = question._replace(oc=question.oc._replace(manual=True))
    assert not isinstance(ask(manual, settings, policy, NotifierChain()), (Wait, LetItExit))


@given(tasks(), st.integers(0, 10**6), st.integers(1, 10**7), policies)
def test_badness_grows_with_rss(task: Task, more: int, totalpages: int, policy: Policy) -> None:
    grown = task._replace(rss_pages=task.rss_pages + more)
    assert oom_badness(grown, totalpages, policy) >= oom_badness(task, totalpages, policy)


@given(tasks(), st.integers(-1000, 999), st.integers(1, 10**7), policies)
def test_badness_grows_with_oom_score_adj(
    task: Task, adj: int, totalpages: int, policy: Policy
) -> None:
    lower, higher = task._replace(oom_score_adj=adj), task._replace(oom_score_adj=adj + 1)
    assert oom_badness(higher, totalpages, policy) >= oom_badness(lower, totalpages, policy)


@given(questions(dying=False), st.integers(0, 10**6), policies)
def test_growing_the_chosen_one_keeps_it_chosen(
    question: Question, more: int, policy: Policy
) -> None:
    case = case_of(question.oc, question.snapshot, policy)
    before = select_bad_process(question.snapshot.tasks, case)
    if before.chosen is None:
        return
    grown = before.chosen._replace(rss_pages=before.chosen.rss_pages + more)
    others = [task for task in question.snapshot.tasks if task != before.chosen]
    assert select_bad_process([*others, grown], case).chosen == grown


@given(populations(dying=False), policies)
def test_nobody_has_more_points_than_the_chosen_one(
    population: tuple[Task, ...], policy: Policy
) -> None:
    case = case_of(OomControl(), machine(population), policy)
    found = select_bad_process(population, case)
    scores = {
        task.ident: oom_badness(task, case.totalpages, policy)
        for task in population
        if select_bad_process([task], case).chosen
    }
    if found.chosen is None:
        assert not scores
        return
    assert found.points == max(scores.values())
    best: list[TaskId] = [ident for ident, points in scores.items() if points == found.points]
    by_age = sorted(best, key=lambda ident: ident[::-1])
    assert found.chosen.ident == by_age[-1 if policy.last_of_equals else 0]
    rest = [points for ident, points in scores.items() if ident != found.chosen.ident]
    assert found.runner_up_points == max(rest, default=0)
