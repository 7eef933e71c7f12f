"""The kernel's lines about a kill, written anew by oomd from the numbers that are in them."""

import re

from oomd.mm_types import Task
from oomd.oom import Constraint, Kill, KillPlan, Step
from oomd.replay.kernel_report import Row
from oomd.report.kernel_log import dump_tasks, kill_lines

__all__ = ["killed_line", "rewritten", "rewritten_table", "table_lines"]

PAGE_BYTES = 4096

_KILLED = re.compile(
    r"^(?P<message>.*?): Killed process (?P<pid>\d+) \((?P<comm>.*)\) total-vm:(?P<vm>\d+)kB, "
    r"anon-rss:(?P<anon>\d+)kB, file-rss:(?P<file>\d+)kB, shmem-rss:(?P<shmem>\d+)kB, "
    r"UID:(?P<uid>\d+) pgtables:(?P<pgtables>\d+)kB oom_score_adj:(?P<adj>-?\d+)$",
    re.DOTALL,
)


def killed_line(records: list[str]) -> str:
    """The kernel's own words for its first kill, from raw records of its log."""
    lines = (record.partition(";")[2] for record in records)
    return next((line for line in lines if "Killed process " in line), "")


def _pages(kib: str) -> int:
    return int(kib) * 1024 // PAGE_BYTES


def rewritten(line: str) -> str:
    """What oomd's mainline profile would have said of the same process; empty: no such line."""
    found = _KILLED.match(line)
    if found is None:
        return ""
    task = Task(
        pid=int(found["pid"]),
        starttime_ticks=0,
        comm=found["comm"],
        uid=int(found["uid"]),
        total_vm_pages=_pages(found["vm"]),
        anon_rss_pages=_pages(found["anon"]),
        file_rss_pages=_pages(found["file"]),
        shmem_rss_pages=_pages(found["shmem"]),
        pgtables_pages=_pages(found["pgtables"]),
        oom_score_adj=int(found["adj"]),
    )
    kill = Kill(task, 0, found["message"], Constraint.NONE, 1, ())
    plan = KillPlan(task, task, 0, False, Step(7, "", ""))
    (ours,) = kill_lines("mainline", kill, plan, 0, PAGE_BYTES)
    return ours


def table_lines(records: list[str]) -> list[str]:
    """The kernel's own table of tasks, its header first."""
    lines = [record.partition(";")[2] for record in records]
    return [line for line in lines if re.match(r"\[ *(pid|\d+) *\] ", line)]


def rewritten_table(rows: list[Row]) -> list[str]:
    """What oomd's mainline profile would have printed of them: the form of 4.15 to 6.7."""
    tasks = [
        Task(
            pid=row.tgid,
            starttime_ticks=0,
            comm=row.comm,
            uid=row.uid,
            mm_tid=row.pid,
            total_vm_pages=row.total_vm_pages,
            rss_pages=row.rss_pages,
            pgtables_pages=row.pgtables // PAGE_BYTES,
            swapents_pages=row.swapents_pages,
            oom_score_adj=row.oom_score_adj,
        )
        for row in rows
    ]
    return list(dump_tasks("mainline", tasks, PAGE_BYTES))
