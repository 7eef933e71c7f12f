"""What a population lives in: cgroups, nodes, swap, the order of process numbers."""

import ctypes
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from tests.oracle.guest.files import Json, read, write

__all__ = ["CGROUP", "cgroup_of", "free_mib", "limit_pids", "surroundings", "wrap_pids"]

CGROUP = "/sys/fs/cgroup/oracle"
SWAP = b"/dev/zram0"
# Low, so that process numbers wrap around within a run as well as when asked to.
PID_MAX = 4000

_libc = ctypes.CDLL(None, use_errno=True)


def cgroup_of(name: str) -> str:
    return f"{CGROUP}/{name}" if name else CGROUP


def all_cgroups(population: Json) -> list[str]:
    """The population's own and all below it, parents first."""
    found = [""]
    for leaf in population["leaves"]:
        parts = leaf.split("/")
        found += ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    return list(dict.fromkeys(found))


def make_cgroups(population: Json) -> None:
    """Made anew: a cgroup that hands a controller on may hold no process itself."""
    nodes = population["scene"] in ("cpuset", "mempolicy")
    controllers = "+memory +cpuset" if nodes else "+memory"
    write("/sys/fs/cgroup/cgroup.subtree_control", controllers)
    for name in all_cgroups(population):
        os.mkdir(cgroup_of(name))
        if any(leaf.startswith(f"{name}/" if name else "") for leaf in population["leaves"]):
            write(f"{cgroup_of(name)}/cgroup.subtree_control", controllers)
    if nodes:
        for node in range(2):
            write(f"{CGROUP}/n{node}/cpuset.mems", str(node))
    for name in population["groups"]:
        write(f"{cgroup_of(name)}/memory.oom.group", "1")


def remove_cgroups(population: Json) -> None:
    for name in reversed(all_cgroups(population)):
        if os.path.isdir(cgroup_of(name)):
            os.rmdir(cgroup_of(name))


@contextmanager
def surroundings(population: Json) -> Iterator[None]:
    """What the population lives in; as it was afterwards."""
    write("/proc/sys/kernel/randomize_va_space", "2" if population["aslr"] else "0")
    if population["swap"] and _libc.swapon(SWAP, 0):
        raise OSError(ctypes.get_errno(), "swapon")
    try:
        make_cgroups(population)
        yield
    finally:
        remove_cgroups(population)
        if population["swap"]:
            _libc.swapoff(SWAP)


def wrap_pids() -> None:
    """The next process but one gets the smallest number that is free."""
    write("/proc/sys/kernel/ns_last_pid", str(PID_MAX - 3))


def limit_pids() -> None:
    write("/proc/sys/kernel/pid_max", str(PID_MAX))


def free_mib(node: int) -> int:
    text = read(f"/sys/devices/system/node/node{node}/meminfo")
    found = re.search(r"MemFree:\s+(\d+) kB", text)
    assert found
    return int(found[1]) // 1024
