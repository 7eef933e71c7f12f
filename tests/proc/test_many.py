"""A machine with 30,000 processes: right to the last one, and held in little memory."""

import os
import sys

import pytest

from oomd.mm_types import Task
from oomd.proc.root import Root
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


def write(path: str, data: bytes) -> None:
    # 90,000 times: pathlib would take twice as long.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    os.write(fd, data)
    os.close(fd)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Root:
    path = tmp_path_factory.mktemp("crowd")
    root = make_root(path)
    for pid in range(1, COUNT + 1):
        row = expected_row(pid)
        folder = f"{path}/proc/{pid}"
        os.mkdir(folder)
        write(f"{folder}/stat", stat_text(pid, row, row, 4096))
        write(f"{folder}/status", status_text(pid, row, row, 4096, "mainline"))
        write(f"{folder}/oom_score_adj", b"%d\n" % row["oom_score_adj"])
    return root


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
    # A tree on disk is listed whole (a live kernel is not): a number for each. A record is ten.
    assert most < 2 * COUNT
