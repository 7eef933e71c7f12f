"""What the sentinel does for itself at start-up, so that it is there when memory is not.

Each function does one thing and returns one line on what it achieved, for the log; none
raises: a guard that could not lock its memory is still a guard.
"""

import errno
import gc
import os
import resource

from oomd import libc
from oomd.effects import syscalls
from oomd.mm_types import OOM_SCORE_ADJ_MIN
from oomd.proc.root import ReadError, WritableRoot
from oomd.typed import Iterator

__all__ = [
    "be_favoured",
    "be_realtime",
    "exempt_from_oom",
    "freeze_gc",
    "keep_heap",
    "lock_memory",
    "raise_nofile",
    "stay_alive",
    "touch_spare",
]

# malloc.h.
_M_TRIM_THRESHOLD = -1
_NEVER_BYTES = 1 << 30

# What a storm's records and lines take on top of what the rehearsal took, in objects of up to 512
# bytes (which are the interpreter's own) and larger (which are malloc(3)'s).
SPARE_BYTES = 64 << 10
_SPARE_OBJECT_BYTES = 400
_SPARE_BLOCK_BYTES = 32 << 10

_OOM_SCORE_ADJ = "proc/self/oom_score_adj"
_NICEST = -20


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


def be_realtime() -> str:
    """SCHED_RR, the lowest of its priorities, for this thread alone: what it starts is ordinary.

    To the allocator that is worth more than any niceness: a real-time task may use a part of what
    is kept below the min watermark (mm/page_alloc.c, ``gfp_to_alloc_flags()``), where everybody
    else has to reclaim first. On a machine that thrashes, one page for a file to be opened took a
    second otherwise. Needs RLIMIT_RTPRIO or CAP_SYS_NICE.
    """
    try:
        policy = os.SCHED_RR | os.SCHED_RESET_ON_FORK
        os.sched_setscheduler(0, policy, os.sched_param(1))
    except OSError as error:
        # With CONFIG_RT_GROUP_SCHED a control group has no share of it by default.
        return f"no real-time priority ({_name(error.errno or 0)}): waits for memory like others"
    return "real-time priority 1 (SCHED_RR): may use a part of the kernel's reserve"


def be_favoured() -> str:
    """Real time where there is a processor for the others as well; on the only one, niceness -20.

    A real-time guard on the only one keeps everybody waiting while it reads, and worse: where it
    has to wait for memory itself, it keeps the processor from the victim whose end gives memory
    back. It was seen to stand in the allocator for 1.8 s, until the kernel's throttling of
    real-time tasks (sched(7)) ended that. With this niceness it has nine parts in ten of the
    processor among nine others in its control group, and with the unit's CPUWeight= as much against
    each slice.
    """
    if os.cpu_count() != 1:
        return be_realtime()
    try:
        os.setpriority(os.PRIO_PROCESS, 0, _NICEST)
    except OSError as error:
        return f"one processor, and no niceness {_NICEST} ({_name(error.errno or 0)})"
    return f"one processor: niceness {_NICEST}, so that others have a part of it"


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


def keep_heap() -> str:
    """Give back what the start has used, and from now on nothing: mallopt(3), M_TRIM_THRESHOLD.

    A page that was given back is a page fault when it is needed again, and that waits for reclaim
    like everybody's.
    """
    try:
        libc.function("malloc_trim", 1)(0)
        done: int = libc.function("mallopt", 2)(_M_TRIM_THRESHOLD, _NEVER_BYTES)
    except OSError:
        # Another C library.
        done = 0
    return "freed memory is kept" if done else "freed memory is given back: no mallopt"


def touch_spare() -> None:
    """More memory than was needed so far: taken, written to, let go of, and so there."""
    count = SPARE_BYTES // (_SPARE_OBJECT_BYTES + 48)
    small = [bytes(_SPARE_OBJECT_BYTES) for _ in range(count)]
    large = [bytes(_SPARE_BLOCK_BYTES) for _ in range(SPARE_BYTES // _SPARE_BLOCK_BYTES)]
    del small, large


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


def stay_alive(root: WritableRoot) -> Iterator[str]:
    """What comes before all else."""
    yield exempt_from_oom(root)
    yield raise_nofile()
    yield lock_memory()
    yield be_favoured()
