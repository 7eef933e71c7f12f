"""The kill of one process, against children that the test itself started."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oomd.effects import oom_kill_process, syscalls
from oomd.effects.oom_kill_process import Missed, Victim, kill, kill_companions, open_victim
from oomd.mm_types import PF_KTHREAD, Task
from oomd.oom import Companion
from oomd.proc.root import WritableRoot
from tests.effects.children import LyingRoot, OwnChildren, open_fds, task_of, wait_exit

pytestmark = pytest.mark.live

ROOT = WritableRoot()


@pytest.fixture
def no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends a signal, or opens a process in order to, fails the test."""

    def forbidden(*_: object) -> int:
        raise AssertionError("a process was touched")

    monkeypatch.setattr(syscalls, "pidfd_open", forbidden)
    monkeypatch.setattr(syscalls, "pidfd_send_signal", forbidden)
    monkeypatch.setattr(os, "kill", forbidden)


@pytest.fixture
def no_pidfds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel before 5.3."""
    monkeypatch.setattr(syscalls, "pidfd_open", lambda _: -errno.ENOSYS)


def opened(task: Task) -> Victim:
    victim = open_victim(ROOT, task)
    assert isinstance(victim, Victim)
    return victim


def missed(end: Victim | Missed) -> str:
    assert isinstance(end, Missed)
    return end.reason


def refused(end: Victim | Missed) -> bool:
    assert isinstance(end, Missed)
    return end.refused


def test_a_child_is_killed_through_its_pidfd(children: OwnChildren) -> None:
    child = children.start_ready()
    killed = kill(ROOT, opened(task_of(child.pid)), clock=lambda: 7)
    assert isinstance(killed, Victim)
    assert killed.killed_at_ns == 7
    wait_exit(killed.pidfd)
    os.close(killed.pidfd)
    assert child.wait() == -signal.SIGKILL


def test_a_stopped_child_dies(children: OwnChildren) -> None:
    child = children.start_ready()
    child.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
    killed = kill(ROOT, opened(task_of(child.pid)))
    assert isinstance(killed, Victim)
    os.close(killed.pidfd)
    assert child.wait() == -signal.SIGKILL


def test_a_reused_pid_is_missed(children: OwnChildren) -> None:
    child = children.start_ready()
    task = task_of(child.pid)
    before = open_fds()
    stranger = task._replace(starttime_ticks=task.starttime_ticks - 1)
    end = open_victim(ROOT, stranger)
    assert "another process's" in missed(end)
    assert not refused(end)
    assert open_fds() == before
    assert child.poll() is None


@pytest.mark.parametrize(
    ("adj", "reason", "again"),
    [
        # The next decision knows the new one.
        (b"-1000\n", "oom_score_adj -1000 is never killed", True),
        (b"300\n", "changed from 0 to 300", True),
        # The next decision would come to the same.
        (b"", "no number", False),
    ],
)
def test_a_changed_oom_score_adj_is_missed(
    children: OwnChildren, adj: bytes, reason: str, again: bool
) -> None:
    child = children.start_ready()
    task = task_of(child.pid)._replace(oom_score_adj=0)
    before = open_fds()
    root = LyingRoot({f"proc/{child.pid}/oom_score_adj": adj})
    end = open_victim(root, task)
    assert reason in missed(end)
    assert refused(end) != again
    assert open_fds() == before
    assert child.poll() is None


def test_a_companion_dies_whatever_its_new_oom_score_adj_but_minus_1000(
    children: OwnChildren,
) -> None:
    child, spared = children.start_ready(), children.start_ready()
    root = LyingRoot(
        {
            f"proc/{child.pid}/oom_score_adj": b"300\n",
            f"proc/{spared.pid}/oom_score_adj": b"-1000\n",
        }
    )
    companions = [Companion(task_of(pid), "oom_group") for pid in (child.pid, spared.pid)]
    killed, not_killed = kill_companions(root, companions)
    assert isinstance(killed, Victim)
    os.close(killed.pidfd)
    assert child.wait() == -signal.SIGKILL
    assert missed(not_killed) == "oom_score_adj -1000 is never killed"
    assert not_killed.why == "oom_group"
    assert spared.poll() is None


def test_a_torn_stat_is_missed(children: OwnChildren) -> None:
    child = children.start_ready()
    root = LyingRoot({f"proc/{child.pid}/stat": b"1 (x) S 1"})
    end = open_victim(root, task_of(child.pid))
    assert "cannot be checked again" in missed(end)
    assert refused(end)
    assert child.poll() is None


def test_what_turned_out_to_be_a_kernel_thread_is_missed(children: OwnChildren) -> None:
    child = children.start_ready()

    def with_pf_kthread(stat: bytes) -> bytes:
        fields = stat.split(b" ")
        fields[8] = str(int(fields[8]) | PF_KTHREAD).encode()
        return b" ".join(fields)

    root = LyingRoot({f"proc/{child.pid}/stat": with_pf_kthread})
    end = open_victim(root, task_of(child.pid))
    assert missed(end) == "a kernel thread is never killed"
    # Every scan that reads this stat knows.
    assert not refused(end)
    assert child.poll() is None


@pytest.mark.usefixtures("no_signals")
@pytest.mark.parametrize(
    ("task", "reason"),
    [
        (Task(1, 0), "pid 1 is never killed"),
        (Task(os.getpid(), 0), "oomd does not kill itself"),
        (Task(2, 0, flags=PF_KTHREAD), "a kernel thread is never killed"),
        (Task(99, 0, oom_score_adj=-1000), "oom_score_adj -1000 is never killed"),
        (Task(0, 0), "0 is not a process"),
        (Task(-1, 0), "-1 is not a process"),
    ],
)
def test_what_is_never_killed_is_not_even_opened(task: Task, reason: str) -> None:
    end = open_victim(ROOT, task)
    assert missed(end) == reason
    assert refused(end)
    (end,) = kill_companions(ROOT, [Companion(task, "sharing_mm")])
    assert missed(end) == reason
    assert refused(end)


@pytest.mark.usefixtures("no_signals")
def test_a_recorded_tree_kills_nobody(tmp_path: os.PathLike[str]) -> None:
    root = WritableRoot(os.fspath(tmp_path))
    end = open_victim(root, Task(99, 0))
    assert missed(end) == "this is not the live machine"
    assert refused(end)


def test_a_process_that_is_gone_is_missed(children: OwnChildren) -> None:
    child = children.start_ready()
    task = task_of(child.pid)
    child.kill()
    child.wait()
    end = open_victim(ROOT, task)
    assert missed(end).startswith("gone before the signal")
    assert not refused(end)


def test_a_process_that_goes_after_the_check_is_missed_and_let_go(children: OwnChildren) -> None:
    before = open_fds()
    child = children.start_ready()
    victim = opened(task_of(child.pid))
    child.kill()
    child.communicate()
    end = kill(ROOT, victim)
    assert missed(end) == "gone before the signal"
    assert not refused(end)
    assert open_fds() == before


def test_eperm_is_an_answer(children: OwnChildren, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = opened(task_of(children.start_ready().pid))
    monkeypatch.setattr(syscalls, "pidfd_send_signal", lambda *_: -errno.EPERM)
    end = kill(ROOT, victim)
    assert missed(end) == "SIGKILL refused: EPERM"
    assert refused(end)


def test_no_descriptor_left_is_an_answer(
    children: OwnChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(children.start_ready().pid)
    monkeypatch.setattr(syscalls, "pidfd_open", lambda _: -errno.EMFILE)
    end = open_victim(ROOT, task)
    assert missed(end) == "pidfd_open: EMFILE"
    # To pass over this one for it would be to pass over everybody, one by one.
    assert not refused(end)


def test_a_process_that_pidfd_open_never_takes_is_refused(
    children: OwnChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(children.start_ready().pid)
    monkeypatch.setattr(syscalls, "pidfd_open", lambda _: -errno.EINVAL)
    end = open_victim(ROOT, task)
    assert missed(end) == "pidfd_open: EINVAL"
    assert refused(end)


@pytest.mark.usefixtures("no_pidfds")
def test_without_pidfds_a_child_is_killed_after_another_check(children: OwnChildren) -> None:
    child = children.start_ready()
    victim = opened(task_of(child.pid))
    assert victim.pidfd == -1
    assert isinstance(kill(ROOT, victim), Victim)
    assert child.wait() == -signal.SIGKILL


@pytest.mark.usefixtures("no_pidfds")
def test_without_pidfds_the_other_check_counts(children: OwnChildren) -> None:
    child = children.start_ready()
    victim = opened(task_of(child.pid))
    root = LyingRoot({f"proc/{child.pid}/oom_score_adj": b"-1000\n"})
    end = kill(root, victim)
    assert missed(end) == "oom_score_adj -1000 is never killed"
    assert not refused(end)
    assert child.poll() is None


@pytest.mark.usefixtures("no_pidfds")
def test_without_pidfds_what_cannot_be_checked_again_is_refused(children: OwnChildren) -> None:
    child = children.start_ready()
    victim = opened(task_of(child.pid))
    root = LyingRoot({f"proc/{child.pid}/stat": b"1 (x) S 1"})
    end = kill(root, victim)
    assert "cannot be checked again" in missed(end)
    assert refused(end)
    assert child.poll() is None


@pytest.mark.usefixtures("no_pidfds")
def test_without_pidfds_eperm_is_an_answer(
    children: OwnChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = opened(task_of(children.start_ready().pid))

    def not_permitted(*_: int) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    with monkeypatch.context() as patch:
        patch.setattr(os, "kill", not_permitted)
        end = kill(ROOT, victim)
    assert missed(end) == "SIGKILL refused: EPERM"
    assert refused(end)


def test_a_process_that_shares_the_mm_dies_with_the_victim(children: OwnChildren) -> None:
    pid, sharer = children.start_sharing_mm()
    victim, companion = task_of(pid), task_of(sharer)
    assert victim.total_vm_pages == companion.total_vm_pages
    killed = kill(ROOT, opened(victim))
    (with_it,) = kill_companions(ROOT, [Companion(companion, "sharing_mm")])
    assert isinstance(killed, Victim)
    assert isinstance(with_it, Victim)
    assert with_it.why == "sharing_mm"
    for end in (killed, with_it):
        wait_exit(end.pidfd)
        os.close(end.pidfd)


def test_many_companions_do_not_take_all_descriptors(
    children: OwnChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oom_kill_process, "_HELD_OPEN", 1)
    group = [children.start_ready() for _ in range(3)]
    ends = kill_companions(ROOT, [Companion(task_of(c.pid), "oom_group") for c in group])
    pidfds = [end.pidfd for end in ends if isinstance(end, Victim)]
    assert pidfds[0] >= 0
    assert pidfds[1:] == [-1, -1]
    os.close(pidfds[0])
    assert [child.wait() for child in group] == [-signal.SIGKILL] * 3


def test_the_kill_path_loads_no_heavy_module() -> None:
    banned = {"socket", "subprocess", "logging", "json", "threading", "dataclasses", "inspect"}
    room = sorted(file.stem for file in Path(oom_kill_process.__file__).parent.glob("[!_]*.py"))
    assert {"act", "companions", "killer", "victims"} <= set(room)
    imports = "".join(f"import oomd.effects.{name}\n" for name in room)
    # sys.path instead of -m and site: those load modules of their own.
    source = f"import sys\nsys.path[:0] = {sys.path!r}\n{imports}print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", source], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "oomd.effects.oom_kill_process" in loaded
    assert not banned & set(loaded)
