"""Triggers of pressure stall information: the kernel wakes up who waits for one."""

import errno
import os

from oomd.proc.root import ReadError, Root
from oomd.typed import NamedTuple

__all__ = ["Trigger", "open_trigger"]

# Without CAP_SYS_RESOURCE a trigger's window must be a multiple of this (kernel/sched/psi.c).
UNPRIVILEGED_WINDOW_MS = 2000


class Trigger(NamedTuple):
    """A PSI trigger that the kernel took."""

    fd: int
    window_ms: int


def open_trigger(root: Root, path: str, kind: str, stall_ms: int, window_ms: int) -> Trigger | str:
    """Ask for a wake-up when ``kind`` (some, full) stalls last ``stall_ms`` in ``window_ms``.

    The share is kept where the kernel only grants longer windows. Returns why not, in words,
    where it grants none. Documentation/accounting/psi.rst.
    """
    unprivileged_ms = -(-window_ms // UNPRIVILEGED_WINDOW_MS) * UNPRIVILEGED_WINDOW_MS
    reason = ""
    for window in dict.fromkeys((window_ms, unprivileged_ms)):
        stall_us = max(1, stall_ms * 1000 * window // window_ms)
        try:
            fd = root.open(path, os.O_RDWR | os.O_NONBLOCK)
        except ReadError as error:
            return str(error)
        try:
            # The kernel overwrites the last byte, so there has to be one to spare.
            os.write(fd, f"{kind} {stall_us} {window * 1000}\n".encode())
        except OSError as error:
            os.close(fd)
            reason = f"{path}: {errno.errorcode.get(error.errno or 0, str(error.errno))}"
            continue
        return Trigger(fd, window)
    return reason
