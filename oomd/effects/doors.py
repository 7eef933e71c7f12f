"""Two files of the kernel's that ``oomd.service`` closes, and opens again elsewhere for us."""

from oomd.proc.root import ReadError, WritableRoot

__all__ = ["DOORS", "KMSG", "SYSRQ_TRIGGER", "write"]

KMSG = "dev/kmsg"
SYSRQ_TRIGGER = "proc/sysrq-trigger"

# BindPaths= of the unit: ProtectKernelLogs= and ProtectKernelTunables= close them where they are,
# with much that is beside them, and know no exception.
DOORS = {KMSG: "run/oomd/doors/kmsg", SYSRQ_TRIGGER: "run/oomd/doors/sysrq-trigger"}


def write(root: WritableRoot, path: str, data: bytes) -> None:
    """``data`` in a single write, there or through its door. Raises ReadError for ``path``."""
    try:
        root.write(path, data)
    except ReadError as error:
        try:
            root.write(DOORS[path], data)
        except ReadError:
            raise error from None
