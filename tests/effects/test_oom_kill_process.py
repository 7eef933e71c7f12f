"""The kill of one process, against children that the test itself started."""

import errno
import os
import signal
import subprocess
import sys

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
    assert "another process's" in missed(open_victim(ROOT, stranger))
    assert open_fds() == before
    assert child.poll() is None


@pytest.mark.parametrize(
    ("adj", "reason"),
    [
        (b"-1000\n", "oom_score_adj -1000 is never killed"),
        (b"300\n", "changed from 0 to 300"),
        (b"", "no number"),
    ],
)
def test_a_changed_oom_score_adj_is_missed(children: OwnChildren, adj: bytes, reason: str) -> None:
    child = children.start_ready()
    task = task_of(child.pid)._replace(oom_score_adj=0)
    before = open_fds()
    root = LyingRoot({f"proc/{child.pid}/oom_score_adj": adj})
    assert reason in missed(open_victim(root, task))
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
    killed, refused = kill_companions(root, companions)
    assert isinstance(killed, Victim)
    os.close(killed.pidfd)
    assert child.wait() == -signal.SIGKILL
    assert missed(refused) == "oom_score_adj -1000 is never killed"
    assert refused.why == "oom_group"
    assert spared.poll() is None


def test_a_torn_stat_is_missed(children: OwnChildren) -> None:
    child = children.start_ready()
    root = LyingRoot({f"proc/{child.pid}/stat": b"1 (x) S 1"})
    assert "cannot be checked again" in missed(open_victim(root, task_of(child.pid)))
    assert child.poll() is None


def test_what_turned_out_to_be_a_kernel_thread_is_missed(children: OwnChildren) -> None:
    child = children.start_ready()

    def with_pf_kthread(stat: bytes) -> bytes:
        fields = stat.split(b" ")
        fields[8] = str(int(fields[8]) | PF_KTHREAD).encode()
        return b" ".join(fields)

    root = LyingRoot({f"proc/{child.pid}/stat": with_pf_kthread})
    assert missed(open_victim(root, task_of(child.pid))) == "a kernel thread is never killed"
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
    assert missed(open_victim(ROOT, task)) == reason
    (end,) = kill_companions(ROOT, [Companion(task, "sharing_mm")])
    assert missed(end) == reason


@pytest.mark.usefixtures("no_signals")
def test_a_recorded_tree_kills_nobody(tmp_path: os.PathLike[str]) -> None:
    root = WritableRoot(os.fspath(tmp_path))
    assert missed(open_victim(root, Task(99, 0))) == "this is not the live machine"


def test_a_process_that_is_gone_is_missed(children: OwnChildren) -> None:
    child = children.start_ready()
    task = task_of(child.pid)
    child.kill()
    child.wait()
    assert missed(open_victim(ROOT, task)).startswith("gone before the signal")


def test_a_process_that_goes_after_the_check_is_missed_and_let_go(children: OwnChildren) -> None:
    before = open_fds()
    child = children.start_ready()
    victim = opened(task_of(child.pid))
    child.kill()
    child.communicate()
    assert missed(kill(ROOT, victim)) == "gone before the signal"
    assert open_fds() == before


def test_eperm_is_an_answer(children: OwnChildren, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = opened(task_of(children.start_ready().pid))
    monkeypatch.setattr(syscalls, "pidfd_send_signal", lambda *_: -errno.EPERM)
    assert missed(kill(ROOT, victim)) == "SIGKILL refused: EPERM"


def test_no_descriptor_left_is_an_answer(
    children: OwnChildren, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(children.start_ready().pid)
    monkeypatch.setattr(syscalls, "pidfd_open", lambda _: -errno.EMFILE)
    assert missed(open_victim(ROOT, task)) == "pidfd_open: EMFILE"


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
    assert missed(kill(root, victim)) == "oom_score_adj -1000 is never killed"
    assert child.poll() is None


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
    room = ("futile", "kmsg", "oom_kill_process", "oom_reaper", "panic", "protect", "thaw")
    imports = "".join(f"import oomd.effects.{name}\n" for name in (*room, "syscalls", "victims"))
    # sys.path instead of -m and site: those load modules of their own.
    source = f"import sys\nsys.path[:0] = {sys.path!r}\n{imports}print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", source], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "oomd.effects.oom_kill_process" in loaded
    assert not banned & set(loaded)
