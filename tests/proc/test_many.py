"""A machine with 30,000 processes: right to the last one, and held in little memory."""

import sys
from pathlib import Path

import pytest

from oomd.mm_types import Task
from oomd.proc.root import Gone, Root
from oomd.proc.snapshot import take_snapshot
from tests.proc.formats import Row, stat_text, status_text
from tests.roots import make_root

COUNT = 30_000


def expected_row(pid: int) -> Row:
    """Figures that tell one process from every other."""
    return {
        "pid": pid,
        "comm": f"p{pid}",
        "ppid": 1 + pid // 2,
        "uid": pid % 1000,
        "flags": 0x400000,
        "num_threads": 1 + pid % 7,
        # Pids have wrapped around: the order of fork is another one.
        "starttime_ticks": (pid + 9_000) % COUNT,
        "has_mm": True,
        "rss_pages": pid * 3,
        "anon_rss_pages": pid * 2,
        "file_rss_pages": pid,
        "pgtables_pages": pid % 50,
        "swapents_pages": pid % 90,
        "total_vm_pages": pid * 4,
        "oom_score_adj": pid % 2001 - 1000,
        "faults": pid * 11,
    }


class Crowd(Root):
    """The tree, made up as it is read: on a disk it is 90,000 files, which take longer than all
    the other tests to make and to delete."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))

    def listdir(self, rel: str) -> list[str]:
        assert rel == "proc"
        return [str(pid) for pid in range(1, COUNT + 1)]

    def read_record(self, rel: str) -> bytes:
        _, folder, *rest = rel.split("/")
        if not folder.isdigit():
            return super().read_record(rel)
        pid, (name,) = int(folder), rest
        row = expected_row(pid)
        match name:
            case "stat":
                return stat_text(pid, row, row, 4096)
            case "status":
                return status_text(pid, row, row, 4096, "mainline")
            case "oom_score_adj":
                return b"%d\n" % row["oom_score_adj"]
        raise Gone(rel, "ENOENT")


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Root:
    path = tmp_path_factory.mktemp("crowd")
    make_root(path)
    return Crowd(path)


def test_every_one_is_read_right(crowd: Root) -> None:
    tasks = take_snapshot(crowd).tasks
    assert len(tasks) == COUNT
    assert [task.pid for task in tasks] == sorted(
        range(1, COUNT + 1), key=lambda pid: (pid + 9_000) % COUNT
    )
    for task in tasks:
        fields = task._asdict()
        for name, value in expected_row(task.pid).items():
            assert fields[name] == value, (task.pid, name)
        assert task.refused == ""


def test_the_scan_streams(crowd: Root) -> None:
    """With ``keep`` the scan holds those it keeps, and nothing of the others."""
    blocks = sys.getallocatedblocks()
    most = 0

    def keep(task: Task) -> bool:
        nonlocal most
        if task.pid % 1000 == 0:
            most = max(most, sys.getallocatedblocks() - blocks)
        return task.rss_pages > 3 * COUNT - 30

    snapshot = take_snapshot(crowd, keep=keep)
    assert (len(snapshot.tasks), snapshot.tasks_seen) == (10, COUNT)
    # This tree is listed whole (a live kernel is not): a number for each. A record is ten.
    assert most < 2 * COUNT
