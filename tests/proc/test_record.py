"""Recordings: the same answers again, the same refusals, one line for what is wrong."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.mm_types import Snapshot
from oomd.proc.memcg import read_memcg
from oomd.proc.pressure import read_pressure
from oomd.proc.probe import probe
from oomd.proc.record import (
    BadRecording,
    CannotRecord,
    RecordedRoot,
    RecordingRoot,
    open_root,
)
from oomd.proc.relatives import iter_children
from oomd.proc.root import Gone, ReadError, Refused, Root
from oomd.proc.snapshot import take_snapshot
from oomd.proc.sysctl import read_sysctls
from tests.roots import Cgroup, Row, make_root

TASKS: list[Row] = [
    {"pid": 1, "comm": "init", "cap_sys_admin": True, "user_ns_inode": 4026531837},
    {"pid": 7, "comm": ")\n\udcff", "rss_pages": 40, "ppid": 1},
    {"pid": 8, "mm_tid": 9, "rss_pages": 50, "ppid": 7, "cap_sys_admin": True},
    {"pid": 12, "refusals": {"status": "EACCES"}},
]
CGROUPS: list[Cgroup] = [
    {"path": "/a", "limit_pages": 1000, "pids": [7]},
    {"path": "/a/b\udcff", "pids": [8], "oom_group": True},
]


def everything(root: Root) -> tuple[object, ...]:
    """All that a front room may ask."""
    snapshot = take_snapshot(root, need_nodes=root.exists("proc/zoneinfo"))
    children = tuple(tuple(iter_children(root, task, 4096)) for task in snapshot.tasks)
    pairs = [(a.pid, b.pid) for a in snapshot.tasks[:5] for b in snapshot.tasks[:5]]
    same = [root.same_mm(a, b) for a, b in pairs]
    facts = (root.page_size_bytes(), root.clock_ticks(), root.kernel_release(), root.pids())
    settings = (read_sysctls(root), read_pressure(root), probe(root))
    return snapshot._replace(scan_us=0), children, same, facts, settings


def record(root: Root, directory: Path, extra: dict[str, Any] | None = None) -> tuple[object, ...]:
    recording = RecordingRoot(root, str(directory))
    answers = everything(recording)
    recording.finish(extra)
    return answers


def test_a_fake_machine_round_trip(tmp_path: Path) -> None:
    source = make_root(
        tmp_path / "source",
        TASKS,
        page_size_bytes=16384,
        cgroups=CGROUPS,
        cgroup_version=2,
        same_mm=[(7, 8, True), (1, 7, False)],
    )
    answers = record(source, tmp_path / "copy")
    assert answers == everything(source)
    copy = open_root(str(tmp_path / "copy"))
    assert isinstance(copy, RecordedRoot)
    assert everything(copy) == answers


@pytest.mark.live
def test_the_live_machine_round_trip(tmp_path: Path) -> None:
    answers = record(Root(), tmp_path / "copy", {"thresholds": {"available_kib": 5}})
    copy = open_root(str(tmp_path / "copy"))
    assert isinstance(copy, RecordedRoot)
    assert everything(copy) == answers
    assert copy.extra == {"thresholds": {"available_kib": 5}}
    assert not copy.live
    snapshot = answers[0]
    assert isinstance(snapshot, Snapshot)
    assert snapshot.tasks_seen > 1


def test_cgroups_round_trip(tmp_path: Path) -> None:
    source = make_root(tmp_path / "source", TASKS, cgroups=CGROUPS, cgroup_version=2)
    recording = RecordingRoot(source, str(tmp_path / "copy"))
    memcg = read_memcg(recording, "/a", 4096)
    recording.finish()
    assert memcg.pids == {7, 8}
    assert memcg.oom_groups == (("/a/b\udcff", frozenset({8})),)
    assert read_memcg(open_root(str(tmp_path / "copy")), "/a", 4096) == memcg


def test_neither_command_lines_nor_environments(tmp_path: Path) -> None:
    secrets = {"proc/7/cmdline": "--password=x", "proc/7/environ": "TOKEN=x"}
    source = make_root(tmp_path / "source", TASKS, files=secrets)
    record(source, tmp_path / "copy")
    names = {path.name for path in (tmp_path / "copy").rglob("*")}
    assert {"stat", "status", "oom_score_adj"} <= names
    assert not names & {"cmdline", "environ", "maps", "smaps"}
    assert (tmp_path / "copy").stat().st_mode & 0o077 == 0


class Changing(Root):
    """A tree whose meminfo is another one at each read."""

    reads = 0

    def read_record(self, rel: str) -> bytes:
        self.reads += 1
        return f"{rel} {self.reads}\n".encode()


def test_the_first_answer_is_given_again(tmp_path: Path) -> None:
    recording = RecordingRoot(Changing(str(tmp_path)), str(tmp_path / "copy"))
    assert recording.read_record("proc/meminfo") == b"proc/meminfo 1\n"
    assert recording.read_record("proc/other") == b"proc/other 2\n"
    assert recording.read_record("proc/meminfo") == b"proc/meminfo 1\n"
    recording.finish()
    copy = open_root(str(tmp_path / "copy"))
    assert copy.read_record("proc/meminfo") == b"proc/meminfo 1\n"


def test_what_vanished_stays_listed_and_gone(tmp_path: Path) -> None:
    source = make_root(tmp_path / "source", [{"pid": 1}, {"pid": 7}])
    recording = RecordingRoot(source, str(tmp_path / "copy"))
    assert recording.pids() == [1, 7]
    (tmp_path / "source/proc/7/stat").unlink()
    tasks = take_snapshot(recording).tasks
    recording.finish()
    copy = open_root(str(tmp_path / "copy"))
    assert copy.pids() == [1, 7]
    assert take_snapshot(copy).tasks == tasks
    with pytest.raises(Gone):
        copy.read("proc/7/stat")


def test_refusals_keep_their_errno(tmp_path: Path) -> None:
    source = make_root(tmp_path / "source", refused={"proc/x": "EIO", "proc/d": "EPERM"})
    recording = RecordingRoot(source, str(tmp_path / "copy"))
    for read in (recording.read, recording.read_record, recording.readlink):
        with pytest.raises(Refused, match="^proc/x: EIO$"):
            read("proc/x")
    for read_names in (recording.listdir, recording.subdirs):
        with pytest.raises(Refused):
            read_names("proc/d")
    recording.finish()
    copy = open_root(str(tmp_path / "copy"))
    with pytest.raises(Refused, match="^proc/x: EIO$"):
        copy.read("proc/x")
    with pytest.raises(Refused, match="^proc/d: EPERM$"):
        copy.listdir("proc/d")


# --- what is wrong


def test_a_directory_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(CannotRecord, match="not empty, and nothing is overwritten$"):
        RecordingRoot(Root(), str(tmp_path))


def test_a_file_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(CannotRecord):
        RecordingRoot(Root(), str(tmp_path / "mine"))


def test_nothing_is_written_outside(tmp_path: Path) -> None:
    recording = RecordingRoot(Changing(str(tmp_path)), str(tmp_path / "copy"))
    with pytest.raises(CannotRecord, match="leads out of the recording"):
        recording.read_record("proc/../../../outside")


@pytest.mark.parametrize(
    "manifest",
    [
        "",
        "[]",
        "{}",
        "\x00\xff",
        "[" * 100_000,
        '{"oomd_recording": 2}',
        '{"oomd_recording": 1, "page_size_bytes": 0}',
        '{"oomd_recording": 1, "page_size_bytes": "4096"}',
        '{"oomd_recording": 1, "page_size_bytes": true}',
        '{"oomd_recording": 1, "refused": []}',
        '{"oomd_recording": 1, "refused": {"proc/1/stat": 13}}',
        '{"oomd_recording": 1, "user_ns_inodes": {"1": "init"}}',
        '{"oomd_recording": 1, "same_mm": [[1, 2]]}',
        '{"oomd_recording": 1, "same_mm": {"1": 2}}',
        '{"oomd_recording": 1, "listings": {"proc": "1"}}',
        '{"oomd_recording": 1, "listings": {"proc": [1]}}',
    ],
)
def test_bad_manifest_is_one_line(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(BadRecording) as caught:
        open_root(str(tmp_path))
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
KEYS = ("page_size_bytes", "refused", "links", "user_ns_inodes", "same_mm", "listings", "extra")


@given(content=st.dictionaries(st.sampled_from(KEYS), JSON))
def test_any_manifest_opens_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, object]
) -> None:
    path = tmp_path_factory.mktemp("any", numbered=True)
    (path / "manifest.json").write_text(json.dumps({"oomd_recording": 1, **content}))
    try:
        root = open_root(str(path))
        root.pids()
        root.read("proc/meminfo")
    except (BadRecording, ReadError):
        return


def test_a_tree_by_hand_needs_no_manifest(tmp_path: Path) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text("3.10.0-957.el7.x86_64\n")
    (tmp_path / "proc/5/ns").mkdir(parents=True)
    os.symlink("user:[4026531837]", tmp_path / "proc/5/ns/user")
    root = open_root(str(tmp_path))
    assert not isinstance(root, RecordedRoot)
    assert root.kernel_release() == "3.10.0-957.el7.x86_64"
    assert (root.page_size_bytes(), root.clock_ticks()) == (4096, 100)
    assert (root.user_ns_inode(5), root.user_ns_inode(6)) == (4026531837, None)
    assert root.same_mm(5, 5) is None


def test_a_directory_without_proc_is_no_tree(tmp_path: Path) -> None:
    with pytest.raises(BadRecording, match="it has no proc directory$"):
        open_root(str(tmp_path))


def test_the_live_machine_needs_no_manifest() -> None:
    assert type(open_root("/")) is Root
    assert open_root("/").live
