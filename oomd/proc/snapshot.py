"""Everything that one decision is made from, read once."""

import time

from oomd.mm_types import MemCgroup, Snapshot, Task
from oomd.proc.errors import is_short
from oomd.proc.meminfo import read_meminfo
from oomd.proc.nodes import read_nodes
from oomd.proc.root import ReadError, Refused, Root
from oomd.proc.task import read_task
from oomd.typed import Callable, Iterable, Iterator

__all__ = ["CannotDecide", "scan_tasks", "take_snapshot"]


class CannotDecide(Exception):
    """So little could be read that any decision would be a guess. One line of text."""


def scan_tasks(
    root: Root, page_size_bytes: int, pids: Iterable[int] | None = None
) -> Iterator[Task]:
    """Every process that is there, one at a time, by ascending pid; or only those of ``pids``.

    One that vanishes meanwhile is left out, one that may not be read is flagged (``refused``).
    Raises ``ReadError`` when the processes cannot even be listed.
    """
    for pid in root.iter_pids() if pids is None else sorted(pids):
        task = read_task(root, pid, page_size_bytes)
        if task is not None:
            yield task


def _fork_order(task: Task) -> tuple[int, int]:
    return task.starttime_ticks, task.pid


def take_snapshot(
    root: Root,
    *,
    keep: Callable[[Task], bool] | None = None,
    memcg: MemCgroup | None = None,
    need_nodes: bool = False,
) -> Snapshot:
    """Tasks in the order of fork, with the memory they compete for.

    ``keep`` is asked for every task as it is read, and those it refuses are not held: with it the
    scan of 30,000 processes needs the memory of a few. ``memcg``: only its processes.
    Raises ``CannotDecide`` if meminfo, ``/proc`` or every single process cannot be read, or if no
    descriptors are left to read them by.
    """
    begin_ns = time.monotonic_ns()
    tasks = []
    seen = readable = 0
    try:
        meminfo = read_meminfo(root)
        page_size_bytes = root.page_size_bytes()
        pids = None if memcg is None else memcg.pids
        for task in scan_tasks(root, page_size_bytes, pids):
            if is_short(task.refused):
                raise Refused(f"proc/{task.pid}", task.refused)
            seen += 1
            readable += not task.refused
            if keep is None or keep(task):
                tasks.append(task)
        nodes = read_nodes(root) if need_nodes else ()
    except ReadError as error:
        raise CannotDecide(f"cannot read {error}") from None
    if not readable and (seen or memcg is None):
        raise CannotDecide(f"no process could be read ({seen} seen below {root.path})")
    tasks.sort(key=_fork_order)
    return Snapshot(
        tuple(tasks),
        meminfo,
        page_size_bytes,
        root.kernel_release(),
        nodes,
        memcg,
        seen,
        (time.monotonic_ns() - begin_ns) // 1000,
    )
