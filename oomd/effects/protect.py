"""What the sentinel does for itself at start-up, so that it is there when memory is not.

Each function does one thing and returns one line on what it achieved, for the log; none
raises: a guard that could not lock its memory is still a guard.
"""

import errno
import gc
import resource

from oomd.effects import syscalls
from oomd.mm_types import OOM_SCORE_ADJ_MIN
from oomd.proc.root import ReadError, WritableRoot

__all__ = ["exempt_from_oom", "freeze_gc", "lock_memory", "raise_nofile"]

_OOM_SCORE_ADJ = "proc/self/oom_score_adj"


def _name(error: int) -> str:
    return errno.errorcode.get(error, str(error))


def lock_memory() -> str:
    """mlockall(2): no page of ours is swapped out or dropped. Needs CAP_IPC_LOCK."""
    failed = -syscalls.mlockall(onfault=True)
    if not failed:
        return "memory is locked as it is used (MCL_ONFAULT)"
    if failed == errno.EINVAL:
        # Before Linux 4.4: lock all that is mapped, which costs more but holds as well.
        failed = -syscalls.mlockall(onfault=False)
        if not failed:
            return "memory is locked whole (no MCL_ONFAULT here)"
    return f"memory is not locked: mlockall refused ({_name(failed)}), it needs CAP_IPC_LOCK"


def exempt_from_oom(root: WritableRoot) -> str:
    """oom_score_adj -1000 for this process: neither the kernel nor we choose it.

    Lowering it needs CAP_SYS_RESOURCE (fs/proc/base.c, ``__set_oom_adj()``: EACCES). Children
    inherit it, so whatever the sentinel starts sets its own back to 0.
    """
    wanted = b"%d" % OOM_SCORE_ADJ_MIN
    try:
        if root.read_record(_OOM_SCORE_ADJ).strip() == wanted:
            return "oom_score_adj is -1000 already"
        root.write(_OOM_SCORE_ADJ, wanted)
    except ReadError as error:
        return f"oom_score_adj is not -1000: refused ({error.why}), it needs CAP_SYS_RESOURCE"
    return "oom_score_adj set to -1000"


def freeze_gc() -> str:
    """Collect once, move what lives out of the collector's sight, and switch it off.

    A collection walks every object and dirties it: a pause and page faults at the wrong time.
    The sentinel makes no reference cycles in its loop.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    return f"garbage collector off, {gc.get_freeze_count()} objects frozen"


def raise_nofile() -> str:
    """Raise the soft limit of open files to the hard one: a pidfd for each victim."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return f"open files: {soft}"
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        return f"open files: {soft}, raising it to {hard} failed ({error})"
    return f"open files: {hard}, raised from {soft}"
