"""Waiting for a helper to end, as the daemon does but without its loop."""

import os
import select

from oomd.helpers import Helpers

__all__ = ["collect_one", "wait_readable"]

# Far beyond what a helper takes: a test that runs into it has failed.
_PATIENCE_MS = 60_000


def wait_readable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(_PATIENCE_MS), "nothing came"


def collect_one(helpers: Helpers, pid: int) -> int:
    """Wait until the helper has ended, then collect it; its exit code."""
    pidfd = os.pidfd_open(pid)
    try:
        wait_readable(pidfd)
    finally:
        os.close(pidfd)
    ((ended, exit_code),) = helpers.collect()
    assert ended == pid
    return exit_code
