"""One process: hostile names, missing leaders, refusals, torn files, other kernels' layouts."""

from pathlib import Path

import pytest

from oomd.mm_types import PF_EXITING, PF_KTHREAD, Task
from oomd.proc.root import Gone, Root, Unparsable
from oomd.proc.task import parse_stat, parse_status, read_task
from tests.proc.formats import Row
from tests.proc.hostile import HOSTILE_COMMS
from tests.roots import make_root


def read(path: Path, row: Row, **options: object) -> Task:
    """The only task of a tree, as it reads back."""
    task = read_task(make_root(path, [row], **options), row["pid"], 4096)  # type: ignore[arg-type]
    assert task is not None
    return task


@pytest.mark.parametrize("comm", HOSTILE_COMMS)
def test_hostile_comm(tmp_path: Path, comm: bytes) -> None:
    text = comm.decode("utf-8", "surrogateescape")
    task = read(tmp_path, {"pid": 9, "ppid": 4, "comm": text, "uid": 33, "rss_pages": 17})
    assert task.comm == text
    assert task.comm.encode("utf-8", "surrogateescape") == comm
    assert (task.ppid, task.uid, task.state, task.rss_pages) == (4, 33, "S", 17)
    assert task.refused == ""


def test_a_comm_cannot_forge_a_field() -> None:
    data = b"7 (x) Z 1 2) S 4 7 7 0 -1 4 90 0 10 0 0 0 0 0 20 0 3 0 555 4096 1 0\n"
    stat = parse_stat(data)
    assert (stat.comm, stat.state, stat.ppid, stat.starttime_ticks) == ("x) Z 1 2", "S", 4, 555)
    assert (stat.flags, stat.faults, stat.num_threads) == (PF_EXITING, 100, 3)


def test_exited_leader_is_seen_through_a_living_thread(tmp_path: Path) -> None:
    row: Row = {
        "pid": 20,
        "comm": "main",
        "starttime_ticks": 77,
        "ppid": 5,
        "mm_tid": 23,
        "rss_pages": 4000,
        "swapents_pages": 9,
        "faults": 50,
        "oom_score_adj": 7,
        "threads": [
            {"tid": 21, "state": "Z"},
            {"tid": 23, "comm": "worker", "state": "D", "flags": PF_EXITING, "faults": 3},
            {"tid": 24, "comm": "later"},
        ],
    }
    task = read(tmp_path, row)
    assert (task.mm_tid, task.comm, task.state, task.flags) == (23, "worker", "D", PF_EXITING)
    assert (task.pid, task.starttime_ticks, task.ppid, task.faults) == (20, 77, 5, 50)
    assert (task.rss_pages, task.swapents_pages, task.has_mm) == (4000, 9, True)
    assert (task.num_threads, task.oom_score_adj) == (4, 7)
    assert task.leader_exited


def test_zombie_has_no_mm(tmp_path: Path) -> None:
    task = read(tmp_path, {"pid": 20, "state": "Z", "rss_pages": 4000})
    assert (task.has_mm, task.exit_state, task.rss_pages, task.mm_tid) == (False, True, 0, 20)


def test_kernel_thread_costs_one_file(tmp_path: Path) -> None:
    root = make_root(tmp_path, [{"pid": 2, "comm": "kthreadd", "flags": PF_KTHREAD}])
    (tmp_path / "proc/2/status").unlink()
    (tmp_path / "proc/2/oom_score_adj").unlink()
    task = read_task(root, 2, 4096)
    assert task is not None
    assert (task.comm, task.kthread, task.has_mm, task.refused) == ("kthreadd", True, False, "")


@pytest.mark.parametrize(
    ("own", "shared", "pending"),
    [(False, False, False), (True, False, True), (False, True, True), (True, True, True)],
)
def test_pending_sigkill(tmp_path: Path, own: bool, shared: bool, pending: bool) -> None:
    row: Row = {"pid": 5, "sigkill_pending": own, "shared_sigkill_pending": shared}
    assert read(tmp_path, row).sigkill_pending is pending


@pytest.mark.parametrize(
    ("inode", "expected"), [(4026531837, True), (4026532199, False), (None, None)]
)
def test_user_namespace(tmp_path: Path, inode: int | None, expected: bool | None) -> None:
    row: Row = {"pid": 5, "cap_sys_admin": True}
    if inode is not None:
        row["user_ns_inode"] = inode
    assert read(tmp_path, row).init_user_ns is expected


def test_user_namespace_is_not_asked_without_the_capability(tmp_path: Path) -> None:
    assert read(tmp_path, {"pid": 5, "user_ns_inode": 4026531837}).init_user_ns is None


@pytest.mark.parametrize("nodes", [1, 0b1010, 1 << 900 | 1, None])
def test_mems_allowed(tmp_path: Path, nodes: int | None) -> None:
    assert read(tmp_path, {"pid": 5, "mems_allowed": nodes}).mems_allowed == nodes


# --- other kernels


def test_page_tables_in_two_lines(tmp_path: Path) -> None:
    row: Row = {"pid": 5, "rss_pages": 9, "pgtables_pages": 300, "pgtables_pmd_pages": 20}
    assert read(tmp_path, row).pgtables_pages == 300


def test_rss_split_of_old_kernels_is_in_statm(tmp_path: Path) -> None:
    row: Row = {"pid": 5, "rss_pages": 90, "file_rss_pages": 30, "shmem_rss_pages": 10}
    task = read(tmp_path, row, layout="upstream-3.10")
    assert (task.rss_pages, task.anon_rss_pages, task.file_rss_pages) == (90, 50, 40)
    assert task.shmem_rss_pages == 0


def test_layout_of_el7(tmp_path: Path) -> None:
    row: Row = {"pid": 5, "rss_pages": 90, "pgtables_pages": 4, "anon_rss_pages": 90}
    new, old = read(tmp_path / "new", row), read(tmp_path / "old", row, layout="el7")
    assert new == old


# --- refused, torn, gone


@pytest.mark.parametrize("errno", ["EACCES", "EPERM", "EIO"])
def test_refused_status_leaves_what_stat_says(tmp_path: Path, errno: str) -> None:
    row: Row = {"pid": 5, "comm": "x", "rss_pages": 90, "refusals": {"status": errno}}
    task = read(tmp_path, row)
    assert task.refused == f"status: {errno}"
    assert (task.comm, task.rss_pages, task.total_vm_pages) == ("x", 90, 1090)
    assert (task.uid, task.has_mm) == (None, True)


def test_refused_adj_is_flagged(tmp_path: Path) -> None:
    row: Row = {"pid": 5, "uid": 7, "refusals": {"oom_score_adj": "EACCES"}}
    task = read(tmp_path, row)
    assert (task.refused, task.uid) == ("oom_score_adj: EACCES", 7)


def test_hidepid_refuses_everything(tmp_path: Path) -> None:
    refusals = {name: "EACCES" for name in ("stat", "status", "oom_score_adj")}
    task = read(tmp_path, {"pid": 5, "comm": "x", "rss_pages": 90, "refusals": refusals})
    assert task.refused == "stat: EACCES; oom_score_adj: EACCES; status: EACCES"
    assert (task.pid, task.uid, task.has_mm, task.rss_pages) == (5, None, False, 0)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("stat", b""),
        ("stat", b"5 (x"),
        ("stat", b"5 (x) S 1 5 5 0 -1 0 1 0 1 0 0 0 0 0 20 0 1 0 88"),
        ("status", b""),
        (
            "status",
            b"Name:\tx\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nVmSize:\t 9 kB\n",
        ),
        ("oom_score_adj", b""),
        ("oom_score_adj", b"many\n"),
    ],
)
def test_torn_file_is_flagged(tmp_path: Path, name: str, data: bytes) -> None:
    root = make_root(tmp_path, [{"pid": 5}], files={f"proc/5/{name}": data})
    task = read_task(root, 5, 4096)
    assert task is not None
    assert task.refused.startswith(f"{name}: ")


class Vanishing(Root):
    """A tree whose processes end at the n-th read."""

    def __init__(self, path: str, reads: int) -> None:
        super().__init__(path)
        self.left = reads

    def read_record(self, rel: str) -> bytes:
        if self.left == 0:
            raise Gone(rel, "ESRCH")
        self.left -= 1
        return super().read_record(rel)


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_vanishing_between_reads_is_gone(tmp_path: Path, reads: int) -> None:
    make_root(tmp_path, [{"pid": 5}])
    assert read_task(Vanishing(str(tmp_path), reads), 5, 4096) is None
    assert read_task(Vanishing(str(tmp_path), 3), 5, 4096) is not None


def test_vanishing_threads_leave_a_zombie(tmp_path: Path) -> None:
    make_root(tmp_path, [{"pid": 5, "mm_tid": 6, "rss_pages": 5}])
    task = read_task(Vanishing(str(tmp_path), 3), 5, 4096)
    assert task is not None
    assert (task.mm_tid, task.has_mm, task.state) == (5, False, "Z")


def test_absent_process_is_gone(tmp_path: Path) -> None:
    assert read_task(make_root(tmp_path), 5, 4096) is None


def test_unparsable_is_one_printable_line() -> None:
    with pytest.raises(Unparsable, match="^status: unparsable$"):
        parse_status(b"")
    assert str(Gone("a\n\x1b[31m\udcff", "ENOENT")) == r"a\n\x1b[31m\udcff: ENOENT"
