"""Whole machines: what a table of tasks reads back as."""

from pathlib import Path

import pytest

from oomd.mm_types import PF_EXITING, PF_KTHREAD, Node, Task
from oomd.proc.snapshot import CannotDecide, take_snapshot
from tests.roots import DEFAULT_MEMINFO, make_root

INIT = Task(
    pid=1,
    starttime_ticks=2,
    comm="systemd",
    mm_tid=1,
    rss_pages=3000,
    anon_rss_pages=1000,
    file_rss_pages=2000,
    total_vm_pages=40_000,
    pgtables_pages=30,
    cap_sys_admin=True,
    init_user_ns=True,
    mems_allowed=3,
    faults=1234,
)
KTHREADD = Task(pid=2, starttime_ticks=2, comm="kthreadd", mm_tid=2, flags=PF_KTHREAD, has_mm=False)
HOG = Task(
    pid=70,
    starttime_ticks=900,
    comm="a hog",
    ppid=1,
    uid=1000,
    state="D",
    flags=PF_EXITING,
    mm_tid=70,
    num_threads=3,
    rss_pages=900_000,
    anon_rss_pages=800_000,
    file_rss_pages=60_000,
    shmem_rss_pages=40_000,
    total_vm_pages=1_000_000,
    pgtables_pages=1800,
    swapents_pages=70_000,
    oom_score_adj=-300,
    sigkill_pending=True,
    tracer_pid=1,
    mems_allowed=1,
    faults=2_000_001,
)
HEADLESS = HOG._replace(pid=30, starttime_ticks=950, comm="worker", mm_tid=34, flags=0, state="S")


def test_tasks_read_back_as_written(tmp_path: Path) -> None:
    tasks = (INIT, KTHREADD, HOG, HEADLESS)
    root = make_root(tmp_path, tasks)
    snapshot = take_snapshot(root)
    assert snapshot.tasks == tasks
    assert snapshot.meminfo == DEFAULT_MEMINFO
    assert (snapshot.tasks_seen, snapshot.page_size_bytes) == (4, 4096)
    assert snapshot.kernel == "6.1.0-test"


def test_order_is_that_of_fork(tmp_path: Path) -> None:
    rows = [(5, 300), (6, 100), (7, 200), (4, 200)]
    root = make_root(tmp_path, [{"pid": pid, "starttime_ticks": at} for pid, at in rows])
    assert [task.pid for task in take_snapshot(root).tasks] == [6, 4, 7, 5]


def test_keep_decides_what_is_held(tmp_path: Path) -> None:
    root = make_root(tmp_path, [{"pid": pid, "rss_pages": pid} for pid in range(1, 20)])
    snapshot = take_snapshot(root, keep=lambda task: task.rss_pages > 17)
    assert [task.pid for task in snapshot.tasks] == [18, 19]
    assert snapshot.tasks_seen == 19


def test_nodes_are_read_on_demand(tmp_path: Path) -> None:
    nodes = (Node(0, 1000, 900), Node(1, 500, 500))
    root = make_root(tmp_path, [{"pid": 1}], nodes=nodes)
    assert take_snapshot(root).nodes == ()
    assert take_snapshot(root, need_nodes=True).nodes == nodes


def test_pages_of_64_kib(tmp_path: Path) -> None:
    root = make_root(tmp_path, [INIT, HOG], page_size_bytes=65536)
    snapshot = take_snapshot(root)
    assert snapshot.tasks == (INIT, HOG)
    assert snapshot.page_size_bytes == 65536


def test_unreadable_meminfo_is_no_snapshot(tmp_path: Path) -> None:
    root = make_root(tmp_path, [{"pid": 1}], files={"proc/meminfo": "nonsense\n"})
    with pytest.raises(CannotDecide, match="^cannot read proc/meminfo: no MemTotal$"):
        take_snapshot(root)


def test_no_readable_process_is_no_snapshot(tmp_path: Path) -> None:
    refusals = {name: "EACCES" for name in ("stat", "status", "oom_score_adj")}
    root = make_root(tmp_path, [{"pid": 1, "refusals": refusals}])
    with pytest.raises(CannotDecide, match=r"no process could be read \(1 seen"):
        take_snapshot(root)
