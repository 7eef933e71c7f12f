"""A machine made of records, whose kernel has an opinion of each: ``/proc/PID/oom_score``."""

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from oomd.mm.proc_oom_score import NEVER, proc_oom_score
from oomd.mm_types import OOM_SCORE_ADJ_MIN, MemInfo, Task
from oomd.proc.root import Gone, Refused, Root
from tests.proc.formats import Row, meminfo_text, stat_text, status_text

__all__ = ["ScoredRoot", "kernels_score"]

PAGE = 4096


def kernels_score(task: Task, totalpages: int, blur_pages: int = 0) -> int:
    """What the file says. ``blur_pages``: by so much the kernel counts more than status shows."""
    never = task.pid == 1 or task.kthread or not task.has_mm or task.exit_state
    if never or task.oom_score_adj == OOM_SCORE_ADJ_MIN:
        return NEVER
    size_pages = max(0, task.size_pages + blur_pages)
    return proc_oom_score(size_pages + task.oom_score_adj * (totalpages // 1000), totalpages)


class ScoredRoot(Root):
    """The files of these processes, made up as they are read. ``reads`` counts them by name."""

    def __init__(
        self, tasks: Iterable[Task], totalpages: int, scores: Mapping[int, int] | None = None
    ) -> None:
        """``scores``: of those whose score is another than their figures make it."""
        super().__init__("/nowhere")
        self._tasks = {task.pid: task for task in tasks}
        self._totalpages = totalpages
        self._scores = scores or {}
        self.reads: dict[str, int] = {}
        self.meminfo = MemInfo(totalpages * (PAGE >> 10), 0, 0)
        self.descriptors = sys.maxsize
        """So many files of processes can be opened; then none is left."""

    def listdir(self, rel: str) -> list[str]:
        if rel == "proc":
            return [str(pid) for pid in self._tasks]
        pid = int(rel.split("/")[1])
        return [str(tid) for tid in (pid, self._tasks[pid].mm_tid)]

    def user_ns_inode(self, pid: int) -> int | None:
        task = next(one for one in self._tasks.values() if pid in (one.pid, one.mm_tid))
        return {None: None, True: 0xEFFFFFFD, False: 1}[task.init_user_ns]

    def _row(self, task: Task, *, with_mm: bool) -> Row:
        fields: Any = task._asdict()
        row: Row = fields
        if not with_mm:
            row |= {"has_mm": False, "state": "Z"}
        return row

    def read_record(self, rel: str) -> bytes:
        if rel == "proc/meminfo":
            return meminfo_text(self.meminfo).encode()
        _, pid, *rest = rel.split("/")
        if not pid.isdigit() or int(pid) not in self._tasks:
            raise Gone(rel, "ENOENT")
        self.descriptors -= 1
        if self.descriptors < 0:
            raise Refused(rel, "ENFILE")
        task, name = self._tasks[int(pid)], rest[-1]
        self.reads[name] = self.reads.get(name, 0) + 1
        if task.refused.startswith(f"{name}: "):
            raise Refused(rel, "EACCES")
        leader = len(rest) == 1
        row = self._row(task, with_mm=not leader or not task.leader_exited)
        match name:
            case "oom_score":
                score = self._scores.get(task.pid)
                made = kernels_score(task, self._totalpages) if score is None else score
                return b"%d\n" % made
            case "oom_score_adj":
                return b"%d\n" % task.oom_score_adj
            case "stat":
                return stat_text(task.pid, row, row, PAGE)
            case "status":
                return status_text(task.pid, row, row, PAGE, "mainline")
        raise Gone(rel, "ENOENT")
