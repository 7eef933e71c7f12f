"""Rules on top of the kernel's: what they change, what they never may, and what the trace says."""

import pytest
from hypothesis import given

from oomd.mm.oom_badness import ineligible, oom_badness, points_of, ruling_of
from oomd.mm.oom_kill_process import oom_group_to_kill, pick_child, sharers_to_kill
from oomd.mm.out_of_memory import out_of_memory
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import OOM_SCORE_ADJ_MIN, PF_KTHREAD, Sysctls, Task
from oomd.oom import Decision, Kill, NoneKillable, OomControl, Panic, Ruling
from oomd.records.rulings import Ruled, Rulings
from oomd.rules.book import RuleBook
from oomd.rules.glob import Glob
from oomd.rules.rule import Rule
from tests.mm.machine import BOTH, case, current_of, judge, machine, task
from tests.mm.strategies import Question, policies, questions, sysctls

HOG, DB, SMALL = task(100, 50_000), task(101, 40_000, comm="db"), task(102, 300)
NEVER = Ruling("keep it", never=True)

both = pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)


def ruled(**by_pid: Ruling) -> OomControl:
    """Rulings by the pid of a process that ``task()`` made, as ``p100``."""
    pids = {int(name[1:]): ruling for name, ruling in by_pid.items()}
    return OomControl(rules=Rulings(Ruled(task(pid).ident, *one) for pid, one in pids.items()))


def step5(decision: Decision) -> dict[str, object]:
    return {**decision.trace[4].detail}


@both
def test_prefer_and_avoid_are_thousandths_of_totalpages(policy: Policy) -> None:
    oc = ruled(p101=Ruling("r", 11), p100=Ruling("s", -1000))
    assert points_of(DB, case(policy, oc)) == 40_000 + 11_000
    assert points_of(HOG, case(policy, oc)) == 50_000 - 1_000_000
    assert points_of(SMALL, case(policy, oc)) == 300
    decision = judge(policy, HOG, DB, oc=ruled(p101=Ruling("r", 11)))
    assert isinstance(decision, Kill)
    assert (decision.chosen.pid, decision.points) == (101, 51_000)


@both
def test_the_processes_own_oom_score_adj_still_counts(policy: Policy) -> None:
    hog = HOG._replace(oom_score_adj=20)
    decision = judge(policy, hog, DB, oc=ruled(p101=Ruling("r", 25)))
    assert isinstance(decision, Kill)
    assert (decision.chosen.pid, decision.points) == (100, 70_000)


def test_of_two_that_are_to_be_avoided_the_larger_goes_first() -> None:
    """el7 lifts low points to 1, so that its first would win; a rule goes below that."""
    older = DB._replace(pid=90, starttime_ticks=90)
    oc = ruled(p100=Ruling("r", -1000), p90=Ruling("r", -1000))
    decision = judge(EL7, older, HOG, oc=oc)
    assert isinstance(decision, Kill)
    assert (decision.chosen.pid, decision.points) == (100, 50_000 - 1_000_000)


@both
@pytest.mark.parametrize(
    ("ruling", "reason"),
    [
        (NEVER, "ruled out: keep it"),
        (Ruling("r", 1000, small=True), "smaller than kill.min_size_mib"),
        (Ruling("", unread=True), ""),
    ],
)
def test_who_is_not_eligible(policy: Policy, ruling: Ruling, reason: str) -> None:
    assert ineligible(HOG, case(policy, ruled(p100=ruling))) == reason


@both
def test_the_trace_names_the_rule_and_whom_the_kernel_would_have_chosen(policy: Policy) -> None:
    decision = judge(policy, HOG, DB, SMALL, oc=ruled(p100=NEVER, p101=Ruling("r", 7, unread=True)))
    assert isinstance(decision, Kill)
    assert decision.chosen.pid == 101
    assert (
        step5(decision).items()
        >= {
            "rule": "r",
            "rule_adj": 7,
            "cgroup": "not read ahead: rules that ask for one did not count",
            "without_rules_pid": 100,
            "without_rules_points": 50_000,
            "without_rules_rule": "keep it",
            "without_rules_rule_adj": "never",
        }.items()
    )
    same = judge(policy, HOG, DB, oc=ruled(p101=NEVER))
    told = {key: value for key, value in step5(same).items() if "rule" in key}
    assert told == {"without_rules_pid": 100, "without_rules_points": 50_000}
    assert not [key for key in step5(judge(policy, HOG, DB)) if "rule" in key]


@both
def test_when_the_rules_leave_nobody_the_trace_says_so(policy: Policy) -> None:
    decision = judge(policy, HOG, SMALL, oc=ruled(p100=NEVER, p102=Ruling("", small=True)))
    assert isinstance(decision, Panic)
    assert decision.step == 6
    assert decision.trace[4].verdict == "nobody is eligible: the rules leave nobody"
    assert step5(decision)["without_rules_pid"] == 100
    assert step5(decision)["without_rules_rule"] == "keep it"
    nobody = judge(policy, oc=ruled(p100=NEVER))
    assert nobody.trace[4].verdict == "nobody is eligible"


@both
def test_the_allocating_task_may_be_ruled_out(policy: Policy) -> None:
    kills_current = Sysctls(oom_kill_allocating_task=1)
    oc = ruled(p101=NEVER)._replace(current=current_of(DB))
    decision = judge(policy, HOG, DB, oc=oc, sysctls=kills_current)
    assert isinstance(decision, Kill)
    assert decision.chosen.pid == 100
    assert decision.trace[3].verdict == "current is not eligible: ruled out: keep it"


@both
def test_not_even_an_origin_dies_that_is_never_to_be_killed(policy: Policy) -> None:
    oc = ruled(p101=NEVER)._replace(origins=frozenset({DB.ident}))
    decision = judge(policy, HOG, DB, oc=oc)
    assert isinstance(decision, Kill)
    assert decision.chosen.pid == 100


def test_no_child_dies_that_is_ruled_out_or_to_be_avoided() -> None:
    children = [task(200, 900), task(201, 800), task(202, 700)]
    oc = ruled(p200=NEVER, p201=Ruling("r", -5))
    assert pick_child(children, case(EL7, oc)) == children[2]
    assert pick_child(children, case(EL7, ruled(p202=Ruling("r", 1)))) == children[2]


@both
def test_who_is_never_to_be_killed_is_not_killed_with_others_either(policy: Policy) -> None:
    others = [task(200, 900), task(201, 900), task(202, 900)]
    asked = case(policy, ruled(p200=NEVER, p201=Ruling("", small=True)))
    assert [one.task.pid for one in sharers_to_kill(HOG, others, asked)] == [201, 202]
    in_group = [one.task.pid for one in oom_group_to_kill(HOG, others, asked)]
    assert in_group == ([201, 202] if policy is MAINLINE else [])


# --- whatever the rules


def without_trace(decision: Decision) -> Decision:
    return decision._replace(trace=())


@given(questions(), sysctls, policies)
def test_a_book_of_nothing_changes_nothing(
    question: Question, settings: Sysctls, policy: Policy
) -> None:
    oc, snapshot = question
    alone = out_of_memory(oc._replace(rules=None), snapshot, settings, policy)
    empty = out_of_memory(oc._replace(rules=RuleBook([])), snapshot, settings, policy)
    assert without_trace(empty) == without_trace(alone)


EVERYBODY = RuleBook([Rule("all", 1000, comms=(Glob("*"),))])


@given(questions(), sysctls, policies)
def test_no_rule_makes_anybody_eligible(
    question: Question, settings: Sysctls, policy: Policy
) -> None:
    oc, snapshot = question
    asked = case(policy, oc._replace(rules=EVERYBODY))
    alone = case(policy, oc._replace(rules=None))
    for one in snapshot.tasks:
        assert ineligible(one, asked) == ineligible(one, alone)
    decision = out_of_memory(oc._replace(rules=EVERYBODY), snapshot, settings, policy)
    if isinstance(decision, Kill) and decision.chosen.ident not in oc.origins:
        chosen: Task = decision.chosen
        assert chosen.pid != 1
        assert not chosen.flags & PF_KTHREAD
        assert chosen.oom_score_adj != OOM_SCORE_ADJ_MIN
        assert chosen.ident not in oc.spared


@given(questions(), sysctls, policies)
def test_never_is_never(question: Question, settings: Sysctls, policy: Policy) -> None:
    oc, snapshot = question
    decision = out_of_memory(oc, snapshot, settings, policy)
    if isinstance(decision, Kill):
        ruling = ruling_of(decision.chosen, case(policy, oc))
        assert ruling is None or not ruling.never


@given(questions(dying=False), policies)
def test_the_same_for_all_changes_no_order(question: Question, policy: Policy) -> None:
    """Above the floor of el7, where all points are raised by as much."""
    snapshot = question.snapshot
    tasks = [one._replace(oom_score_adj=max(one.oom_score_adj, 0)) for one in snapshot.tasks]
    asked = machine(tasks)
    alone = out_of_memory(OomControl(), asked, Sysctls(), policy)
    raised = out_of_memory(OomControl(rules=EVERYBODY), asked, Sysctls(), policy)
    if isinstance(alone, Kill):
        assert isinstance(raised, Kill)
        assert raised.chosen == alone.chosen
        assert raised.points - alone.points == 1000 * (alone.totalpages // 1000)
        assert alone.points == oom_badness(alone.chosen, alone.totalpages, policy)
    else:
        assert isinstance(alone, Panic | NoneKillable)
        assert without_trace(raised) == without_trace(alone)
