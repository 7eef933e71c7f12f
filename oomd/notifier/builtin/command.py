"""``command.NAME``: any program that can give memory back, with the deadline."""

import errno
import os
import re
import select
import signal
import time
from collections.abc import Sequence
from typing import Final

from oomd.notifier import Answer, OomEvent
from oomd.notifier.builtin.kept import Kept
from oomd.notifier.builtin.releaser import Quiet
from oomd.proc.root import ReadError, Root, WritableRoot

__all__ = ["Command", "parse_freed_bytes"]

# We answer a little before the deadline, not a little after it.
MARGIN_S = 0.01
# The end of the output, in which its last line is looked for; the rest is read and dropped.
TAIL_BYTES = 4096
# Once the program has ended: what its children may still write is not waited for.
DRAIN_BYTES = 1 << 20
# How often to look where the kernel has no pidfd, and how soon again after what would not die.
LOOK_S = 0.005
REAP_AGAIN_S = 1.0

_FREED: Final = re.compile(r"(\d{1,15}) ?(B|bytes|KiB|MiB|GiB)?", re.ASCII)
_UNITS: Final = {"B": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def parse_freed_bytes(output: bytes) -> int | None:
    """What the last line that is not empty says: ``123``, ``64 MiB``. None: it says nothing."""
    lines = output.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    found = _FREED.fullmatch(last)
    return int(found[1]) * _UNITS[found[2] or "B"] if found else None


class Command(Quiet):
    """Runs a program and believes its last line; the worker measures whether it is true.

    A program that is running when its worker is killed runs on until the next worker ends it.
    """

    def __init__(self, root: WritableRoot, name: str, *, argv: Sequence[str]) -> None:
        self.name = name
        self._root = root
        self._kept = Kept(root, name)
        self._argv = list(argv)
        self._left: list[int] = []
        """Killed and not yet gone."""

    def start(self) -> None:
        """Raises OSError: there is no such program, or it cannot be run."""
        program = self._argv[0]
        if not os.path.isabs(program):
            raise OSError(errno.EINVAL, f"{self.name}: {program!r} is not an absolute path")
        if not os.path.isfile(program):
            raise FileNotFoundError(errno.ENOENT, f"{self.name}: there is no program {program!r}")
        if not os.access(program, os.X_OK):
            raise PermissionError(errno.EACCES, f"{self.name}: {program!r} is not executable")
        for line in self._kept.open():
            _end(self._root, line)
        self._kept.write([])

    def _spawn(self, event: OomEvent, stdout_fd: int) -> int:
        left_s = max(0.0, event.deadline - time.monotonic())
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "OOMD_WANTED_BYTES": str(event.wanted_bytes),
            "OOMD_DEADLINE_MS": str(int(left_s * 1000)),
            "OOMD_REASON": event.reason,
            "OOMD_CONSTRAINT": event.constraint,
        }
        actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, stdout_fd, 1),
        ]
        # Like the worker itself it has oom_score_adj 0. Its group is its own: all of it can be
        # killed. What Python ignores is a program's default again.
        pid = os.posix_spawn(
            self._argv[0],
            self._argv,
            environment,
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
        )
        try:
            os.setpriority(os.PRIO_PROCESS, pid, 0)
        except OSError:
            # It has ended already.
            pass
        return pid

    def release(self, event: OomEvent) -> Answer:
        """What it says to have freed.

        Raises OSError (it cannot be started, or was killed at the deadline) or ReadError (it
        failed, or its last line says no number).
        """
        self._reap()
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                os.set_blocking(read_fd, False)
                pid = self._spawn(event, write_fd)
            finally:
                os.close(write_fd)
            self._kept.write([f"{pid} {_starttime(self._root, pid)}"])
            status, output = _Run(pid, read_fd).wait(event.deadline - MARGIN_S)
        finally:
            os.close(read_fd)
            self._kept.write([])
        if status is None:
            # The group exists as long as we have not collected its leader.
            os.killpg(pid, signal.SIGKILL)
            self._left.append(pid)
            self._reap()
            raise TimeoutError(f"{self._argv[0]} was still running at its deadline, and was killed")
        return self._judge(status, output)

    def _judge(self, status: int, output: bytes) -> int:
        if status != 0:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise ReadError(self._argv[0], how)
        freed_bytes = parse_freed_bytes(output)
        if freed_bytes is None:
            wanted = 'a number of bytes such as "1048576" or "64 MiB"'
            raise ReadError(self._argv[0], f"the last line of its output is not {wanted}")
        return freed_bytes

    def _reap(self) -> None:
        for pid in tuple(self._left):
            if _collect(pid) is not None:
                self._left.remove(pid)

    def calm(self, now: float) -> float | None:
        """Collect what was killed."""
        self._reap()
        return REAP_AGAIN_S if self._left else None

    def close(self) -> None:
        """What was killed belongs to init from now on."""
        self._reap()
        self._kept.close()


def _starttime(root: Root, pid: int) -> str:
    """When this process was started, in ticks (proc(5), field 22 of stat). Empty: it is gone."""
    try:
        fields = root.read(f"proc/{pid}/stat").rpartition(b")")[2].split()
    except ReadError:
        return ""
    return fields[19].decode("ascii", "replace") if len(fields) > 19 else ""


def _end(root: Root, line: str) -> None:
    """What a worker that was killed has left running, with its group, if it is still that one."""
    number, _, starttime = line.partition(" ")
    if not (number.isascii() and number.isdecimal() and len(number) < 11 and starttime):
        return
    pid = int(number)
    if pid > 1 and _starttime(root, pid) == starttime:
        try:
            os.killpg(pid, signal.SIGKILL)
        except OSError:
            # It has ended meanwhile.
            pass


def _collect(pid: int) -> int | None:
    """The exit status of a child (negative: its signal); None: it has not ended. Never waits."""
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        # Somebody else has collected it: how it ended is lost.
        return 255
    return os.waitstatus_to_exitcode(status) if done else None


class _Run:
    """Waits for one program, and reads what it writes meanwhile."""

    def __init__(self, pid: int, read_fd: int) -> None:
        self._pid = pid
        self._read_fd = read_fd
        self._tail = b""

    def _read(self, limit: int) -> bool:
        """Read what is there, or about ``limit`` bytes of it. Whether the other end is open."""
        while limit > 0:
            try:
                data = os.read(self._read_fd, 65536)
            except BlockingIOError:
                return True
            if not data:
                return False
            limit -= len(data)
            self._tail = (self._tail + data)[-TAIL_BYTES:]
        return True

    def wait(self, end: float) -> tuple[int | None, bytes]:
        """Its exit status (None: it was still running at ``end``) and the end of its output."""
        poll = select.poll()
        poll.register(self._read_fd, select.POLLIN)
        try:
            pidfd = os.pidfd_open(self._pid)
            poll.register(pidfd, select.POLLIN)
        except OSError:
            # Before Linux 5.3.
            pidfd = -1
        try:
            return self._watch(poll, pidfd, end)
        finally:
            if pidfd >= 0:
                os.close(pidfd)

    def _watch(self, poll: select.poll, pidfd: int, end: float) -> tuple[int | None, bytes]:
        is_open = True
        while True:
            status = _collect(self._pid)
            if is_open and not self._read(DRAIN_BYTES):
                poll.unregister(self._read_fd)
                is_open = False
            left_s = end - time.monotonic()
            if status is not None or left_s <= 0:
                return status, self._tail
            poll.poll((left_s if pidfd >= 0 else min(left_s, LOOK_S)) * 1000)
