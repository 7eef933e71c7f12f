"""Whose processes can be seen: all of the machine's, or only those of a container."""

from oomd.proc.root import ReadError, Root

__all__ = ["CONTAINED", "in_container"]

# include/linux/proc_ns.h: PROC_PID_INIT_INO, the initial PID namespace on every kernel since 3.8.
_INITIAL = f"pid:[{0xEFFFFFFC}]"

CONTAINED = "only the processes of this container can be seen (a PID namespace of its own)"


def in_container(root: Root) -> bool:
    """We are in another PID namespace than the machine's. Not observable: we are not."""
    try:
        return root.readlink("proc/self/ns/pid") != _INITIAL
    except ReadError:
        return False
