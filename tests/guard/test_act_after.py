"""The executor after the signal: who is waited for, what is futile, and when nobody dies."""

from pathlib import Path

import pytest

from oomd.effects.act import FREED_MS, SETTLE_MS
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import PF_EXITING, MemInfo
from oomd.oom import (
    Constraint,
    Freed,
    Kill,
    LetItExit,
    NoneKillable,
    Notified,
    NotifierChain,
    Panic,
)
from oomd.proc.root import WritableRoot
from tests.audit.machines import AMPLE
from tests.effects.children import (
    OwnChildren,
    has_exited,
    open_fds,
    task_of,
)
from tests.guard.acting import QUIET, SHORT_BY_1_MIB, Acting, started, stuck_victim

pytestmark = pytest.mark.live

BOTH = pytest.mark.parametrize("policy", [EL7, MAINLINE], ids=lambda policy: str(policy.name))

# --- waiting


@BOTH
def test_somebody_who_is_dying_already_is_waited_for(children: OwnChildren, policy: Policy) -> None:
    before = open_fds()
    child = children.start_stuck_dying()
    dying = task_of(child.pid)._replace(sigkill_pending=True)
    # A single futile kill would be one too many.
    acting = Acting((), Acting.settings(futile_kills=1))
    acting.decide(dying, policy=policy)
    assert acting.said == [f"waiting for {dying.pid} ({dying.comm}): SIGKILL is pending"]
    assert acting.victims() == []
    assert acting.act.control().victims == {dying.ident}
    acting.act.settle(AMPLE)
    assert acting.hold_ms() == SETTLE_MS
    # Decided once more, as by hand, it is not waited for twice.
    acting.decide(dying, policy=policy)
    assert len(list(acting.act.pidfds())) == 1
    said = len(acting.said)
    children.let_die(child.pid)
    # There is even less memory than before, but it was no kill of ours.
    less = SHORT_BY_1_MIB._replace(mem_available_kib=100_000, anon_pages_kib=50_000)
    acting.settle(less)
    assert acting.ends() == [(dying.pid, "gone")]
    assert len(acting.said) == said
    assert acting.hold_ms() is None
    children.end()
    assert open_fds() == before


def test_a_victim_that_cannot_die_is_passed_over_when_its_time_is_up(
    children: OwnChildren,
) -> None:
    stuck, other = stuck_victim(children), started(children)
    acting = Acting({stuck.pid, other.pid}, Acting.settings(victim_timeout_ms=100))
    acting.decide(stuck, other)
    assert acting.victims() == [(stuck.pid, "chosen")]
    acting.settle(SHORT_BY_1_MIB)
    assert acting.ends() == [(stuck.pid, "passed over")]
    assert acting.act.control().passed_over == {stuck.ident}
    # It has given nothing back as it could not die: the next one is not spared for that.
    assert not acting.act.rests(acting.event((stuck, other)).look)
    acting.decide(stuck, other)
    assert acting.victims() == [(other.pid, "chosen")]
    acting.settle(AMPLE)


def test_new_settings_hold_for_those_in_flight(children: OwnChildren) -> None:
    stuck = stuck_victim(children)
    acting = Acting({stuck.pid}, Acting.settings(victim_timeout_ms=600_000))
    acting.decide(stuck)
    acting.act.settle(SHORT_BY_1_MIB)
    assert acting.act.in_flight.busy
    acting.act.configure(Acting.settings(victim_timeout_ms=100))
    acting.settle(SHORT_BY_1_MIB)
    assert acting.ends() == [(stuck.pid, "passed over")]


def test_a_chosen_one_that_is_exiting_gets_its_time_and_no_signal(children: OwnChildren) -> None:
    task = started(children)._replace(flags=PF_EXITING)
    acting = Acting({task.pid})
    pidfd = children.hold(task.pid)
    event = acting.decide(task, policy=MAINLINE)
    assert isinstance(event.decision, Kill)
    assert acting.said == [f"{task.pid} ({task.comm}) is dying already, nobody is killed"]
    assert acting.victims() == []
    assert acting.told[0]["verdict"] == "wait"
    assert acting.act.control().victims == {task.ident}
    assert not has_exited(pidfd)


def test_a_current_that_is_dying_is_let_go(children: OwnChildren) -> None:
    task = started(children)
    acting = Acting({task.pid})
    pidfd = children.hold(task.pid)
    event = acting.event([task])
    let = LetItExit(task.ident, task.comm, Constraint.NONE, 1_000_000, event.decision.trace)
    acting.act.decided(event._replace(decision=let))
    assert acting.said == [f"letting {task.pid} ({task.comm}) exit, it allocates and is dying"]
    assert acting.act.control().victims == {task.ident}
    assert not has_exited(pidfd)


# --- what is futile


def test_after_kills_that_gave_nothing_back_it_stops_and_says_what_holds_the_memory(
    children: OwnChildren,
) -> None:
    # Of the same size, all of them: none has another's mm, and none dies with another.
    tasks = [started(children) for _ in range(3)]
    settings = Acting.settings(futile_kills=2, futile_hold_off_s=3600)
    acting = Acting({task.pid for task in tasks}, settings)
    acting.decide(tasks[0])
    acting.settle(SHORT_BY_1_MIB)
    assert acting.hold_ms() is None
    acting.decide(tasks[1])
    acting.settle(SHORT_BY_1_MIB)
    assert acting.said[-1].startswith(
        "2 kills in a row gave nothing back: leaving it to the kernel for 3600 s. "
        "What holds the memory: tmpfs and shared memory 1953 MiB"
    )
    hold_ms = acting.hold_ms()
    assert hold_ms is not None and hold_ms > SETTLE_MS
    assert not has_exited(children.hold(tasks[2].pid))
    # A shorter pause does not end it.
    event = acting.event(())
    acting.act.decided(event._replace(decision=Freed(1, Constraint.NONE, 1_000_000, ())))
    longer_ms = acting.act.hold_ms(event.look.now_ms)
    assert longer_ms is not None and longer_ms > FREED_MS


@pytest.mark.parametrize(
    ("after", "futile"), [(SHORT_BY_1_MIB, True), (AMPLE, False), (None, False)]
)
def test_a_victim_that_was_passed_over_counts_by_what_came_back(
    children: OwnChildren, after: MemInfo | None, futile: bool
) -> None:
    stuck = stuck_victim(children)
    acting = Acting({stuck.pid}, Acting.settings(futile_kills=1, victim_timeout_ms=100))
    acting.decide(stuck)
    acting.settle(after)
    assert acting.ends() == [(stuck.pid, "passed over")]
    said = [line for line in acting.said if line.startswith("1 kills in a row")]
    assert len(said) == futile
    assert (acting.hold_ms() is not None) == futile


def test_the_next_is_not_put_off_while_one_lives_that_may_have_the_victims_mm(
    children: OwnChildren,
) -> None:
    # Of a size that nothing else has.
    victim, twin = (started(children, mib=93) for _ in range(2))
    acting = Acting({victim.pid, twin.pid})
    look = acting.event(()).look
    for task, rests in ((victim, False), (twin, True)):
        acting.decide(task)
        acting.settle(SHORT_BY_1_MIB)
        assert acting.act.rests(look) is rests
    assert len([line for line in acting.said if "gave nothing back" in line]) == 1


def test_without_a_look_at_memory_a_kill_ends_and_proves_nothing(children: OwnChildren) -> None:
    before = open_fds()
    task = started(children)
    acting = Acting({task.pid}, Acting.settings(futile_kills=1))
    acting.act.settle(None)
    acting.decide(task)
    acting.settle(None)
    assert acting.ends() == [(task.pid, "gone")]
    assert not [line for line in acting.said if "in a row" in line]
    assert acting.hold_ms() is None
    assert acting.act.in_flight.idle
    children.end()
    assert open_fds() == before


def test_the_next_storm_begins_a_row_of_its_own(children: OwnChildren) -> None:
    tasks = [started(children) for _ in range(2)]
    acting = Acting({task.pid for task in tasks}, Acting.settings(futile_kills=2))
    for task in tasks:
        acting.decide(task)
        acting.settle(SHORT_BY_1_MIB)
        acting.act.calm(acting.event((), meminfo=AMPLE).look)
    assert not [line for line in acting.said if "in a row" in line]
    assert acting.hold_ms() is None


def test_a_kill_that_was_worth_it_begins_the_count_anew(children: OwnChildren) -> None:
    tasks = [started(children, mib) for mib in (8, 9, 10)]
    acting = Acting({task.pid for task in tasks}, Acting.settings(futile_kills=2))
    for task, after in zip(tasks, (SHORT_BY_1_MIB, AMPLE, SHORT_BY_1_MIB), strict=True):
        acting.decide(task)
        acting.settle(after)
        assert acting.hold_ms() is None
    assert not [line for line in acting.said if "in a row" in line]


# --- nobody dies


def test_the_same_end_is_told_once_in_a_storm() -> None:
    acting = Acting(())
    nobody = NoneKillable("nothing to kill", Constraint.MEMCG, 1, ())
    for _ in range(3):
        acting.hand_over(nobody)
    assert acting.said == ["nothing to kill"]
    assert len(acting.told) == 1
    assert acting.hold_ms() is not None
    acting.hand_over(nobody._replace(message="something else"))
    assert acting.said[1:] == ["something else"]
    # The next storm is told from the start.
    acting.act.calm(acting.event((), meminfo=AMPLE).look)
    acting.hand_over(nobody._replace(message="something else"))
    assert len(acting.said) == 3


def test_freed_memory_is_left_alone_for_a_moment() -> None:
    acting = Acting(())
    results = (
        Notified("balloon", 9, 65536, "claims 65536 pages", 3, 262144, 262100),
        Notified("drop_caches", 0, 0, "claims 0 pages", 1, -4, 0),
    )
    freed = Freed(65536, Constraint.NONE, 1_000_000, ())
    acting.hand_over(freed, NotifierChain(results, True, 65536))
    assert acting.said == [
        "nobody dies: notifiers freed 65536 pages: balloon 256.0 MiB in 3 ms"
        " (MemFree +256.0, MemAvailable +256.0 MiB)"
    ]
    (record,) = acting.told
    assert [one["name"] for one in record["notifiers"]] == ["balloon", "drop_caches"]
    assert record["notifiers"][1]["mem_free_change_kib"] == -4
    hold_ms = acting.hold_ms()
    assert hold_ms is not None and 0 < hold_ms <= 100


def test_a_panic_that_is_left_to_the_kernel_is_said_once_and_harms_nothing(
    tmp_path: Path,
) -> None:
    # Not this machine: a tree in which the words, and nothing else, can be written.
    for name in ("dev/kmsg", "proc/sysrq-trigger"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    acting = Acting((), root=WritableRoot(str(tmp_path)))
    panic = Panic(6, "System is deadlocked on memory", Constraint.NONE, 1_000_000, ())
    assert QUIET.panic.none_killable == "defer"
    for _ in range(3):
        acting.hand_over(panic)
    (said,) = acting.said
    assert said.startswith("System is deadlocked on memory: panic left to the kernel")
    assert (tmp_path / "dev/kmsg").read_text() == "<4>System is deadlocked on memory\n"
    assert (tmp_path / "proc/sysrq-trigger").read_bytes() == b""
    assert acting.hold_ms() is not None
