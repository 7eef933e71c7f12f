"""kcmp(2): do two tasks have the same mm? The one reader that calls the C library."""

import os
import sys

from oomd import libc
from oomd.typed import Final

__all__ = ["same_mm"]

_KCMP_VM: Final = 1

# __NR_kcmp by uname -m; 272 is the number in asm-generic/unistd.h.
_NR_KCMP: Final = {
    "x86_64": 312,
    "aarch64": 272,
    "riscv64": 272,
    "loongarch64": 272,
    "ppc64": 354,
    "ppc64le": 354,
    "s390x": 343,
}

# A 32-bit interpreter on a 64-bit kernel has other numbers: it goes without.
_NR: Final = _NR_KCMP.get(os.uname().machine) if sys.maxsize > 2**32 else None

_syscall = libc.function("syscall", 6, libc.CLong)


def same_mm(pid_a: int, pid_b: int) -> bool | None:
    """KCMP_VM of two processes or threads. None: EPERM, ESRCH, ENOSYS, or no number for this CPU.

    Needs PTRACE_MODE_READ on both and CONFIG_KCMP; takes their ``exec_update_lock`` (older
    kernels: ``cred_guard_mutex``) and so can wait behind an exec.
    """
    if _NR is None:
        return None
    answer: int = _syscall(_NR, pid_a, pid_b, _KCMP_VM, 0, 0)
    # 0: equal; 1, 2, 3: not equal, in an order of no use to us.
    return None if answer < 0 else answer == 0
