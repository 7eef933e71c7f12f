"""Other interpreters: what needs a comfortable library runs in a process of its own.

Short-lived helpers, the worker, and the hosts of its plugins. Spawned before the storm or after
it, never in between, and never waited for: whoever spawns them polls what they write and
collects them when they are done.
"""

import os
import sys
import time

from oomd.lean import signal
from oomd.typed import Iterable, Sequence

__all__ = ["HELPER_KIB", "Helpers", "ended", "spawn"]

# How long a helper may take, on a machine that has just been through a storm.
DEADLINE_S = 60.0

_BOOTSTRAP = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bootstrap.py")

HELPER_KIB = 16 << 10
"""About what a helper takes of the machine's memory."""

# A helper's bound on what it may take.
DATA_BYTES = 256 << 20


def spawn(
    module: str,
    args: Iterable[str],
    *,
    stdin: int = -1,
    stdout: int = -1,
    inherited: Sequence[int] = (),
    nice: int | None = None,
    data_bytes: int = DATA_BYTES,
    ends_with_us: bool = False,
) -> int:
    """Run ``python -m module args`` in a fresh interpreter, a process group of its own; its pid.

    ``stdin`` and ``stdout`` become its own; otherwise /dev/null and our stderr. It has the
    descriptors ``inherited``, by the same numbers. ``nice`` is its own (None: ours),
    ``data_bytes`` its RLIMIT_DATA. ``ends_with_us``: killed when the thread that spawns it ends
    (PR_SET_PDEATHSIG). Raises OSError.
    """
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
    if stdin >= 0:
        actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
    else:
        actions.append((os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0))
    actions.append((os.POSIX_SPAWN_DUP2, stdout if stdout >= 0 else 2, 1))
    parent = os.getpid() if ends_with_us else 0
    # -I: neither the environment nor the current folder chooses what it imports. Unlike the
    # sentinel it has site, and so the distribution's packages.
    head = [sys.executable, "-I", _BOOTSTRAP, module]
    argv = [*head, "" if nice is None else str(nice), str(data_bytes), str(parent), *args]
    try:
        for fd in inherited:
            os.set_inheritable(fd, True)
        # posix_spawn(3) shares our memory until the exec: nothing locked is copied.
        return os.posix_spawn(
            sys.executable,
            argv,
            dict(os.environ),
            file_actions=actions,
            setsigmask=(),
            setpgroup=0,
        )
    finally:
        for fd in inherited:
            os.set_inheritable(fd, False)


def ended(pid: int) -> int | None:
    """The exit code of a child that has ended (negative: the signal), None if it has not.

    Collects it, so ask no more afterwards. Never waits.
    """
    try:
        done, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        # Somebody else has collected it: how it ended is lost.
        return 1
    return os.waitstatus_to_exitcode(status) if done else None


class Helpers:
    """Starts helpers and collects them."""

    def __init__(self) -> None:
        self._running: dict[int, float] = {}

    def start(
        self, module: str, *args: str, stdin: int = -1, stdout: int = -1, nice: int = 19
    ) -> int:
        """Run ``python -m module args`` in a fresh interpreter; its pid. Raises OSError.

        ``stdin`` and ``stdout`` become the helper's; otherwise /dev/null and our own stderr.
        """
        pid = spawn(module, args, stdin=stdin, stdout=stdout, nice=nice)
        self._running[pid] = time.monotonic()
        return pid

    @property
    def idle(self) -> bool:
        """None runs."""
        return not self._running

    def collect(self) -> tuple[tuple[int, int], ...]:
        """The helpers that have ended since the last call: (pid, exit code). Never waits.

        One that takes too long (a dead file server, a stuck journal) is ended.
        """
        gone = []
        for pid, started in tuple(self._running.items()):
            exit_code = ended(pid)
            if exit_code is not None:
                del self._running[pid]
                gone.append((pid, exit_code))
            elif time.monotonic() - started > DEADLINE_S:
                # Not collected yet, so the pid is still its own.
                os.kill(pid, signal.SIGKILL)
        return tuple(gone)
