"""Short-lived helpers: what needs a comfortable library runs in a process of its own.

Spawned before the storm or after it, never in between, and never waited for: the sentinel
polls what they write and collects them when they are done.
"""

import os
import signal
import sys
import time

__all__ = ["Helpers"]

# How long a helper may take, on a machine that has just been through a storm.
DEADLINE_S = 60.0

_PACKAGE_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# The helper's first act: to be an ordinary process again, neither exempt nor ahead of others,
# with a bound on what it may take.
# It is handed the package's folder, since -I keeps it from finding it by itself.
_BOOTSTRAP = """
import os, resource, sys
os.nice(40)
try:
    with open("/proc/self/oom_score_adj", "w") as adj: adj.write("0")
except OSError: pass
resource.setrlimit(resource.RLIMIT_DATA, (268435456, 268435456))
sys.path.insert(0, sys.argv.pop(1))
from runpy import run_module
run_module(sys.argv.pop(1), run_name="__main__", alter_sys=False)
"""


class Helpers:
    """Starts helpers and collects them."""

    def __init__(self) -> None:
        self._running: dict[int, float] = {}

    def start(self, module: str, *args: str, stdin: int = -1, stdout: int = -1) -> int:
        """Run ``python -m module args`` in a fresh interpreter; its pid. Raises OSError.

        ``stdin`` and ``stdout`` become the helper's; otherwise /dev/null and our own stderr.
        """
        actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
        if stdin >= 0:
            actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
        else:
            actions.append((os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0))
        actions.append((os.POSIX_SPAWN_DUP2, stdout if stdout >= 0 else 2, 1))
        # -I: neither the environment nor the current folder chooses what it imports. Unlike the
        # sentinel it has site, and so the distribution's packages.
        argv = [sys.executable, "-I", "-c", _BOOTSTRAP, _PACKAGE_ROOT, module, *args]
        # posix_spawn(3) shares our memory until the exec: nothing locked is copied.
        pid = os.posix_spawn(
            sys.executable,
            argv,
            dict(os.environ),
            file_actions=actions,
            setsigmask=(),
            setpgroup=0,
        )
        self._running[pid] = time.monotonic()
        return pid

    def collect(self) -> tuple[tuple[int, int], ...]:
        """The helpers that have ended since the last call: (pid, exit code). Never waits.

        One that takes too long (a dead file server, a stuck journal) is ended.
        """
        ended = []
        for pid, started in tuple(self._running.items()):
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                # Somebody else has collected it: how it ended is lost.
                done, status = pid, 1 << 8
            if done:
                del self._running[pid]
                ended.append((pid, os.waitstatus_to_exitcode(status)))
            elif time.monotonic() - started > DEADLINE_S:
                # Not collected yet, so the pid is still its own.
                os.kill(pid, signal.SIGKILL)
        return tuple(ended)
