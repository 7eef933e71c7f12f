"""``select_bad_process()``: the worst task, in which order it is met, and what stops the scan."""

from typing import Any

import pytest

from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm.select_bad_process import Selection, dying, scan_order, select_bad_process
from oomd.mm_types import PF_EXITING, PF_KTHREAD, Task
from oomd.oom import Constraint, OomControl
from tests.mm.machine import BOTH, case, judge, memcg_of, task, words

HOG = task(200, 1_000)
MOUSE = task(300, 10)
LATE = task(400, 10)
IN_BOX = OomControl(constraint=Constraint.MEMCG)
MANUAL = OomControl(manual=True)


def scan(policy: Policy, *tasks: Task, oc: OomControl = OomControl()) -> Selection:  # noqa: B008
    return select_bad_process(tasks, case(policy, oc, memcg=memcg_of(tasks)))


def chosen_pid(found: Selection) -> int | None:
    return found.chosen.pid if found.chosen else None


# --- order and ties


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_the_worst_wins_wherever_it_stands(policy: Policy) -> None:
    for order in ([HOG, MOUSE, LATE], [MOUSE, HOG, LATE], [MOUSE, LATE, HOG]):
        ages = [one._replace(starttime_ticks=age) for age, one in enumerate(order)]
        found = scan(policy, *ages)
        assert (chosen_pid(found), found.points, found.origin) == (200, 1_000, False)


TWINS = (task(30, 500, starttime_ticks=1), task(20, 500, starttime_ticks=2),
         task(10, 500, starttime_ticks=3))  # fmt: skip


@pytest.mark.parametrize(
    ("policy", "oc", "pid", "runner_up"),
    [
        (EL7, OomControl(), 30, 20),
        (MAINLINE, OomControl(), 10, 20),
        # el7 meets the newest of a memory cgroup first.
        (EL7, IN_BOX, 10, 20),
        (MAINLINE, IN_BOX, 10, 20),
    ],
)
def test_ties_go_by_fork_order_not_by_pid(
    policy: Policy, oc: OomControl, pid: int, runner_up: int
) -> None:
    found = scan(policy, *TWINS, oc=oc)
    assert found.runner_up is not None
    assert (chosen_pid(found), found.runner_up.pid) == (pid, runner_up)


@pytest.mark.parametrize(("policy", "pid"), [(EL7, 10), (MAINLINE, 30)])
def test_ties_of_one_clock_tick_go_by_pid(policy: Policy, pid: int) -> None:
    born_together = [one._replace(starttime_ticks=7) for one in TWINS]
    assert chosen_pid(scan(policy, *born_together)) == pid


@pytest.mark.parametrize(("policy", "pid"), [(EL7, 30), (MAINLINE, 10)])
def test_el7_ties_all_that_are_adjusted_below_nothing(policy: Policy, pid: int) -> None:
    """With the floor of 1 even very different sizes tie; without it the least negative wins."""
    low = [one._replace(oom_score_adj=-900, rss_pages=age * 100) for age, one in enumerate(TWINS)]
    assert chosen_pid(scan(policy, *low)) == pid


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_order_of_the_scan(policy: Policy) -> None:
    tasks = [LATE, HOG._replace(starttime_ticks=900), MOUSE]
    assert [one.pid for one in scan_order(tasks, case(policy))] == [300, 400, 200]
    in_box = scan_order(tasks, case(policy, IN_BOX, memcg=memcg_of(tasks)))
    newest_first = policy is EL7
    assert [one.pid for one in in_box] == ([200, 400, 300] if newest_first else [300, 400, 200])


def test_the_discount_reorders_tasks_on_el7_only() -> None:
    root = task(200, 1_000, cap_sys_admin=True)
    user = task(300, 980)
    assert chosen_pid(scan(EL7, root, user)) == 300
    assert chosen_pid(scan(MAINLINE, root, user)) == 200


# --- who stops it

# As large as to be worth waiting for.
DYING = MOUSE._replace(rss_pages=5_000, sigkill_pending=True)
EXITING = MOUSE._replace(rss_pages=5_000, flags=PF_EXITING)
VICTIM = OomControl(victims=frozenset({MOUSE.ident}))
STUCK = OomControl(victims=frozenset({MOUSE.ident}), passed_over=frozenset({MOUSE.ident}))


@pytest.mark.parametrize(
    ("process", "oc", "el7", "mainline"),
    [
        (MOUSE, OomControl(), "", ""),
        (MOUSE, VICTIM, *["an OOM victim that has not gone yet"] * 2),
        (MOUSE._replace(has_mm=False), VICTIM, *["an OOM victim that has not gone yet"] * 2),
        (DYING, OomControl(), "SIGKILL is pending", "SIGKILL is pending"),
        (EXITING, OomControl(), "it is exiting", ""),
        (EXITING._replace(tracer_pid=5), OomControl(), "", ""),
        (EXITING._replace(has_mm=False), OomControl(), "", ""),
        # exit_state: it has nothing left to give back.
        (MOUSE._replace(state="Z"), VICTIM, "", ""),
        (DYING._replace(state="Z", has_mm=False), OomControl(), "", ""),
        # unkillable: neither waited for nor chosen.
        (DYING._replace(flags=PF_KTHREAD), OomControl(), "", ""),
        (DYING._replace(pid=1), OomControl(), "", ""),
        # -1000 protects from being chosen, not from being waited for.
        (DYING._replace(oom_score_adj=-1000), OomControl(), *["SIGKILL is pending"] * 2),
        # Its memory is not in its own figures any more, and not yet freed.
        (DYING._replace(has_mm=False, rss_pages=0), OomControl(), *["SIGKILL is pending"] * 2),
        # Next to nothing to give back: by size, or on the kernel's scale.
        (DYING._replace(rss_pages=999), OomControl(), "", ""),
        (DYING._replace(rss_pages=1_000), OomControl(), *["SIGKILL is pending"] * 2),
        (DYING._replace(rss_pages=999, state="D"), OomControl(), "", ""),
        (DYING._replace(rss_pages=900, oom_score_adj=300), OomControl(), "", ""),
        (DYING._replace(rss_pages=3_000, oom_score_adj=300), OomControl(),
         *["SIGKILL is pending"] * 2),
        (DYING._replace(rss_pages=10_000, oom_score_adj=-10), OomControl(), "", ""),
        (DYING._replace(rss_pages=10_000, oom_score_adj=-20), OomControl(),
         *["SIGKILL is pending"] * 2),
        (EXITING._replace(rss_pages=999), OomControl(), "", ""),
        (MOUSE._replace(rss_pages=0), VICTIM, *["an OOM victim that has not gone yet"] * 2),
        (DYING, STUCK, "", ""),
        (DYING, MANUAL, "", ""),
        (EXITING, MANUAL, "", ""),
        (MOUSE, VICTIM._replace(manual=True), "", ""),
        (DYING, OomControl(spared=frozenset({MOUSE.ident})), "", ""),
    ],
)  # fmt: skip
def test_dying(process: Task, oc: OomControl, el7: str, mainline: str) -> None:
    assert dying(process, case(EL7, oc)) == el7
    assert dying(process, case(MAINLINE, oc)) == mainline


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_abort_forgets_the_chosen_one(policy: Policy) -> None:
    found = scan(policy, HOG, DYING, LATE)
    assert found.chosen is None
    assert found.abort == DYING
    assert found.abort_reason == "SIGKILL is pending"


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_abort_names_the_first_of_several(policy: Policy) -> None:
    also = LATE._replace(rss_pages=5_000, sigkill_pending=True)
    assert scan(policy, also, HOG, DYING).abort == DYING


def test_abort_in_an_el7_memory_cgroup_names_the_newest() -> None:
    also = LATE._replace(rss_pages=5_000, sigkill_pending=True)
    assert scan(EL7, also, HOG, DYING, oc=IN_BOX).abort == also
    assert scan(MAINLINE, also, HOG, DYING, oc=IN_BOX).abort == DYING


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_nobody_is_waited_for_outside_the_memory_cgroup(policy: Policy) -> None:
    found = select_bad_process((HOG, DYING), case(policy, IN_BOX, memcg=memcg_of((HOG,))))
    assert chosen_pid(found) == 200


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_next_after_the_one_passed_over(policy: Policy) -> None:
    stuck = HOG._replace(sigkill_pending=True)
    oc = OomControl(victims=frozenset({HOG.ident}), passed_over=frozenset({HOG.ident}))
    assert chosen_pid(scan(policy, stuck, MOUSE, oc=oc)) == 300


# --- origins


def origin(*tasks: Task, **fields: Any) -> OomControl:
    return OomControl(origins=frozenset(one.ident for one in tasks), **fields)


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize("place", [100, 250, 900])
def test_origin_wins_whatever_its_points(policy: Policy, place: int) -> None:
    swapoff = MOUSE._replace(starttime_ticks=place)
    found = scan(policy, HOG, swapoff, LATE, oc=origin(swapoff))
    assert (chosen_pid(found), found.origin) == (300, True)


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_last_of_several_origins_wins(policy: Policy) -> None:
    assert chosen_pid(scan(policy, HOG, MOUSE, LATE, oc=origin(HOG, MOUSE))) == 300


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_origin_is_not_protected_by_its_adjustment(policy: Policy) -> None:
    protected = MOUSE._replace(oom_score_adj=-1000)
    assert chosen_pid(scan(policy, HOG, protected, oc=origin(protected))) == 300


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_scan_goes_on_after_an_origin_and_may_abort(policy: Policy) -> None:
    dying_late = LATE._replace(rss_pages=5_000, sigkill_pending=True)
    assert scan(policy, MOUSE, dying_late, oc=origin(MOUSE)).abort == dying_late


def test_exiting_origin_is_chosen_before_anybody_looks_at_its_flags() -> None:
    assert chosen_pid(scan(EL7, HOG, EXITING, oc=origin(EXITING))) == 300


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    "nobody",
    [MOUSE._replace(has_mm=False), MOUSE._replace(flags=PF_KTHREAD), MOUSE._replace(pid=1)],
    ids=["no mm", "kernel thread", "init"],
)
def test_origin_has_to_be_killable(policy: Policy, nobody: Task) -> None:
    assert chosen_pid(scan(policy, HOG, nobody, oc=origin(nobody))) == 200


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_origin_whose_time_is_up_is_passed_over(policy: Policy) -> None:
    oc = origin(MOUSE, passed_over=frozenset({MOUSE.ident}))
    assert chosen_pid(scan(policy, HOG, MOUSE, oc=oc)) == 200


def test_trace_says_that_it_is_an_origin() -> None:
    assert judge(EL7, HOG, MOUSE, oc=origin(MOUSE)).trace[4].verdict.startswith("in the middle")


# --- who is seen


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_process_whose_leader_has_exited_is_found(policy: Policy) -> None:
    headless = HOG._replace(mm_tid=201)
    assert headless.leader_exited
    assert chosen_pid(scan(policy, headless, MOUSE)) == 200


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    "nobody",
    [
        HOG._replace(state="Z", has_mm=False),
        HOG._replace(has_mm=False),
        HOG._replace(refused="status: EACCES"),
        HOG._replace(oom_score_adj=-1000),
        HOG._replace(flags=PF_KTHREAD),
        HOG._replace(pid=1),
    ],
    ids=["zombie", "no mm", "refused", "-1000", "kernel thread", "init"],
)
def test_ineligible_is_passed_by(policy: Policy, nobody: Task) -> None:
    assert chosen_pid(scan(policy, nobody, MOUSE)) == 300


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_empty_machine(policy: Policy) -> None:
    assert scan(policy) == Selection()


def test_mainline_chooses_among_negatives() -> None:
    low, lower = (one._replace(oom_score_adj=adj) for one, adj in ((HOG, -500), (MOUSE, -999)))
    found = scan(MAINLINE, low, lower)
    assert (chosen_pid(found), found.points) == (200, 1_000 - 500_000)
    assert words(judge(MAINLINE, low, lower)) == "kill 200: Out of memory"
    assert judge(MAINLINE, low, lower).trace[4].detail["score"] == -499
