"""The processes that the agent starts: one thread watches them all, the others wait for it."""

import os
import re
import select
import signal
import threading
from collections.abc import Callable, Sequence

__all__ = ["Child", "Children", "run", "wait_until_gone"]

READ_BYTES = 65536

Handler = Callable[[], None]


class Child:
    """A process with what it has written so far. Its fields change under `Children.changed`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.stdout = bytearray()
        self.stderr = bytearray()
        self.returncode: int | None = None


class Children:
    """Starts processes and keeps what they write, so that none ever blocks on a full pipe."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._by_pid: dict[int, Child] = {}
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._thread = threading.Thread(target=self._watch, name="children", daemon=True)
        self._thread.start()

    def start(self, argv: Sequence[str], oom_score_adj: int) -> Child:
        """Starts `argv` in a session of its own, with nothing to read."""
        out, out_end = os.pipe()
        err, err_end = os.pipe()
        try:
            child = Child(_spawn(argv, oom_score_adj, out_end, err_end))
        except OSError:
            os.close(out)
            os.close(err)
            raise
        finally:
            os.close(out_end)
            os.close(err_end)
        with self.changed:
            self._by_pid[child.pid] = child
        pipes = [(out, self._watch_pipe(out, child.stdout))]
        pipes.append((err, self._watch_pipe(err, child.stderr)))
        pidfd = os.pidfd_open(child.pid)
        self._watch_fd(pidfd, lambda: self._reap(child, pidfd, pipes))
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
            # One at a time: a handler may close what a second event in hand would be about.
            ((fd, _events),) = self._epoll.poll(maxevents=1)
            self._handlers[fd]()

    def _watch_fd(self, fd: int, handler: Handler) -> None:
        self._handlers[fd] = handler
        self._epoll.register(fd, select.EPOLLIN)

    def _unwatch(self, fd: int) -> None:
        self._epoll.unregister(fd)
        del self._handlers[fd]
        os.close(fd)

    def _watch_pipe(self, fd: int, kept: bytearray) -> Handler:
        os.set_blocking(fd, False)

        def drain() -> None:
            self._drain(fd, kept)

        self._watch_fd(fd, drain)
        return drain

    def _drain(self, fd: int, kept: bytearray) -> None:
        """Takes what the pipe holds. It stays open for what the child left in the background."""
        while True:
            try:
                data = os.read(fd, READ_BYTES)
            except BlockingIOError:
                return
            if not data:
                self._unwatch(fd)
                return
            with self.changed:
                kept += data
                self.changed.notify_all()

    def _reap(self, child: Child, pidfd: int, pipes: list[tuple[int, Handler]]) -> None:
        # It has written all it ever will: read that first, so that who waits finds it. A pipe that
        # the child closed long ago may have given its number to somebody else's descriptor.
        for fd, drain in pipes:
            if self._handlers.get(fd) is drain:
                drain()
        self._unwatch(pidfd)
        with self.changed:
            _, status = os.waitpid(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.changed.notify_all()


def _spawn(argv: Sequence[str], oom_score_adj: int, stdout: int, stderr: int) -> int:
    """Not subprocess: it takes long to load, and this has no copy of the locked memory to make.

    `launch` sets the score, which would otherwise be this process's own.
    """
    return os.posix_spawn(
        "/usr/local/bin/launch",
        ["launch", str(oom_score_adj), *argv],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_DUP2, stderr, 2),
        ],
        setsid=True,
        # Python ignores these, and its children would.
        setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
    )


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
    try:
        returncode = children.wait(child, timeout_s)
    except TimeoutError:
        children.kill(child, signal.SIGKILL, group=True)
        written = bytes(child.stdout + child.stderr)[-500:].decode(errors="replace")
        message = f"{argv} killed after {timeout_s:g} s, it wrote: {written!r}"
        raise TimeoutError(message) from None
    finally:
        children.forget(child)
    return returncode, bytes(child.stdout), bytes(child.stderr)
