"""Pressure stall information: ``/proc/pressure/memory`` and a cgroup's ``memory.pressure``."""

from oomd.mm_types import Pressure, Stall
from oomd.proc.cgroup import cgroup_path, v2_mount
from oomd.proc.root import Gone, Refused, Root, Unparsable

__all__ = ["parse_pressure", "pressure_file", "read_pressure"]

_FILE = "proc/pressure/memory"


_NAMES = (b"avg10=", b"avg60=", b"avg300=", b"total=")


def _stall(words: list[bytes]) -> Stall:
    numbers = []
    for name, word in zip(_NAMES, words, strict=True):
        if not word.startswith(name):
            raise ValueError
        numbers.append(word[len(name) :])
    avg10, avg60, avg300, total = numbers
    stall = Stall(float(avg10), float(avg60), float(avg300), int(total))
    # NaN compares false with everything: no threshold would ever be crossed.
    if not all(0 <= share <= 1000 for share in stall[:3]) or stall.total_us >= 1 << 64:
        raise ValueError
    return stall


def parse_pressure(data: bytes) -> Pressure:
    """Both lines. Raises ``Unparsable``."""
    stalls = {}
    try:
        for line in data.splitlines():
            kind, *words = line.split()
            stalls[kind] = _stall(words)
        return Pressure(some=stalls[b"some"], full=stalls[b"full"])
    except (KeyError, ValueError):
        raise Unparsable(_FILE, "not pressure stall information") from None


def pressure_file(root: Root, cgroup: str | None = None) -> str | None:
    """The file of the machine or of a cgroup, relative to the root. None: no cgroup v2.

    That the file is there is not promised. Raises ``Unparsable`` for an impossible name.
    """
    if cgroup is None:
        return _FILE
    mount = v2_mount(root)
    return f"{mount}{cgroup_path(cgroup)}/memory.pressure" if mount else None


def read_pressure(root: Root, cgroup: str | None = None) -> Pressure | None:
    """None: this kernel has none (before 4.20, or not compiled in: ENOENT; ``psi=0``: EOPNOTSUPP),
    or it may not be read. Raises ``Unparsable``.
    """
    path = pressure_file(root, cgroup)
    if path is None:
        return None
    try:
        data = root.read_record(path)
    except (Gone, Refused):
        return None
    return parse_pressure(data)
