"""Processes that a test starts itself: the only ones that anything here may signal."""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable

from oomd.effects import syscalls
from oomd.effects.oom_kill_process import Victim, kill, open_victim
from oomd.mm_types import Task
from oomd.proc.root import Root, WritableRoot
from oomd.proc.task import read_task

__all__ = [
    "LyingRoot",
    "OwnChildren",
    "allocate_mib",
    "has_exited",
    "killed",
    "open_fds",
    "task_of",
    "wait_exit",
]

_PAUSE = "import signal\nprint(flush=True)\nwhile True: signal.pause()\n"

# Another process in the same mm, as vfork(2) or a threading library of old makes one. It runs
# pause(3) itself, so that no Python of the shared interpreter runs twice; the first one stops, so
# that their sizes stay what they are.
_SHARE_MM = """
import ctypes, mmap, os, signal
libc = ctypes.CDLL(None)
stack = mmap.mmap(-1, 65536)
top = ctypes.addressof(ctypes.c_char.from_buffer(stack)) + 65536
libc.clone.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)
CLONE_VM, SIGCHLD = 0x100, 17
print(libc.clone(ctypes.cast(libc.pause, ctypes.c_void_p), top, CLONE_VM | SIGCHLD, 0), flush=True)
os.kill(os.getpid(), signal.SIGSTOP)
"""

# As a server preforks its workers: alike to the page, each with an mm of its own.
_PREFORK = """
import os, signal
pids = []
for _ in range(2):
    pids.append(os.fork())
    while not pids[-1]: signal.pause()
print(*pids, flush=True)
while True: signal.pause()
"""

_PTRACE_DETACH = 17
_PTRACE_SEIZE = 0x4206
_PTRACE_O_TRACEEXIT = 0x40
_PTRACE_EVENT_EXIT = 6

# Far beyond what an exit takes: a test that runs into it has failed.
_EXIT_MS = 60_000

_ptrace = ctypes.CDLL(None, use_errno=True).ptrace
_ptrace.argtypes = (ctypes.c_long,) * 4
_ptrace.restype = ctypes.c_long


def allocate_mib(mib: int) -> str:
    """Source of a child that holds this much memory."""
    return f"hog = bytearray(b'x') * ({mib} << 20)\n{_PAUSE}"


def task_of(pid: int) -> Task:
    root = Root()
    task = read_task(root, pid, root.page_size_bytes())
    assert task is not None
    return task


def has_exited(pidfd: int, timeout_ms: int = 0) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_ms))


def wait_exit(pidfd: int) -> None:
    assert has_exited(pidfd, _EXIT_MS), "still there"


def open_fds() -> set[str]:
    # The directory's own descriptor is closed again by the time this returns.
    return {fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}


class OwnChildren:
    """Starts children, knows them, and ends whoever is left."""

    def __init__(self) -> None:
        self._children: list[subprocess.Popen[str]] = []
        self._pidfds: list[int] = []
        self._traced: list[int] = []

    def start(self, source: str = _PAUSE) -> subprocess.Popen[str]:
        """A child that has run as far as its first line of output."""
        child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", source], stdout=subprocess.PIPE, text=True
        )
        self._children.append(child)
        return child

    def start_ready(self, source: str = _PAUSE) -> subprocess.Popen[str]:
        child = self.start(source)
        assert child.stdout is not None
        child.stdout.readline()
        return child

    def start_sharing_mm(self) -> tuple[int, int]:
        """Two processes with one mm, both at rest: the child, and the one that it cloned."""
        child = self.start(_SHARE_MM)
        assert child.stdout is not None
        sharer = int(child.stdout.readline())
        self.hold(sharer)
        os.waitid(os.P_PID, child.pid, os.WSTOPPED | os.WNOWAIT)
        # Not before it sleeps in pause(3) has it touched the last page that it will.
        while task_of(sharer).state != "S":
            os.sched_yield()
        return child.pid, sharer

    def start_preforked(self) -> tuple[int, int]:
        """Two processes that were forked one after the other, both at rest."""
        child = self.start(_PREFORK)
        assert child.stdout is not None
        first, second = map(int, child.stdout.readline().split())
        for pid in (first, second):
            self.hold(pid)
            while task_of(pid).state != "S":
                os.sched_yield()
        return first, second

    def start_stuck_dying(self, mib: int = 8) -> subprocess.Popen[str]:
        """A child with SIGKILL sent, stopped by its tracer (us) before it lets its mm go."""
        child = self.start_ready(allocate_mib(mib))
        self.hold_at_exit(child.pid)
        child.send_signal(signal.SIGKILL)
        self._wait_at_exit(child.pid)
        return child

    def hold_at_exit(self, pid: int) -> None:
        """A child of ours will stop before it lets its mm go."""
        assert _ptrace(_PTRACE_SEIZE, pid, 0, _PTRACE_O_TRACEEXIT) == 0
        self._traced.append(pid)

    def _wait_at_exit(self, pid: int) -> None:
        # A child that was stopped before has another stop to tell of.
        at_exit = signal.SIGTRAP | _PTRACE_EVENT_EXIT << 8
        stopped = None
        while stopped != at_exit:
            info = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WNOWAIT)
            stopped = info.si_status if info is not None else None

    def let_die(self, pid: int) -> None:
        """Let a child that is held at its exit, and was sent SIGKILL, finish it."""
        self._wait_at_exit(pid)
        self._traced.remove(pid)
        assert _ptrace(_PTRACE_DETACH, pid, 0, 0) == 0

    def hold(self, pid: int) -> int:
        """A pidfd of a process of ours, closed in the end."""
        pidfd = syscalls.pidfd_open(pid)
        assert pidfd >= 0
        self._pidfds.append(pidfd)
        return pidfd

    def end(self) -> None:
        for pid in list(self._traced):
            # Nobody has waited for it, so this pid can be nobody else's.
            os.kill(pid, signal.SIGKILL)
            self.let_die(pid)
        for pidfd in self._pidfds:
            syscalls.pidfd_send_signal(pidfd, signal.SIGKILL)
            os.close(pidfd)
        for child in self._children:
            # Popen waits for its own child, so that this pid can be nobody else's.
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()


class LyingRoot(WritableRoot):
    """The live machine, but for the files in ``lies``; remembers what was written, and
    writes nothing.
    """

    def __init__(self, lies: dict[str, bytes | Callable[[bytes], bytes]] | None = None) -> None:
        super().__init__("/")
        self.lies = lies or {}
        self.written: list[tuple[str, bytes]] = []

    def read_record(self, rel: str) -> bytes:
        lie = self.lies.get(rel)
        if lie is None:
            return super().read_record(rel)
        return lie if isinstance(lie, bytes) else lie(super().read_record(rel))

    def read_value(self, rel: str) -> bytes:
        return self.read_record(rel)

    def write(self, rel: str, data: bytes) -> None:
        self.written.append((rel, data))


def killed(task: Task) -> Victim:
    """A child of the test's own, once it has been sent SIGKILL."""
    root = WritableRoot()
    victim = open_victim(root, task)
    assert isinstance(victim, Victim)
    victim = kill(root, victim)
    assert isinstance(victim, Victim)
    return victim
