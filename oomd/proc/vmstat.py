"""``/proc/vmstat``: how often the kernel's own OOM killer has killed."""

from oomd.proc.root import ReadError, Root

__all__ = ["parse_oom_kill", "read_oom_kill"]


def parse_oom_kill(data: bytes) -> int | None:
    """The ``oom_kill`` counter, a running count of processes. None: before 4.13."""
    for line in data.split(b"\n"):
        name, _, number = line.partition(b" ")
        if name == b"oom_kill" and number.isdigit():
            return int(number[:19])
    return None


def read_oom_kill(root: Root) -> int | None:
    """None: not observable. Raises nothing."""
    try:
        return parse_oom_kill(root.read("proc/vmstat"))
    except ReadError:
        return None
