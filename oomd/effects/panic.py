"""``panic()``: the kernel's words, then what the config says shall happen."""

import errno

from oomd.effects import doors, syscalls
from oomd.effects.kmsg import KERN_EMERG, KERN_WARNING, kmsg_line
from oomd.proc.root import ReadError, WritableRoot
from oomd.typed import Callable, Literal

__all__ = ["PanicAction", "panic"]

PanicAction = Literal["sysrq", "reboot", "defer"]
"""``sysrq``: crash the kernel, so that kdump sees it and ``kernel.panic`` applies.
``reboot``: at once, no crash dump. ``defer``: say it and leave it to the kernel."""


def _write(root: WritableRoot, path: str, data: bytes) -> str:
    try:
        doors.write(root, path, data)
    except ReadError as error:
        return str(error)
    return ""


def panic(
    root: WritableRoot,
    message: str,
    action: PanicAction,
    reboot: Callable[[], int] = syscalls.reboot,
) -> str:
    """Say ``message`` in the kernel's log, at KERN_EMERG, and do ``action``.

    ``defer`` says it as a warning and does nothing else. ``/proc/sysrq-trigger`` obeys root
    whatever ``kernel.sysrq`` says (Documentation/admin-guide/sysrq.rst). The log is opened
    for this alone: the kernel counts its rate limit for each open file. Nothing is synced,
    sync(2) can wait for ever on a sick machine.

    Returns only when the machine goes on, and says in words what was done or refused.
    """
    level = KERN_WARNING if action == "defer" else KERN_EMERG
    unsaid = _write(root, doors.KMSG, kmsg_line(level, message))
    said = f"its words could not be written: {unsaid}" if unsaid else "its words are in kmsg"
    if action == "defer":
        return f"panic left to the kernel, {said}"
    refused = _write(root, doors.SYSRQ_TRIGGER, b"c" if action == "sysrq" else b"b")
    if not refused:
        return f"panic by sysrq-trigger asked for, {said}"
    # Only a live machine is rebooted, never the one that a recorded tree is read on.
    if action == "reboot" and root.live:
        error = -reboot()
        return f"reboot refused: {refused}, {errno.errorcode.get(error, error)}; {said}"
    return f"panic refused: {refused}; {said}"
