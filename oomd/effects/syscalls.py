"""System calls that Python 3.11 lacks, through the C library.

Every function returns the kernel's own answer, a negative errno on failure: on the way to
a kill an error is a value, never an exception. pidfd_open(2) and pidfd_send_signal(2) are
called here too and not through ``os`` and ``signal``, which leave them out when Python
was built on an older system than the one it runs on.
"""

import errno
import os

from oomd import libc
from oomd.typed import NamedTuple

__all__ = [
    "Abilities",
    "describe",
    "mlockall",
    "pidfd_open",
    "pidfd_send_signal",
    "probe",
    "process_mrelease",
    "reboot",
]

# include/uapi/asm-generic/unistd.h. Calls as new as these have one number on x86_64,
# aarch64 and every other architecture but alpha and mips.
_NR_PIDFD_SEND_SIGNAL = 424
_NR_PIDFD_OPEN = 434
_NR_PROCESS_MRELEASE = 448

# include/uapi/asm-generic/mman.h (x86, arm64).
_MCL_CURRENT = 1
_MCL_FUTURE = 2
_MCL_ONFAULT = 4

# include/uapi/linux/reboot.h, as glibc's RB_AUTOBOOT.
_LINUX_REBOOT_CMD_RESTART = 0x01234567

_syscall = libc.function("syscall", 5, libc.CLong)
_mlockall = libc.function("mlockall", 1)
_reboot = libc.function("reboot", 1)


def _call(number: int, first: int, second: int = 0, third: int = 0, fourth: int = 0) -> int:
    result: int = _syscall(number, first, second, third, fourth)
    return -libc.get_errno() if result < 0 else result


def pidfd_open(pid: int) -> int:
    """pidfd_open(2), Linux 5.3: a close-on-exec descriptor that means this process for good.

    Or -ESRCH (no such process), -EINVAL (a thread, not a process), -EMFILE, -ENOSYS.
    """
    return _call(_NR_PIDFD_OPEN, pid)


def pidfd_send_signal(pidfd: int, signum: int) -> int:
    """pidfd_send_signal(2), Linux 5.1: 0, or -ESRCH (reaped already), -EPERM, -ENOSYS."""
    return _call(_NR_PIDFD_SEND_SIGNAL, pidfd, signum)


def process_mrelease(pidfd: int) -> int:
    """process_mrelease(2), Linux 5.15: take a dying process's memory for it.

    0 when it is taken; -EINVAL when the target, or a process that shares its mm, is not
    dying; -ESRCH when it has no mm left; -EAGAIN when only a part could be taken. Waits
    for the target's mmap lock: never from the thread that decides.
    """
    return _call(_NR_PROCESS_MRELEASE, pidfd)


def mlockall(*, onfault: bool = True) -> int:
    """mlockall(2) of what is mapped and what will be: 0, or -EPERM, -ENOMEM, -EINVAL.

    With ``onfault`` (Linux 4.4, -EINVAL before) a page is locked when it is first used;
    without it every mapping is filled at once.
    """
    flags = _MCL_CURRENT | _MCL_FUTURE | (_MCL_ONFAULT if onfault else 0)
    return -libc.get_errno() if _mlockall(flags) < 0 else 0


def reboot() -> int:
    """reboot(2) at once, nothing synced. Returns only on failure: -EPERM."""
    return -libc.get_errno() if _reboot(_LINUX_REBOOT_CMD_RESTART) < 0 else 0


class Abilities(NamedTuple):
    """What this kernel can do, found by calling it: backports make versions lie."""

    pidfd: bool
    process_mrelease: bool


def probe() -> Abilities:
    """Try each call on this very process, which none of them harms."""
    pidfd = pidfd_open(os.getpid())
    if pidfd < 0:
        return Abilities(pidfd=False, process_mrelease=False)
    try:
        return Abilities(
            pidfd=pidfd_send_signal(pidfd, 0) == 0,
            # Present, and refuses because we are not dying. ENOSYS: absent; EPERM: a
            # container's seccomp filter.
            process_mrelease=process_mrelease(pidfd) == -errno.EINVAL,
        )
    finally:
        os.close(pidfd)


def describe(abilities: Abilities) -> str:
    """One line for the log: what is used, or what stands in for what is missing."""
    pidfd = (
        "kills through a pidfd"
        if abilities.pidfd
        else "no pidfd: start time and oom_score_adj are checked again right before kill(2)"
    )
    mrelease = (
        "process_mrelease takes a victim's memory"
        if abilities.process_mrelease
        else "no process_mrelease: a victim's memory returns when it has exited"
    )
    return f"{pidfd}; {mrelease}"
