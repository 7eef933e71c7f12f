"""The processes that the agent starts: one thread watches them all, the others wait for it."""

import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from typing import IO

__all__ = ["Child", "Children", "wait_until_gone"]

READ_BYTES = 65536


class Child:
    """A process with what it has written so far. Its fields change under `Children.changed`."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen
        self.pid = popen.pid
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.returncode: int | None = None


class Children:
    """Starts processes and keeps what they write, so that none ever blocks on a full pipe."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._by_pid: dict[int, Child] = {}
        self._epoll = select.epoll()
        self._handlers: dict[int, Callable[[], None]] = {}
        self._thread = threading.Thread(target=self._watch, name="children", daemon=True)
        self._thread.start()

    def start(self, argv: Sequence[str], oom_score_adj: int) -> Child:
        """Starts `argv` in a session of its own.

        choom sets the score between fork and exec; a Python hook there would make subprocess
        copy this whole locked process instead of using vfork.
        """
        popen = subprocess.Popen(
            ["/usr/bin/choom", "-n", str(oom_score_adj), "--", *argv],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
        child = Child(popen)
        with self.changed:
            self._by_pid[child.pid] = child
        assert popen.stdout is not None and popen.stderr is not None
        self._watch_stream(popen.stdout, child.stdout)
        self._watch_stream(popen.stderr, child.stderr)
        self._watch_exit(child)
        return child

    def get(self, pid: int) -> Child:
        with self.changed:
            if pid not in self._by_pid:
                raise ValueError(f"process {pid} was not started by the agent")
            return self._by_pid[pid]

    def forget(self, child: Child) -> None:
        with self.changed:
            del self._by_pid[child.pid]

    def wait(self, child: Child, timeout_s: float) -> int:
        """Returns the exit status (minus the signal, if one killed it), or raises TimeoutError."""
        with self.changed:
            if not self.changed.wait_for(lambda: child.returncode is not None, timeout_s):
                raise TimeoutError(f"process {child.pid} is still there after {timeout_s:g} s")
            assert child.returncode is not None
            return child.returncode

    def wait_line(self, child: Child, pattern: str, timeout_s: float) -> str:
        """Waits for a whole line on the child's stdout that `pattern` is found in."""
        regex = re.compile(pattern)

        def found() -> str | None:
            lines = child.stdout.decode(errors="replace").split("\n")[:-1]
            return next((line for line in lines if regex.search(line)), None)

        with self.changed:
            done = self.changed.wait_for(
                lambda: found() is not None or child.returncode is not None, timeout_s
            )
            line = found()
        if line is not None:
            return line
        state = f"ended with {child.returncode}" if done else f"is silent after {timeout_s:g} s"
        written = bytes(child.stdout + child.stderr)[-500:].decode(errors="replace")
        message = f"process {child.pid} {state}, no line has {pattern!r}: {written!r}"
        raise ValueError(message) if done else TimeoutError(message)

    def kill(self, child: Child, signal_number: int, *, group: bool = False) -> None:
        """Signals the child if it is not reaped yet, or its whole session's group."""
        with self.changed:
            # The watcher reaps under this lock, so that the pid cannot be another's by now.
            if child.returncode is None:
                (os.killpg if group else os.kill)(child.pid, signal_number)

    # --- the watching thread ---

    def _watch(self) -> None:
        while True:
            for fd, _events in self._epoll.poll():
                self._handlers[fd]()

    def _watch_stream(self, stream: IO[bytes], kept: bytearray) -> None:
        fd = stream.fileno()
        os.set_blocking(fd, False)
        self._handlers[fd] = lambda: self._read(stream, kept)
        self._epoll.register(fd, select.EPOLLIN)

    def _read(self, stream: IO[bytes], kept: bytearray) -> None:
        if _drain(stream, kept, self.changed):
            # Every writer has gone, grandchildren in the background too.
            self._unwatch(stream.fileno())
            stream.close()

    def _watch_exit(self, child: Child) -> None:
        pidfd = os.pidfd_open(child.pid)
        self._handlers[pidfd] = lambda: self._reap(child, pidfd)
        self._epoll.register(pidfd, select.EPOLLIN)

    def _reap(self, child: Child, pidfd: int) -> None:
        # It has written all it ever will: read that first, so that who waits finds it.
        for stream, kept in (
            (child.popen.stdout, child.stdout),
            (child.popen.stderr, child.stderr),
        ):
            if stream is not None and not stream.closed:
                _drain(stream, kept, self.changed)
        self._unwatch(pidfd)
        os.close(pidfd)
        with self.changed:
            child.returncode = child.popen.wait()
            self.changed.notify_all()

    def _unwatch(self, fd: int) -> None:
        self._epoll.unregister(fd)
        del self._handlers[fd]


def _drain(stream: IO[bytes], kept: bytearray, changed: threading.Condition) -> bool:
    """Takes what the pipe holds; says whether that was its end."""
    while True:
        data = stream.read(READ_BYTES)
        if not data:
            return data is not None
        with changed:
            kept += data
            changed.notify_all()


def wait_until_gone(pid: int, timeout_s: float) -> None:
    """Waits until any process, a child or not, has exited; one that never was has."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(timeout_s * 1000):
            raise TimeoutError(f"process {pid} is still there after {timeout_s:g} s")
    finally:
        os.close(pidfd)


def run(
    children: Children, argv: Sequence[str], oom_score_adj: int, timeout_s: float
) -> tuple[int, bytes, bytes]:
    """Runs a command to its end. If it takes too long its whole group is killed."""
    child = children.start(argv, oom_score_adj)
    deadline = time.monotonic() + timeout_s
    try:
        returncode = children.wait(child, timeout_s)
    except TimeoutError:
        children.kill(child, signal.SIGKILL, group=True)
        tail = bytes(child.stdout + child.stderr)[-500:].decode(errors="replace")
        took = time.monotonic() - deadline + timeout_s
        raise TimeoutError(f"{argv[0]} killed after {took:.0f} s, it wrote: {tail!r}") from None
    finally:
        children.forget(child)
    return returncode, bytes(child.stdout), bytes(child.stderr)
