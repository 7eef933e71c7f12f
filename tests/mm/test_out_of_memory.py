"""``out_of_memory()``: a row for every branch, in the kernel's order, for both profiles."""

from typing import NamedTuple

import pytest

from oomd.mm.out_of_memory import STEP_NAMES
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import MemCgroup, Sysctls, Task
from oomd.oom import Constraint, NotifierChain, OomControl
from tests.mm.machine import BOTH, chain, current_of, judge, memcg_of, task, words

HOG = task(200, 300_000, comm="hog")
MOUSE = task(300, 100, comm="mouse")
DYING_MOUSE = MOUSE._replace(rss_pages=5_000, sigkill_pending=True)
PROTECTED = task(400, 500_000, oom_score_adj=-1000)
PARENT = (task(1, 50_000, comm="init"), task(2, comm="kthreadd", flags=0x200000, has_mm=False))

MEMCG = OomControl(constraint=Constraint.MEMCG)
MANUAL = OomControl(manual=True)
BY_MOUSE = OomControl(current=current_of(MOUSE))
BY_DYING = OomControl(current=current_of(MOUSE, sigkill_pending=True))

KILL_HOG = "kill 200: Out of memory"
KILL_HOG_IN_BOX = "kill 200: Memory cgroup out of memory"
SYSTEM_WIDE = "panic 3: Out of memory: system-wide panic_on_oom is enabled"
COMPULSORY = "panic 3: Out of memory: compulsory panic_on_oom is enabled"
NO_VICTIM = "Out of memory and no killable processes..."
NO_KILLER = (
    "none killable: memory.oom_control is 1: no OOM killer in this memory cgroup, its tasks wait"
)


class Row(NamedTuple):
    """A situation, and how it ends on both, or on el7 and on mainline."""

    what: str
    ends: str | tuple[str, str]
    oc: OomControl = OomControl()
    tasks: tuple[Task, ...] = (*PARENT, HOG, MOUSE, PROTECTED)
    sysctls: Sysctls = Sysctls()
    freed: NotifierChain = NotifierChain()
    memcg: MemCgroup | None = None


BOX = memcg_of((HOG, MOUSE, PROTECTED))
DISABLED_BOX = BOX._replace(oom_kill_disable=True)
ALL_PROTECTED = (*PARENT, PROTECTED)
PANIC_1, PANIC_2 = Sysctls(panic_on_oom=1), Sysctls(panic_on_oom=2)
ALLOCATING = Sysctls(oom_kill_allocating_task=1)

ROWS = (
    # mem_cgroup_oom(), before out_of_memory()
    Row("v1 oom_control", NO_KILLER, MEMCG, memcg=DISABLED_BOX),
    Row("v1 oom_control, panic", NO_KILLER, MEMCG, sysctls=PANIC_2, memcg=DISABLED_BOX),
    Row("memcg gone", "none killable: the memory cgroup is gone", MEMCG, sysctls=PANIC_2),
    # 1: blocking_notifier_call_chain()
    Row("freed", "freed 50", freed=chain(50)),
    Row("freed, panic asked for", "freed 50", sysctls=PANIC_2, freed=chain(50)),
    Row("freed nothing", KILL_HOG, freed=chain(0)),
    Row("not called", KILL_HOG, freed=chain(0, called=False)),
    Row("freed, not back", KILL_HOG, freed=chain(50, came_back=False)),
    Row("freed, manual", ("freed 50", KILL_HOG), MANUAL, freed=chain(50)),
    Row("memcg, freed", KILL_HOG_IN_BOX, MEMCG, freed=chain(50), memcg=BOX),
    # 2: task_will_free_mem(current)
    Row("current fine", KILL_HOG, BY_MOUSE),
    Row("current dying", "let 300 exit", BY_DYING, (HOG, DYING_MOUSE)),
    Row("current dying, panic", "let 300 exit", BY_DYING, (HOG, DYING_MOUSE), PANIC_2),
    Row("memcg, current dying", "let 300 exit",
        BY_DYING._replace(constraint=Constraint.MEMCG), (HOG, DYING_MOUSE), memcg=BOX),
    Row("manual, current dying", KILL_HOG, BY_DYING._replace(manual=True),
        (HOG, DYING_MOUSE)),
    # 3: check_panic_on_oom()
    Row("panic 1", SYSTEM_WIDE, sysctls=PANIC_1),
    Row("panic 2", COMPULSORY, sysctls=PANIC_2),
    Row("panic before step 4", SYSTEM_WIDE, BY_MOUSE,
        sysctls=PANIC_1._replace(oom_kill_allocating_task=1)),
    Row("manual, panic 1", (SYSTEM_WIDE, KILL_HOG), MANUAL, sysctls=PANIC_1),
    Row("manual, panic 2", (COMPULSORY, KILL_HOG), MANUAL, sysctls=PANIC_2),
    Row("memcg, panic 1", KILL_HOG_IN_BOX, MEMCG, sysctls=PANIC_1, memcg=BOX),
    Row("memcg, panic 2", COMPULSORY, MEMCG, sysctls=PANIC_2, memcg=BOX),
    # 4: oom_kill_allocating_task
    Row("allocating", "kill 300: Out of memory (oom_kill_allocating_task)", BY_MOUSE,
        sysctls=ALLOCATING),
    Row("memcg, allocating", KILL_HOG_IN_BOX,
        BY_MOUSE._replace(constraint=Constraint.MEMCG), sysctls=ALLOCATING, memcg=BOX),
    Row("manual, allocating", KILL_HOG, BY_MOUSE._replace(manual=True),
        sysctls=ALLOCATING),
    Row("allocating, no current", KILL_HOG, sysctls=ALLOCATING),
    # 5: select_bad_process()
    Row("worst", KILL_HOG),
    Row("memcg, worst", KILL_HOG_IN_BOX, MEMCG, memcg=BOX),
    Row("memcg, worst is outside", "kill 300: Memory cgroup out of memory", MEMCG,
        memcg=memcg_of((MOUSE,))),
    Row("abort", "wait for 300: SIGKILL is pending", tasks=(HOG, DYING_MOUSE)),
    Row("manual, no abort", KILL_HOG, MANUAL, (HOG, DYING_MOUSE)),
    # 6: nothing killable
    Row("nobody", (f"panic 6: {NO_VICTIM}", "panic 6: System is deadlocked on memory"),
        tasks=ALL_PROTECTED),
    Row("nobody at all", (f"panic 6: {NO_VICTIM}", "panic 6: System is deadlocked on memory"),
        tasks=()),
    Row("manual, nobody", (f"panic 6: {NO_VICTIM}", f"none killable: {NO_VICTIM}"), MANUAL,
        ALL_PROTECTED),
    Row("memcg, nobody", f"none killable: {NO_VICTIM}", MEMCG,
        memcg=memcg_of((PROTECTED,))),
)  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_branch(policy: Policy, row: Row) -> None:
    decision = judge(
        policy, *row.tasks, oc=row.oc, sysctls=row.sysctls, freed=row.freed, memcg=row.memcg
    )
    ends = row.ends if isinstance(row.ends, str) else row.ends[BOTH.index(policy)]
    assert words(decision) == ends
    assert [step.step for step in decision.trace] == [1, 2, 3, 4, 5, 6, 7]
    assert tuple(step.name for step in decision.trace) == STEP_NAMES


# How many steps the trace tells of before it says "not reached".
REACHED = {"freed": 1, "let": 2, "panic 3": 3, "wait": 5, "panic 6": 6}


@pytest.mark.parametrize("row", ROWS, ids=[row.what for row in ROWS])
def test_trace_ends_where_the_kernel_returns(row: Row) -> None:
    decision = judge(
        MAINLINE, *row.tasks, oc=row.oc, sysctls=row.sysctls, freed=row.freed, memcg=row.memcg
    )
    reached = [step.step for step in decision.trace if step.verdict != "not reached"]
    for ending, last in REACHED.items():
        if words(decision).startswith(ending):
            assert reached == list(range(1, last + 1))


def test_kill_says_that_step_6_was_passed() -> None:
    trace = judge(EL7, HOG).trace
    assert trace[5].verdict == "not reached: pid 200 is killable"


def test_step_5_gives_the_numbers() -> None:
    root = task(7, 100_000, pgtables_pages=300, swapents_pages=700, oom_score_adj=10,
                cap_sys_admin=True, init_user_ns=True)  # fmt: skip
    assert judge(EL7, root, MOUSE).trace[4].detail == {
        "policy": "el7",
        "totalpages": 1_000_000,
        "not_observable": "gfp_mask, oom_flag_origin, MMF_OOM_SKIP of others' victims",
        "totalpages_are": "RAM + swap",
        "tasks_seen": 2,
        "pid": 7,
        "points": 101_000 - 3_030 + 10_000,
        "score": 107,
        "rss_pages": 100_000,
        "pgtables_pages": 300,
        "swapents_pages": 700,
        "oom_score_adj": 10,
        "root_discount": True,
        "runner_up_pid": 300,
        "runner_up_points": 100,
    }


@pytest.mark.parametrize(
    ("policy", "capable", "init_user_ns", "discount"),
    [
        (EL7, True, True, True),
        (EL7, True, None, True),
        (EL7, True, False, False),
        (EL7, False, True, False),
        (MAINLINE, True, True, False),
    ],
)
def test_step_5_says_whether_root_had_its_discount(
    policy: Policy, capable: bool, init_user_ns: bool | None, discount: bool
) -> None:
    hog = HOG._replace(cap_sys_admin=capable, init_user_ns=init_user_ns)
    assert judge(policy, hog).trace[4].detail["root_discount"] is discount


@pytest.mark.parametrize("name", ["verdict", "self", "freed_pages", "notifiers"])
def test_a_notifier_of_any_name_is_harmless(name: str) -> None:
    freed = chain(50)
    freed = freed._replace(results=(freed.results[0]._replace(name=name),))
    detail = judge(EL7, HOG, freed=freed).trace[0].detail
    assert (detail["freed_pages"], detail["notifiers"]) == (50, 1)


def test_an_audit_lists_notifiers_and_calls_none() -> None:
    step = judge(EL7, HOG, freed=chain(0, called=False)).trace[0]
    assert step.verdict == "not called"
    assert step.detail["balloon"] == "priority 0: called"


def test_without_current_steps_2_and_4_say_so() -> None:
    trace = judge(EL7, HOG, sysctls=ALLOCATING).trace
    assert trace[1].verdict == trace[3].verdict
    assert "does not apply" in trace[1].verdict


def test_manual_oom_says_that_its_current_is_a_kernel_worker() -> None:
    trace = judge(EL7, HOG, MOUSE, oc=BY_MOUSE._replace(manual=True), sysctls=ALLOCATING).trace
    assert "kernel worker" in trace[1].verdict
    assert "kernel worker" in trace[3].verdict
