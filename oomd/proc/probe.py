"""What this kernel lacks: probed, never guessed from a version."""

from oomd.proc.cgroup import V1_MEMORY, v2_mount
from oomd.proc.meminfo import read_meminfo
from oomd.proc.root import ReadError, Root
from oomd.proc.sysctl import parse_int, read_int
from oomd.typed import Literal, NamedTuple

__all__ = ["Probe", "ZramDevice", "probe"]


class ZramDevice(NamedTuple):
    """A compressed disk in memory, as ``/sys/block/zramN`` shows it."""

    name: str
    disk_size_bytes: int
    """0: not set up."""
    mem_used_bytes: int | None
    """RAM that it takes. None: a kernel before 4.7 without ``mm_stat``, or not observable."""


class Probe(NamedTuple):
    """The features that oomd has a stand-in for."""

    has_psi: bool
    """``/proc/pressure/memory`` is there and can be read (``psi=0`` leaves the file)."""
    has_swap: bool
    """Swap is on now; it can be switched on later."""
    cgroup_version: Literal[1, 2, "hybrid"] | None
    """Of the memory controller; "hybrid": v1, with v2 beside it for pressure and cgroup.kill."""
    has_children_file: bool
    """``/proc/PID/task/TID/children``: CONFIG_PROC_CHILDREN."""
    pid_max: int | None
    """How many processes and threads there can be. None: not observable."""
    zram: tuple[ZramDevice, ...]


def _readable(root: Root, path: str) -> bool:
    try:
        root.read_record(path)
    except ReadError:
        return False
    return True


def _has_swap(root: Root) -> bool:
    try:
        return read_meminfo(root).swap_total_kib > 0
    except ReadError:
        return False


def _cgroup_version(root: Root) -> Literal[1, 2, "hybrid"] | None:
    v1 = root.exists(f"{V1_MEMORY}/memory.limit_in_bytes")
    v2 = v2_mount(root) is not None
    if v1:
        return "hybrid" if v2 else 1
    return 2 if v2 else None


def _has_children_file(root: Root) -> bool:
    try:
        # Any thread that is there will do, but one may be hidden, or end meanwhile.
        return any(root.exists(f"proc/{pid}/task/{pid}/children") for pid in root.pids()[:8])
    except ReadError:
        return False


def _int_or_none(root: Root, path: str) -> int | None:
    try:
        return read_int(root, path)
    except ReadError:
        return None


def _zram(root: Root) -> tuple[ZramDevice, ...]:
    try:
        names = [name for name in root.listdir("sys/block") if name.startswith("zram")]
    except ReadError:
        return ()
    devices = []
    for name in sorted(names):
        try:
            # orig_data_size, compr_data_size, mem_used_total, ...
            used = parse_int(root.read_record(f"sys/block/{name}/mm_stat").split()[2])
        except (ReadError, IndexError):
            used = None
        size = _int_or_none(root, f"sys/block/{name}/disksize")
        devices.append(ZramDevice(name, size or 0, used))
    return tuple(devices)


def probe(root: Root) -> Probe:
    """Raises nothing: what cannot be found out is absent."""
    return Probe(
        has_psi=_readable(root, "proc/pressure/memory"),
        has_swap=_has_swap(root),
        cgroup_version=_cgroup_version(root),
        has_children_file=_has_children_file(root),
        pid_max=_int_or_none(root, "proc/sys/kernel/pid_max"),
        zram=_zram(root),
    )
