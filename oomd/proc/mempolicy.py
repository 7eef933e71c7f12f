"""Who is bound to other NUMA nodes by a memory policy: ``/proc/PID/numa_maps``.

For the audit alone: the file takes the target's mmap lock, which a thrashing process can hold for
minutes.
"""

from collections.abc import Iterable
from typing import Final

from oomd.mm_types import Task, TaskId
from oomd.proc.root import ReadError, Root

__all__ = ["bound_elsewhere", "parse_numa_maps"]

# MAX_NUMNODES, include/linux/numa.h.
_MAX_NODES: Final = 1024


def _mask(text: bytes) -> int:
    """Of a list of nodes such as ``0-1,3``; 0 for anything else."""
    mask = 0
    for part in text.split(b","):
        first, dash, last = part.partition(b"-")
        ends = first, last if dash else first
        if not all(end.isdigit() and len(end) <= 4 for end in ends):
            return 0
        mask |= sum(1 << nid for nid in range(int(ends[0]), min(int(ends[1]), _MAX_NODES) + 1))
    return mask


def parse_numa_maps(data: bytes) -> tuple[str, int]:
    """The mode of the process's own memory policy, and its nodes: ``("default", 0)`` for none.

    Each mapping is listed with its own policy, or with the process's if it has none, as the
    stack has. ``mpol_to_str()``: ``bind:0``, ``interleave=static:0-1``.
    """
    lines = data.splitlines()
    own = next((line for line in lines if b" stack" in line), lines[0] if lines else b"")
    words = own.split()
    mode, _, nodes = words[1].partition(b":") if len(words) > 1 else (b"default", b"", b"")
    mask = _mask(nodes) if nodes else 0
    return mode.partition(b"=")[0].decode("ascii", "replace"), mask


def _threads(root: Root, task: Task) -> list[str]:
    """Files of all its threads: each has a policy of its own."""
    if task.num_threads <= 1:
        return [f"proc/{task.pid}/numa_maps"]
    tids = root.listdir(f"proc/{task.pid}/task")
    return [f"proc/{task.pid}/task/{tid}/numa_maps" for tid in tids]


def _in_oom_domain(data: bytes, nodemask: int, modes: tuple[str, ...]) -> bool:
    mode, nodes = parse_numa_maps(data)
    return mode not in modes or not nodes or bool(nodes & nodemask)


def bound_elsewhere(
    root: Root, tasks: Iterable[Task], nodemask: int, modes: tuple[str, ...]
) -> frozenset[TaskId]:
    """Those whose policy, of one of these modes, has no node of ``nodemask``, in every thread.
    Raises nothing.

    A thread that has exited has given its policy up, so that a process whose leader has exited is
    bound to nothing. Of one that may not be read nothing is assumed.
    """
    found = set()
    for task in tasks:
        if not task.has_mm or task.kthread or task.leader_exited:
            continue
        try:
            files = [root.read(path) for path in _threads(root, task)]
        except ReadError:
            continue
        if not any(_in_oom_domain(data, nodemask, modes) for data in files):
            found.add(task.ident)
    return frozenset(found)
