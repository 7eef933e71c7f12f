"""The executor with real processes: the test's own children, and no others may be killed."""

import pytest

from oomd.effects.act import SETTLE_MS
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import Task
from oomd.oom import Wait
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
from tests.guard.acting import QUIET, Acting, started, wait_for_all

pytestmark = pytest.mark.live

BOTH = pytest.mark.parametrize("policy", [EL7, MAINLINE], ids=lambda policy: str(policy.name))


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
