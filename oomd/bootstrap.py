"""The first act of another interpreter: to be an ordinary process again, then to run a module.

``python -I bootstrap.py MODULE NICE DATA_BYTES PARENT ARG...``, started by :mod:`oomd.helpers`.
The sentinel is exempt from OOM kills, ahead of others and unbounded; none of that is inherited.
A script of its own, so that ``ps`` names what runs.
"""

import os
import resource
import sys
from runpy import run_module

PR_SET_PDEATHSIG, SIGKILL = 1, 9


def be_ordinary(nice: str, data_bytes: int) -> None:
    """No longer exempt; ``nice`` may be empty: ours. ``data_bytes`` -1: no limit."""
    try:
        if nice:
            os.setpriority(os.PRIO_PROCESS, 0, int(nice))
    except OSError:
        # Run by hand, nobody may become less nice.
        pass
    try:
        with open("/proc/self/oom_score_adj", "w") as adj:
            adj.write("0")
    except OSError:
        pass
    # The guard's own, see the unit.
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    limit_data(data_bytes, data_bytes)


def limit_data(soft_bytes: int, hard_bytes: int) -> None:
    """Set RLIMIT_DATA (-1: none), or as much of it as a lower limit of the caller's leaves."""
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (soft_bytes, hard_bytes))
    except ValueError:
        # Without CAP_SYS_RESOURCE nobody raises what his shell, or a unit, has lowered.
        _, highest = resource.getrlimit(resource.RLIMIT_DATA)
        unlimited = soft_bytes == resource.RLIM_INFINITY
        soft_bytes = highest if unlimited else min(soft_bytes, highest)
        resource.setrlimit(resource.RLIMIT_DATA, (soft_bytes, highest))


def end_with(parent: int) -> None:
    """Be killed when the thread that started us ends: prctl(2), PR_SET_PDEATHSIG."""
    from oomd.libc import function  # noqa: PLC0415  only what ends with its parent pays for it

    function("prctl", 5)(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # It ended before we asked.
        os._exit(1)


def main() -> None:
    """Does that, and runs the module."""
    module, nice, data_bytes, parent = sys.argv[1:5]
    del sys.argv[1:5]
    be_ordinary(nice, int(data_bytes))
    # -I keeps it from finding the package by itself.
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if int(parent):
        end_with(int(parent))
    run_module(module, run_name="__main__", alter_sys=False)


if __name__ == "__main__":
    main()
