"""The executor with real processes: the test's own children, and no others may be killed."""

from pathlib import Path

import pytest

from oomd.effects.act import FREED_MS, SETTLE_MS
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import PF_EXITING, MemInfo, Task
from oomd.oom import Constraint, Freed, Kill, LetItExit, NoneKillable, Panic, Wait
from oomd.proc.root import WritableRoot
from oomd.settings import LogSettings
from tests.audit.machines import AMPLE
from tests.effects.children import (
    LyingRoot,
    OwnChildren,
    allocate_mib,
    has_exited,
    open_fds,
    task_of,
    wait_exit,
)
from tests.guard.acting import QUIET, SHORT_BY_1_MIB, Acting

pytestmark = pytest.mark.live

BOTH = pytest.mark.parametrize("policy", [EL7, MAINLINE], ids=lambda policy: str(policy.name))


def started(children: OwnChildren, mib: int = 8) -> Task:
    """A child that holds memory."""
    return task_of(children.start_ready(allocate_mib(mib)).pid)


def stuck_victim(children: OwnChildren) -> Task:
    """It cannot die, and its record does not tell that it is about to."""
    stuck = task_of(children.start_stuck_dying(16).pid)
    return stuck._replace(sigkill_pending=False, flags=0)


def wait_for_all(acting: Acting) -> None:
    """Until they have exited: seen between the end of their mm and their own, they are "reaped"."""
    for pidfd in acting.act.pidfds():
        wait_exit(pidfd)


# --- killing


@BOTH
def test_a_kill_from_the_signal_to_the_end(children: OwnChildren, policy: Policy) -> None:
    before = open_fds()
    task = started(children)
    acting = Acting({task.pid})
    assert acting.hold_ms() is None
    acting.decide(task, policy=policy)
    # Said at once, in the kernel's words.
    assert acting.said[0].startswith("oomd invoked oom-killer: ")
    assert acting.said[-1].startswith(
        f"Killed process {task.pid} ("
        if policy is EL7
        else f"Out of memory: Killed process {task.pid} ("
    )
    (record,) = acting.told
    assert record["lines"] == acting.said
    assert record["verdict"] == "kill"
    assert record["signal_after_ms"] >= 0
    assert acting.victims() == [(task.pid, "chosen")]
    # Waited for, and told to the next decision.
    assert acting.hold_ms() == SETTLE_MS
    assert acting.act.control().victims == {task.ident}
    (pidfd,) = acting.act.pidfds()
    wait_exit(pidfd)
    acting.settle(AMPLE)
    assert acting.ends() == [(task.pid, "gone")]
    assert acting.hold_ms() is None
    assert acting.act.control().victims == frozenset()
    children.end()
    assert open_fds() == before


def test_the_kernels_log_is_written_only_if_it_is_wanted(children: OwnChildren) -> None:
    for kmsg in (False, True):
        task = started(children)
        acting = Acting({task.pid}, QUIET._replace(log=LogSettings(kmsg=kmsg)))
        acting.decide(task)
        assert isinstance(acting.root, LyingRoot)
        assert {path for path, _ in acting.root.written} == ({"dev/kmsg"} if kmsg else set())
        lines = [data.decode() for _, data in acting.root.written]
        assert lines == [f"<3>{line}\n" for line in acting.said if kmsg]
        acting.settle(AMPLE)


def test_while_somebody_is_dying_nobody_else_is_killed(children: OwnChildren) -> None:
    first, second = started(children, 16), started(children)
    acting = Acting({first.pid, second.pid})
    acting.decide(first, second)
    assert acting.victims() == [(first.pid, "chosen")]
    event = acting.event((first, second))
    assert isinstance(event.decision, Wait)
    assert event.decision.task == first.ident
    acting.settle(AMPLE)
    assert not has_exited(children.hold(second.pid))


def test_a_process_that_took_over_the_pid_is_left_alone(children: OwnChildren) -> None:
    task = started(children)
    acting = Acting({task.pid})
    pidfd = children.hold(task.pid)
    acting.decide(task._replace(starttime_ticks=task.starttime_ticks - 1))
    (said,) = acting.said
    assert said.startswith(f"not killed: {task.pid} (")
    assert said.endswith("gone before the signal, its pid is another process's now")
    (record,) = acting.told
    assert (record["verdict"], record["victims"], record["lines"]) == ("missed", [], [])
    assert not has_exited(pidfd)
    # The next turn decides anew, and it is as eligible as it was.
    assert not acting.act.in_flight.busy
    assert acting.act.control().passed_over == frozenset()


def test_who_may_not_be_killed_is_passed_over_the_next_time(children: OwnChildren) -> None:
    first, second = started(children, 16), started(children)
    acting = Acting({second.pid})
    pidfd = children.hold(first.pid)
    acting.decide(first, second)
    assert acting.said[0].endswith("not among those that may be killed")
    assert acting.act.control().passed_over == {first.ident}
    acting.decide(first, second)
    assert acting.victims() == [(second.pid, "chosen")]
    acting.settle(AMPLE)
    assert not has_exited(pidfd)


PARENT = """
import subprocess, sys, signal
child = subprocess.Popen([sys.executable, "-I", "-S", "-c", sys.argv[1]], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
while True: signal.pause()
"""


def family(children: OwnChildren) -> tuple[Task, Task]:
    """A parent, and a child of its own that holds more than it does."""
    source = PARENT.replace("sys.argv[1]", repr(allocate_mib(8)))
    parent = children.start(source)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    children.hold(child)
    return task_of(parent.pid), task_of(child)


def test_on_el7_a_child_dies_for_its_parent(children: OwnChildren) -> None:
    parent, child = family(children)
    acting = Acting({parent.pid, child.pid})
    acting.decide(parent, policy=EL7)
    assert acting.victims() == [(child.pid, "child")]
    assert f"Kill process {parent.pid} (" in acting.said[1]
    assert acting.said[2].startswith(f"Killed process {child.pid} (")
    wait_for_all(acting)
    acting.settle(AMPLE)
    assert acting.ends() == [(child.pid, "gone")]
    assert not has_exited(children.hold(parent.pid))


def test_on_mainline_it_does_not(children: OwnChildren) -> None:
    parent, child = family(children)
    acting = Acting({parent.pid, child.pid})
    acting.decide(parent, policy=MAINLINE)
    assert acting.victims() == [(parent.pid, "chosen")]
    wait_for_all(acting)
    acting.settle(AMPLE)
    assert acting.ends() == [(parent.pid, "gone")]
    assert not has_exited(children.hold(child.pid))


@BOTH
def test_who_shares_the_victims_mm_dies_with_it(children: OwnChildren, policy: Policy) -> None:
    victim, sharer = (task_of(pid) for pid in children.start_sharing_mm())
    # On el7 a child with an mm of its own would die for its parent: this one has its parent's.
    acting = Acting({victim.pid, sharer.pid})
    # A victim that has let its mm go says nothing of who shares it.
    children.hold_at_exit(victim.pid)
    pidfds = [children.hold(one.pid) for one in (victim, sharer)]
    acting.decide(victim, policy=policy)
    # Nobody of the decision's tasks: found among all processes.
    assert acting.victims() == [(victim.pid, "chosen"), (sharer.pid, "sharing_mm")]
    children.let_die(victim.pid)
    acting.settle(AMPLE)
    for pidfd in pidfds:
        wait_exit(pidfd)
    named = f"Kill process {sharer.pid} ("
    assert [line for line in acting.said if line.startswith(named)] == (
        [line for line in acting.said if "sharing same memory" in line]
    )
    assert any(line.startswith(named) for line in acting.said) == (policy is EL7)


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
    acting.hand_over(Freed(123, Constraint.NONE, 1_000_000, ()))
    assert acting.said == ["notifiers freed 123 pages, nobody dies"]
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
