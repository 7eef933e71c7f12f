"""``/proc/sys``: the settings that steer the OOM killer."""

from oomd.mm_types import Sysctls
from oomd.proc.root import ReadError, Root, Unparsable

__all__ = ["parse_int", "read_int", "read_sysctls"]

_NAMES = ("panic_on_oom", "oom_kill_allocating_task", "oom_dump_tasks")


def parse_int(data: bytes, path: str = "") -> int:
    """A file that holds one decimal number. Raises ``Unparsable``."""
    try:
        # No number of the kernel's is longer (and int() balks at 4,300 digits).
        return int(data[:32])
    except ValueError:
        raise Unparsable(path, "not a number") from None


def read_int(root: Root, path: str) -> int:
    """Raises ``ReadError``."""
    return parse_int(root.read_value(path), path)


def read_sysctls(root: Root) -> Sysctls:
    """Never raises: a file that cannot be read keeps the kernel's default and is named."""
    sysctls = Sysctls()
    missing = []
    for name in _NAMES:
        try:
            value = read_int(root, f"proc/sys/vm/{name}")
        except ReadError:
            missing.append(name)
        else:
            sysctls = Sysctls(**{**sysctls._asdict(), name: value})
    return sysctls._replace(not_observable=tuple(missing))
