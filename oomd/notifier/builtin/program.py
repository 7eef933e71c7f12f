"""Runs a program with a deadline, one at a time, and reads the end of what it writes."""

import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from typing import Final

from oomd.helpers import ended
from oomd.notifier.builtin.kept import Kept
from oomd.proc.root import ReadError, Root, WritableRoot

__all__ = ["Runner"]

# The end of the output; the rest is read and dropped.
TAIL_BYTES = 4096
# Once the program has ended: what its children may still write is not waited for.
DRAIN_BYTES = 1 << 20
# How often to look where the kernel has no pidfd.
LOOK_S = 0.005

_ENVIRONMENT: Final = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


class Runner:
    """Whoever has it runs one program at a time.

    A program that is running when its worker is killed runs on until the next worker ends it.
    """

    def __init__(self, root: WritableRoot, name: str) -> None:
        self._root = root
        self._kept = Kept(root, name)
        self._left: list[int] = []

    @property
    def busy(self) -> bool:
        """Something was killed and is not gone yet: ``reap()`` again, later."""
        return bool(self._left)

    def open(self) -> None:
        """End what the last worker has left running."""
        for line in self._kept.open():
            _end(self._root, line)
        self._kept.write([])

    def run(
        self, argv: Sequence[str], environment: Mapping[str, str], end: float
    ) -> tuple[int | None, bytes]:
        """Its exit status (negative: its signal) and the end of its output.

        None: it was still running at ``end``, ``time.monotonic()``, and was killed with all that it
        had started. Raises OSError: it cannot be started.
        """
        self.reap()
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        try:
            try:
                os.set_blocking(read_fd, False)
                pid = _spawn(argv, environment, write_fd)
            finally:
                os.close(write_fd)
            self._kept.write([f"{pid} {_starttime(self._root, pid)}"])
            status, output = _Run(pid, read_fd).wait(end)
        finally:
            os.close(read_fd)
            self._kept.write([])
        if status is None:
            # The group exists as long as we have not collected its leader.
            os.killpg(pid, signal.SIGKILL)
            self._left.append(pid)
            self.reap()
        return status, output

    def reap(self) -> None:
        """Collect what was killed."""
        for pid in tuple(self._left):
            if ended(pid) is not None:
                self._left.remove(pid)

    def close(self) -> None:
        """What was killed belongs to init from now on."""
        self.reap()
        self._kept.close()


def _spawn(argv: Sequence[str], environment: Mapping[str, str], output_fd: int) -> int:
    actions: list[tuple[int, int, str, int, int] | tuple[int, int, int]] = [
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, output_fd, 1),
    ]
    # Like the worker itself it has oom_score_adj 0. Its group is its own: all of it can be
    # killed. What Python ignores is a program's default again.
    pid = os.posix_spawn(
        argv[0],
        list(argv),
        {**_ENVIRONMENT, **environment},
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
            status = ended(self._pid)
            if is_open and not self._read(DRAIN_BYTES):
                poll.unregister(self._read_fd)
                is_open = False
            left_s = end - time.monotonic()
            if status is not None or left_s <= 0:
                return status, self._tail
            poll.poll((left_s if pidfd >= 0 else min(left_s, LOOK_S)) * 1000)
