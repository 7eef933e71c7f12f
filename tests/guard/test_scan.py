"""``Scan``: who is read no further than its score could not have changed the decision."""

import sys
from collections.abc import Callable
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, event, given
from hypothesis import settings as patience
from hypothesis import strategies as st

from oomd.mm.constraint import case_of
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm.proc_oom_score import proc_oom_score
from oomd.mm_types import PF_EXITING, PF_KTHREAD, Snapshot, Sysctls, Task
from oomd.oom import Constraint, Kill, OomControl, Ruling, Wait
from oomd.proc.snapshot import CannotDecide
from oomd.scan import KTHREAD_SCANS, WHOLE_AFTER_VAIN, Scan, blur_pages, is_settled
from tests.guard.scanned import KEPT, POLICIES, Scanned
from tests.guard.scored import ScoredRoot, kernels_score
from tests.mm.machine import MEMINFO, TOTALPAGES, current_of, task
from tests.mm.strategies import Question, policies, questions, sysctls

# --- any machine at all

# A busy machine is no failure.
patient = patience(deadline=None, suppress_health_check=[HealthCheck.too_slow])

_steps = st.builds(
    lambda thousandths, pages: max(0, thousandths * TOTALPAGES // 1000 + pages),
    st.integers(0, 6),
    st.integers(-2, 2),
)
_near_a_step = st.one_of(_steps, st.integers(0, 5), st.integers(0, 20_000))


@st.composite
def machines(draw: st.DrawFn, dying: bool = True) -> Question:
    """Where sizes lie about the steps of the score, and few are much worse than the others."""
    question = draw(questions(dying, constraints=(Constraint.NONE,)))
    # One at least can be read, or nothing could be decided.
    tasks = [task(99, 1, total_vm_pages=1)]
    for one in question.snapshot.tasks:
        if draw(st.integers(0, 4)):
            one = one._replace(rss_pages=draw(_near_a_step), swapents_pages=0)  # noqa: PLW2901
        if draw(st.booleans()):
            one = one._replace(oom_score_adj=draw(st.sampled_from((0, 0, 1, -1, 2, 200))))  # noqa: PLW2901
        if one.has_mm:
            # A process without an address space has no lines about memory.
            one = one._replace(total_vm_pages=one.rss_pages + 1)  # noqa: PLW2901
        tasks.append(one)
    return Question(question.oc, question.snapshot._replace(tasks=tuple(tasks)))


@patient
@given(machines(), sysctls, policies)
def test_decides_as_a_full_scan(question: Question, settings: Sysctls, policy: Policy) -> None:
    scanned = Scanned(
        question.snapshot.tasks,
        question.oc,
        policy,
        settings=settings,
        meminfo=question.snapshot.meminfo,
    )
    scanned.scan._blur_pages = 0
    decision = scanned.agrees()
    assert scanned.scan.note == ""
    read = scanned.take().tasks_read
    event(f"{type(decision).__name__}, {'whole' if read is None else 'bounded'}")


@patient
@given(machines(dying=False), policies, st.data())
def test_decides_as_a_full_scan_where_the_kernel_counts_otherwise(
    question: Question, policy: Policy, data: st.DataObject
) -> None:
    """From 6.2 to 7.x: its killer's rss is not that of status, by so many pages at most."""
    blur = data.draw(st.sampled_from((1, 50, 5_000)))
    oc, snapshot = question
    total = case_of(oc, snapshot, policy).totalpages
    scores = {
        one.pid: kernels_score(one, total, data.draw(st.integers(-blur, blur)))
        for one in snapshot.tasks
    }
    scanned = Scanned(snapshot.tasks, oc, policy, meminfo=snapshot.meminfo, scores=scores)
    scanned.scan._blur_pages = blur
    scanned.agrees()
    assert scanned.scan.note == ""


# --- where there are no descriptors

HOG = task(900, 100_000, total_vm_pages=100_000)
SLEEPERS = tuple(task(pid, 50, total_vm_pages=900) for pid in range(10, 110))


@pytest.mark.parametrize("whole", [False, True], ids=["by score", "whole"])
def test_without_descriptors_nobody_is_judged_by_what_could_still_be_read(whole: bool) -> None:
    scanned = Scanned((*SLEEPERS[:3], HOG), OomControl(), EL7)
    take = scanned.take_whole if whole else scanned.take
    take()
    scanned.root.descriptors = needed = 1000
    everybody = take().tasks
    needed -= scanned.root.descriptors
    for descriptors in range(needed):
        scanned.root.descriptors = descriptors
        with pytest.raises(CannotDecide, match="ENFILE"):
            take()
    scanned.root.descriptors = needed
    assert HOG in everybody
    assert take().tasks == everybody


# --- how little is read


@POLICIES
def test_of_many_small_ones_nothing_but_the_score_is_read(policy: Policy) -> None:
    scanned = Scanned((*SLEEPERS, HOG), OomControl(), policy)
    snapshot = scanned.take()
    assert (snapshot.tasks_seen, snapshot.tasks_read) == (101, 1)
    assert scanned.root.reads == {"oom_score": 101, "oom_score_adj": 1, "stat": 1, "status": 1}
    decision = scanned.agrees()
    assert isinstance(decision, Kill)
    assert decision.chosen == HOG
    detail = decision.trace[4].detail
    assert detail["tasks_read_in_full"] == 1
    assert detail["others_points_at_most"] == TOTALPAGES // 1000 - 1 + blur_pages()


def test_a_score_tells_small_ones_with_an_adjustment_too() -> None:
    adjusted = tuple(one._replace(oom_score_adj=(200, -300, 5)[one.pid % 3]) for one in SLEEPERS)
    hog = HOG._replace(rss_pages=300_000)
    scanned = Scanned((*adjusted, hog), OomControl(), MAINLINE)
    snapshot = scanned.take()
    assert snapshot.tasks_read == 1
    assert scanned.root.reads["status"] == 1
    assert scanned.agrees() == scanned.decide(snapshot)


@POLICIES
def test_known_kernel_threads_are_not_read_again(policy: Policy) -> None:
    threads = tuple(task(pid, flags=PF_KTHREAD, has_mm=False) for pid in range(2, 10))
    scanned = Scanned((*threads, *SLEEPERS, HOG), OomControl(), policy)
    assert scanned.take().tasks_read == 9
    assert scanned.take().tasks_read == 1
    # But for some of them now and then: in time a pid is another's.
    assert sum(scanned.take().tasks_read or 0 for _ in range(KTHREAD_SCANS)) == KTHREAD_SCANS + 8
    scanned.agrees()


def test_whoever_was_asked_for_is_read_however_small() -> None:
    victim, current, origin = SLEEPERS[3], SLEEPERS[5], SLEEPERS[7]
    oc = OomControl(
        current=current_of(current),
        victims=frozenset({victim.ident}),
        origins=frozenset({origin.ident}),
    )
    scanned = Scanned((*SLEEPERS, HOG), oc, EL7)
    snapshot = scanned.take()
    assert {one.pid for one in snapshot.tasks} == {13, 15, 17, 900}
    decision = scanned.agrees()
    assert isinstance(decision, Wait)
    assert decision.task == victim.ident


class Endless(ScoredRoot):
    """Beside a hog, so many small processes that a record of each would be seen."""

    most = 0

    def sift_records(
        self, name: str, usual: bytes, unusual: Callable[[int, bytes], None]
    ) -> tuple[int, int]:
        before = sys.getallocatedblocks()
        for pid in range(1_000, 31_000):
            # One that has ended by the time that it is looked at.
            unusual(pid, b"%d\n" % (pid % 600 + 1))
            if pid % 1000 == 0:
                self.most = max(self.most, sys.getallocatedblocks() - before)
        unusual(HOG.pid, b"%d\n" % kernels_score(HOG, TOTALPAGES))
        return 60_001, 30_000


def test_nothing_is_kept_of_those_who_are_read_no_further() -> None:
    scanned = Scanned((HOG,), OomControl(), EL7)
    root = Endless((HOG,), TOTALPAGES)
    snapshot = Scan(root, bounded=True).take(scanned.case, MEMINFO, KEPT)
    assert (snapshot.tasks_seen, snapshot.tasks_read) == (60_001, 1)
    assert root.most < 100


# --- when a score does not settle it


@POLICIES
def test_equals_are_told_apart_by_reading_all(policy: Policy) -> None:
    scanned = Scanned(SLEEPERS, OomControl(), policy)
    decision = scanned.agrees()
    assert isinstance(decision, Kill)
    assert decision.chosen.pid == (10 if policy is EL7 else 109)
    assert scanned.take().tasks_read is None


def test_a_bound_that_settles_nothing_is_not_tried_at_every_decision() -> None:
    scanned = Scanned(SLEEPERS, OomControl(), EL7)
    tried = []
    for _ in range(2 * WHOLE_AFTER_VAIN):
        scanned.take()
        tried.append("oom_score" in scanned.root.reads)
    assert tried == ([True] + [False] * (WHOLE_AFTER_VAIN - 1)) * 2
    # Unless that is forgotten, as after the rehearsal: a storm has a worst one.
    scanned.take()
    scanned.scan.forget()
    scanned.take()
    assert "oom_score" in scanned.root.reads


@POLICIES
def test_nobody_is_killable_only_after_all_were_read(policy: Policy) -> None:
    scanned = Scanned((task(1, 5), *SLEEPERS[:3]), OomControl(), policy)
    oc = OomControl(passed_over=frozenset(one.ident for one in SLEEPERS))
    scanned.oc = oc
    scanned.case = case_of(oc, Snapshot((), MEMINFO), policy)
    assert scanned.take().tasks_read is None
    scanned.agrees()


def test_the_next_best_is_looked_for_when_the_worst_is_passed_over_afterwards() -> None:
    scanned = Scanned((*SLEEPERS, HOG), OomControl(), MAINLINE)
    snapshot = scanned.take()
    scanned.oc = OomControl(vforking=frozenset({HOG.ident}))
    assert not is_settled(scanned.decide(snapshot), snapshot, scanned.oc)
    snapshot = scanned.take_whole()
    assert is_settled(scanned.decide(snapshot), snapshot, scanned.oc)


# --- when it cannot be believed


@pytest.mark.parametrize(
    "formula",
    [
        # Before 5.9, as RHEL 7 has it.
        lambda size, adj: max(0, size + adj * 1000) * 1000 // TOTALPAGES,
        # Another total, as in a container whose meminfo is made up.
        lambda size, adj: proc_oom_score(size + adj * 20_000, 20 * TOTALPAGES),
    ],
)
@POLICIES
def test_scores_that_disagree_with_the_figures_are_not_used(
    policy: Policy, formula: object
) -> None:
    tasks = (*SLEEPERS, HOG, task(800, 200_000, total_vm_pages=1))
    scores = {one.pid: formula(one.size_pages, one.oom_score_adj) for one in tasks}  # type: ignore[operator]
    scanned = Scanned(tasks, OomControl(), policy, scores=scores)
    decision = scanned.agrees()
    assert isinstance(decision, Kill)
    assert decision.chosen.pid == 800
    assert not scanned.scan.bounded
    assert scanned.scan.note.startswith("/proc/")
    scanned.take()
    assert "oom_score" not in scanned.root.reads


def test_a_cgroup_is_not_judged_by_scores() -> None:
    oc = OomControl(constraint=Constraint.CPUSET, nodemask=1)
    scanned = Scanned((*SLEEPERS, HOG), oc, EL7)
    scanned.case = case_of(oc, Snapshot((), MEMINFO), EL7)
    in_cgroup = case_of(OomControl(constraint=Constraint.MEMCG), Snapshot((), MEMINFO), EL7)
    assert scanned.scan.take(in_cgroup, MEMINFO, KEPT).tasks_read is None


class Preferring(NamedTuple):
    """A rule that makes one process worse, whose score does not tell."""

    pid: int
    highest_adj: int
    raised_pids: tuple[int, ...] = ()

    def ruling(self, task: Task) -> Ruling | None:
        return Ruling("prefer", self.highest_adj or 300) if task.pid == self.pid else None


@pytest.mark.parametrize(("adj", "pid", "bounded"), [(300, 20, False), (50, 900, True)])
@POLICIES
def test_a_rule_may_make_anybody_worse(policy: Policy, adj: int, pid: int, bounded: bool) -> None:
    scanned = Scanned((*SLEEPERS, HOG), OomControl(rules=Preferring(20, adj)), policy)
    decision = scanned.agrees()
    assert isinstance(decision, Kill)
    assert decision.chosen.pid == pid
    assert (scanned.scan.take(scanned.case, MEMINFO, KEPT).tasks_read is not None) is bounded


@POLICIES
def test_whom_a_rule_is_known_to_make_worse_is_read(policy: Policy) -> None:
    """A rule that asks for a cgroup widens no bound: who is in it was read ahead."""
    scanned = Scanned((*SLEEPERS, HOG), OomControl(rules=Preferring(20, 0, (20, 999_999))), policy)
    decision = scanned.agrees()
    assert isinstance(decision, Kill)
    assert decision.chosen.pid == 20
    assert scanned.scan.take(scanned.case, MEMINFO, KEPT).tasks_read == 2


def test_one_without_a_score_is_read() -> None:
    refused = task(40, 7_000, total_vm_pages=9, refused="oom_score: EACCES")
    scanned = Scanned((*SLEEPERS, HOG, refused._replace(pid=41, mm_tid=41)), OomControl(), EL7)
    assert scanned.take().tasks_read == 2
    scanned.agrees()


# --- who is dying


@pytest.mark.parametrize(
    ("dying", "waits"),
    [
        ({"sigkill_pending": True, "rss_pages": 3_000}, True),
        ({"sigkill_pending": True, "rss_pages": 30_000, "oom_score_adj": -900}, True),
        ({"sigkill_pending": True, "rss_pages": 30_000, "oom_score_adj": -1000}, True),
        ({"sigkill_pending": True, "rss_pages": 3_000, "oom_score_adj": 300}, True),
        ({"sigkill_pending": True, "has_mm": False}, True),
        ({"sigkill_pending": True, "rss_pages": 300}, False),
        ({"sigkill_pending": True, "rss_pages": 300, "oom_score_adj": 300}, False),
        ({"sigkill_pending": True, "rss_pages": 3_000, "mm_tid": 61, "num_threads": 2}, True),
    ],
)
@POLICIES
def test_the_dying_are_found(policy: Policy, dying: dict[str, object], waits: bool) -> None:
    one = task(60, total_vm_pages=90)._replace(**dying)  # type: ignore[arg-type]
    scanned = Scanned((*SLEEPERS[:20], HOG._replace(rss_pages=400_000), one), OomControl(), policy)
    decision = scanned.agrees()
    assert isinstance(decision, Wait if waits else Kill)
    assert scanned.take().tasks_read is not None


def test_the_exiting_are_found() -> None:
    one = task(60, 3_000, total_vm_pages=90, flags=PF_EXITING)
    for policy, expected in ((EL7, Wait), (MAINLINE, Kill)):
        scanned = Scanned((*SLEEPERS[:20], HOG, one), OomControl(), policy)
        assert isinstance(scanned.agrees(), expected)
