"""Each verdict an audit can come to, on fake machines: who, why, and how many pages."""

from pathlib import Path

import pytest

from oomd.mm_types import PF_EXITING, Sysctls
from tests.audit.commands import Json, Oomd
from tests.audit.machines import AMPLE, DB, HOG, INIT, SSHD, TASKS, TOTALPAGES
from tests.roots import Row, make_root

BOTH = pytest.mark.parametrize("policy", ["el7", "mainline"])


def victims(found: Json) -> list[tuple[int, str]]:
    return [(one["pid"], one["why"]) for one in found["decision"]["victims"]]


def steps(found: Json) -> dict[int, str]:
    return {step["step"]: step["verdict"] for step in found["decision"]["trace"]}


@BOTH
def test_kill_names_the_worst_with_its_points_and_score(
    oomd: Oomd, tree: Path, policy: str
) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    found = oomd.json(tree, "--policy", policy)
    assert found["policy"] == policy
    decision = found["decision"]
    assert decision["verdict"] == "kill"
    assert decision["constraint"] == "CONSTRAINT_NONE"
    assert decision["totalpages"] == TOTALPAGES
    assert decision["message"] == "Out of memory"
    assert decision["chosen"] == {"pid": 10, "comm": "hog", "points": 500_000, "score": 500}
    assert victims(found) == [(10, "chosen")]


@BOTH
def test_the_ranking_is_worst_first_then_those_never_chosen_with_the_reason(
    oomd: Oomd, tree: Path, policy: str
) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    found = oomd.json(tree, "--policy", policy)
    ranking = [(one["pid"], one["points"], one["eligible"]) for one in found["tasks"]]
    assert ranking == [
        (10, 500_000, True),
        (11, 100_007, True),
        (1, None, False),
        (2, None, False),
        (12, None, False),
    ]
    reasons = {one["pid"]: one["reason"] for one in found["tasks"]}
    assert reasons == {
        10: "",
        11: "",
        1: "global init",
        2: "kernel thread",
        12: "oom_score_adj -1000",
    }


@pytest.mark.parametrize(("policy", "order"), [("el7", [20, 21]), ("mainline", [21, 20])])
def test_of_equals_the_one_that_would_die_is_on_top(
    oomd: Oomd, tree: Path, policy: str, order: list[int]
) -> None:
    twins: list[Row] = [{"pid": 20, "rss_pages": 5000}, {"pid": 21, "rss_pages": 5000}]
    make_root(tree, [INIT, *twins], meminfo=AMPLE)
    found = oomd.json(tree, "--policy", policy)
    assert [one["pid"] for one in found["tasks"] if one["eligible"]] == order
    assert found["decision"]["chosen"]["pid"] == order[0]


@BOTH
@pytest.mark.parametrize("how", [{"flags": PF_EXITING}, {"sigkill_pending": True}], ids=str)
def test_let_exit_for_a_current_that_is_dying(
    oomd: Oomd, tree: Path, policy: str, how: Row
) -> None:
    dying: Row = {"pid": 20, "comm": "leaving", "rss_pages": 50, **how}
    make_root(tree, [*TASKS, dying], meminfo=AMPLE)
    found = oomd.json(tree, "--current", "20", "--policy", policy)
    assert found["decision"]["verdict"] == "let_exit"
    assert found["decision"]["chosen"] is None
    assert victims(found) == []
    text = oomd.audit("--root", tree, "--current", "20", "--policy", policy).out
    assert text.endswith("If memory ran out, oomd would let 20 (leaving) exit.\n")


def test_a_current_that_is_not_there_is_said_to_be_gone(oomd: Oomd, tree: Path) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    found = oomd.json(tree, "--current", "999", "--assume", "vm.oom_kill_allocating_task=1")
    assert steps(found)[2] == steps(found)[4] == "current has gone"
    assert victims(found) == [(10, "chosen")]


@BOTH
def test_wait_for_somebody_who_is_dying_already(oomd: Oomd, tree: Path, policy: str) -> None:
    dying: Row = {"pid": 20, "comm": "victim", "rss_pages": 5_000, "sigkill_pending": True}
    make_root(tree, [*TASKS, dying], meminfo=AMPLE)
    found = oomd.json(tree, "--policy", policy)
    assert found["decision"]["verdict"] == "wait"
    assert victims(found) == []
    assert steps(found)[5] == "wait, somebody is dying already: SIGKILL is pending"
    text = oomd.audit("--root", tree, "--policy", policy).out
    assert text.endswith("oomd would wait for 20 (victim): SIGKILL is pending.\n")


@BOTH
@pytest.mark.parametrize(("setting", "word"), [(1, "system-wide"), (2, "compulsory")])
def test_panic_at_step_3(oomd: Oomd, tree: Path, policy: str, setting: int, word: str) -> None:
    make_root(tree, TASKS, meminfo=AMPLE, sysctls=Sysctls(panic_on_oom=setting))
    found = oomd.json(tree, "--policy", policy)
    assert found["decision"]["verdict"] == "panic"
    message = f"Out of memory: {word} panic_on_oom is enabled"
    assert found["decision"]["message"] == message
    assert steps(found)[4] == "not reached"
    text = oomd.audit("--root", tree, "--policy", policy).out
    assert text.endswith(f'would panic: "{message}" (panic.panic_on_oom = "sysrq").\n')
    assert f"note: vm.panic_on_oom is {setting}: when memory is short, the machine is " in text


@pytest.mark.parametrize(("policy", "verdict"), [("el7", "panic"), ("mainline", "kill")])
def test_a_manual_oom_panics_on_el7_alone(
    oomd: Oomd, tree: Path, policy: str, verdict: str
) -> None:
    dying: Row = {"pid": 20, "comm": "victim", "rss_pages": 5_000, "sigkill_pending": True}
    make_root(tree, [*TASKS, dying], meminfo=AMPLE, sysctls=Sysctls(panic_on_oom=1))
    found = oomd.json(tree, "--manual", "--policy", policy)
    assert found["decision"]["verdict"] == verdict
    if verdict == "kill":
        # sysrq-f waits for nobody.
        assert victims(found) == [(10, "chosen")]


@pytest.mark.parametrize(
    ("policy", "message"),
    [
        ("el7", "Out of memory and no killable processes..."),
        ("mainline", "System is deadlocked on memory"),
    ],
)
def test_panic_at_step_6(oomd: Oomd, tree: Path, policy: str, message: str) -> None:
    make_root(tree, [INIT, SSHD], meminfo=AMPLE)
    found = oomd.json(tree, "--policy", policy)
    assert found["decision"]["verdict"] == "panic"
    assert found["decision"]["message"] == message
    assert steps(found)[6] == "panic: nothing is killable"
    text = oomd.audit("--root", tree, "--policy", policy).out
    assert text.endswith(f'would panic: "{message}" (panic.none_killable = "defer").\n')


@BOTH
def test_the_allocating_task_dies_if_the_sysctl_says_so(
    oomd: Oomd, tree: Path, policy: str
) -> None:
    make_root(tree, TASKS, meminfo=AMPLE, sysctls=Sysctls(oom_kill_allocating_task=1))
    found = oomd.json(tree, "--current", "11", "--policy", policy)
    decision = found["decision"]
    assert decision["message"] == "Out of memory (oom_kill_allocating_task)"
    assert decision["chosen"] == {"pid": 11, "comm": "db", "points": 0, "score": 0}
    assert victims(found) == [(11, "chosen")]


CHILD: Row = {"pid": 20, "comm": "worker", "ppid": 10, "rss_pages": 100, "uid": 1000}


@pytest.mark.parametrize(
    ("policy", "expected"), [("el7", (20, "child")), ("mainline", (10, "chosen"))]
)
def test_a_child_dies_for_its_parent_on_el7_alone(
    oomd: Oomd, tree: Path, policy: str, expected: tuple[int, str]
) -> None:
    make_root(tree, [*TASKS, CHILD], meminfo=AMPLE)
    found = oomd.json(tree, "--policy", policy)
    assert found["decision"]["chosen"]["pid"] == 10
    assert victims(found) == [expected]
    (last,) = (one for one in found["decision"]["trace"] if one["step"] == 7)
    assert last["detail"]["victim_pid"] == expected[0]


def sharing(pid: int, oom_score_adj: int) -> Row:
    """As large as HOG is, as whatever shares its mm must be."""
    row: Row = {"pid": pid, "comm": "sharer", "ppid": 10, "oom_score_adj": oom_score_adj}
    return row | {"rss_pages": 499_000, "pgtables_pages": 1000}


@BOTH
def test_who_shares_the_victims_mm_dies_with_it_but_for_the_exempt(
    oomd: Oomd, tree: Path, policy: str
) -> None:
    tasks = [*TASKS, sharing(20, -1), sharing(21, -1000)]
    same_mm = [(10, 20, True), (10, 21, True)]
    make_root(tree, tasks, meminfo=AMPLE, same_mm=same_mm)
    found = oomd.json(tree, "--policy", policy)
    assert victims(found) == [(10, "chosen"), (20, "sharing_mm")]
    assert not [note for note in found["notes"] if "shares" in note]


def test_of_equal_size_is_not_of_one_mm(oomd: Oomd, tree: Path) -> None:
    tasks = [*TASKS, sharing(20, -1)]
    make_root(tree, tasks, meminfo=AMPLE, same_mm=[(10, 20, False)])
    # With an mm of its own it is a child like any other.
    assert victims(oomd.json(tree, "--policy", "el7")) == [(20, "child")]
    assert victims(oomd.json(tree, "--policy", "mainline")) == [(10, "chosen")]


def test_a_leader_that_has_exited_is_asked_about_by_its_living_thread(
    oomd: Oomd, tree: Path
) -> None:
    tasks: list[Row] = [INIT, HOG | {"mm_tid": 15}, sharing(20, -1)]
    make_root(tree, tasks, meminfo=AMPLE, same_mm=[(15, 20, True)])
    found = oomd.json(tree, "--policy", "mainline")
    assert victims(found) == [(10, "chosen"), (20, "sharing_mm")]


def test_in_a_plain_tree_nobody_is_taken_for_a_sharer_and_that_is_said(
    oomd: Oomd, tree: Path
) -> None:
    make_root(tree, [*TASKS, sharing(20, -1)], meminfo=AMPLE)
    found = oomd.json(tree, "--policy", "mainline")
    assert victims(found) == [(10, "chosen")]
    said = "who shares the victim's memory is not observable: nobody is assumed"
    assert said in found["notes"]


def test_a_chosen_one_that_is_dying_is_not_killed(oomd: Oomd, tree: Path) -> None:
    # On mainline an exiting task does not stop the scan, and is given time at step 7.
    make_root(tree, [INIT, DB, HOG | {"flags": PF_EXITING}], meminfo=AMPLE)
    found = oomd.json(tree, "--policy", "mainline")
    assert found["decision"]["verdict"] == "kill"
    assert victims(found) == []
    assert steps(found)[7] == "marked, nobody is killed: it is exiting"
    text = oomd.audit("--root", tree, "--policy", "mainline").out
    assert "10 (hog) is dying already: it would be given time, nobody is killed" in text


@pytest.mark.parametrize(
    ("in_init_ns", "points", "noted"),
    [(None, 485_000, True), (True, 485_000, False), (False, 500_000, False)],
)
def test_the_root_discount_says_so_where_the_user_namespace_is_not_observable(
    oomd: Oomd, tree: Path, in_init_ns: bool | None, points: int, noted: bool
) -> None:
    admin: Row = HOG | {"cap_sys_admin": True, "init_user_ns": in_init_ns}
    make_root(tree, [INIT | {"user_ns_inode": 4026531837}, DB, admin], meminfo=AMPLE)
    found = oomd.json(tree, "--policy", "el7")
    assert found["decision"]["chosen"]["points"] == points
    assert any("root discount" in note for note in found["notes"]) is noted
    # mainline has no such discount, and nothing to say about it.
    found = oomd.json(tree, "--policy", "mainline")
    assert found["decision"]["chosen"]["points"] == 500_000
    assert not any("root discount" in note for note in found["notes"])


def test_a_task_that_cannot_be_read_is_flagged_and_never_chosen(oomd: Oomd, tree: Path) -> None:
    secret: Row = {"pid": 20, "comm": "secret", "refusals": {"status": "EACCES"}}
    make_root(tree, [*TASKS, secret], meminfo=AMPLE)
    found = oomd.json(tree)
    (task,) = (one for one in found["tasks"] if one["pid"] == 20)
    assert (task["eligible"], task["points"], task["uid"]) == (False, None, None)
    assert task["reason"] == "not readable (status: EACCES)"
    said = "1 processes could not be read whole (run as root to see them), e.g. 20: status: EACCES"
    assert said in found["notes"]
    assert "not readable (status: EACCES) (1)" in oomd.audit("--root", tree).out


def test_auto_takes_the_profile_of_the_trees_kernel(oomd: Oomd, tmp_path: Path) -> None:
    for kernel, policy in (("3.10.0-957.el7.x86_64", "el7"), ("6.1.0", "mainline")):
        make_root(tmp_path / kernel, TASKS, meminfo=AMPLE, kernel=kernel)
        found = oomd.json(tmp_path / kernel, "--policy", "auto")
        assert (found["policy"], found["kernel"]) == (policy, kernel)


def test_sysctls_that_are_not_there_are_noted_until_they_are_assumed(
    oomd: Oomd, tree: Path
) -> None:
    make_root(tree, TASKS, meminfo=AMPLE, sysctls=None)
    found = oomd.json(tree)
    names = "vm.panic_on_oom, vm.oom_kill_allocating_task, vm.oom_dump_tasks"
    assert f"{names} not observable: the kernel's default stands in" in found["notes"]
    found = oomd.json(tree, "--assume", "vm.panic_on_oom=1", "--assume", "oom_dump_tasks=0")
    said = "vm.oom_kill_allocating_task not observable: the kernel's default stands in"
    assert said in found["notes"]
    assert found["decision"]["verdict"] == "panic"
    assert found["sysctls"] == {
        "vm.panic_on_oom": 1,
        "vm.oom_kill_allocating_task": 0,
        "vm.oom_dump_tasks": 0,
    }
