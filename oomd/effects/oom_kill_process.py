"""``__oom_kill_process()``: SIGKILL to one process, and to those that die with it.

Here and nowhere else in oomd is a signal sent to a process that it did not start. All
refusals and errors are values: there is nobody to catch an exception in the storm.
"""

import errno
import os
import time

from oomd.effects import syscalls
from oomd.lean import signal
from oomd.mm_types import OOM_SCORE_ADJ_MIN, PF_KTHREAD, Task
from oomd.oom import Companion
from oomd.proc.errors import is_short
from oomd.proc.root import Gone, ReadError, WritableRoot
from oomd.proc.task import parse_stat
from oomd.typed import Callable, Iterable, NamedTuple

__all__ = ["Missed", "Victim", "kill", "kill_companions", "open_victim"]

# Companions beyond this many are not held open: a memory.oom.group may have thousands.
_HELD_OPEN = 128

# Reasons that the next attempt would find again, and the next decision would not know of.
_STAYS_SO = ("cannot be checked again", "SIGKILL refused", "pidfd_open")


class Victim(NamedTuple):
    """A process that was checked while it was held, and perhaps killed."""

    task: Task
    pidfd: int
    """-1 where the kernel has none, and for a companion that is not held open."""
    why: str = "chosen"
    """``chosen``, or a companion's ``sharing_mm`` or ``oom_group``."""
    killed_at_ns: int = 0
    """CLOCK_MONOTONIC. 0: no signal was sent."""


class Missed(NamedTuple):
    """A process that was not signalled, and nothing of it is held."""

    task: Task
    reason: str
    why: str = "chosen"
    refused: bool = False
    """It is there and cannot be killed: choosing it again would come to the same end."""
    short: bool = False
    """No descriptor was to be had for it."""


def _missed(task: Task, reason: str, why: str) -> Missed:
    short = is_short(reason)
    return Missed(
        task, reason, why, refused=reason.startswith(_STAYS_SO) and not short, short=short
    )


def _never(task: Task) -> str:
    # Whatever a decision says. 0 and negative pids mean groups of processes to kill(2).
    if task.pid <= 1:
        return "pid 1 is never killed" if task.pid == 1 else f"{task.pid} is not a process"
    if task.pid == os.getpid():
        return "oomd does not kill itself"
    if task.flags & PF_KTHREAD:
        return "a kernel thread is never killed"
    # Unlike the kernel: mainline kills the victim's sharers whatever their oom_score_adj.
    if task.oom_score_adj <= OOM_SCORE_ADJ_MIN:
        return "oom_score_adj -1000 is never killed"
    return ""


def _changed(root: WritableRoot, task: Task, *, adj_decided: bool) -> str:
    # Why this is no longer the process that was decided on; "" if it is. Two reads, of files
    # that take neither the mmap lock nor a global one.
    try:
        stat = parse_stat(root.read_record(f"proc/{task.pid}/stat"))
        adj = int(root.read_record(f"proc/{task.pid}/oom_score_adj"))
    except Gone:
        return "gone before the signal"
    except ReadError as error:
        return f"cannot be checked again: {error}"
    except ValueError:
        return "cannot be checked again: oom_score_adj is no number"
    if stat.starttime_ticks != task.starttime_ticks:
        return "gone before the signal, its pid is another process's now"
    refusal = _never(task._replace(flags=stat.flags, oom_score_adj=adj))
    if refusal:
        return refusal
    if adj_decided and adj != task.oom_score_adj:
        return f"oom_score_adj changed from {task.oom_score_adj} to {adj}: decide again"
    return ""


def open_victim(root: WritableRoot, task: Task, why: str = "chosen") -> Victim | Missed:
    """Hold the process with a pidfd, then check that it still is the one decided on.

    In this order, or its pid could become another process's between the two. On a kernel
    without pidfds (before 5.3) the victim comes back with ``pidfd`` -1, and ``kill()`` checks
    once more. A chosen one must also have kept its oom_score_adj; a companion was not
    chosen by it.
    """
    # A recorded tree tells of another machine's pids, or another hour's.
    refusal = _never(task) if root.live else "this is not the live machine"
    if refusal:
        return Missed(task, refusal, why, refused=True)
    pidfd = syscalls.pidfd_open(task.pid)
    if pidfd == -errno.ESRCH:
        return Missed(task, "gone before the signal", why)
    # EPERM is no error of pidfd_open(2): a seccomp filter older than the call answers so.
    if pidfd < 0 and pidfd not in (-errno.ENOSYS, -errno.EPERM):
        return _missed(task, f"pidfd_open: {errno.errorcode.get(-pidfd, -pidfd)}", why)
    changed = _changed(root, task, adj_decided=why == "chosen")
    if changed:
        if pidfd >= 0:
            os.close(pidfd)
        return _missed(task, changed, why)
    return Victim(task, max(pidfd, -1), why)


def _send_sigkill(root: WritableRoot, victim: Victim) -> str:
    # Returns why it could not be sent, or "".
    if victim.pidfd >= 0:
        failed = -syscalls.pidfd_send_signal(victim.pidfd, signal.SIGKILL)
    else:
        changed = _changed(root, victim.task, adj_decided=victim.why == "chosen")
        if changed:
            return changed
        try:
            os.kill(victim.task.pid, signal.SIGKILL)
            failed = 0
        except OSError as error:
            failed = error.errno or errno.EIO
    if failed == errno.ESRCH:
        return "gone before the signal"
    return f"SIGKILL refused: {errno.errorcode.get(failed, failed)}" if failed else ""


def kill(
    root: WritableRoot, victim: Victim, clock: Callable[[], int] = time.monotonic_ns
) -> Victim | Missed:
    """SIGKILL. The victim with its time of death; or why not, and the pidfd is closed.

    A stopped process dies of it, as does one in a cgroup v2 freezer; see ``thaw()`` for v1.
    """
    failed = _send_sigkill(root, victim)
    if not failed:
        return victim._replace(killed_at_ns=clock())
    if victim.pidfd >= 0:
        os.close(victim.pidfd)
    return _missed(victim.task, failed, victim.why)


def _let_go_of_one(ends: list[Victim | Missed]) -> bool:
    # To kill the next is worth more than to see the end of one that has been killed.
    for number, end in enumerate(ends):
        if isinstance(end, Victim) and end.pidfd >= 0:
            os.close(end.pidfd)
            ends[number] = end._replace(pidfd=-1)
            return True
    return False


def kill_companions(
    root: WritableRoot,
    companions: Iterable[Companion],
    clock: Callable[[], int] = time.monotonic_ns,
) -> tuple[Victim | Missed, ...]:
    """SIGKILL to each that shares the victim's mm or its ``memory.oom.group``.

    After the victim's own SIGKILL, since finding them takes kcmp(2) or cgroup files. Those
    whom the policy spares are not in ``companions``; what is never killed is spared here too.
    """
    ends: list[Victim | Missed] = []
    held = 0
    for companion in companions:
        end = open_victim(root, companion.task, companion.why)
        if isinstance(end, Missed) and end.short and _let_go_of_one(ends):
            held -= 1
            end = open_victim(root, companion.task, companion.why)
        if isinstance(end, Victim):
            end = kill(root, end, clock)
        if isinstance(end, Victim) and end.pidfd >= 0:
            held += 1
            if held > _HELD_OPEN:
                os.close(end.pidfd)
                end = end._replace(pidfd=-1)
        ends.append(end)
    return tuple(ends)
