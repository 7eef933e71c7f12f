"""Decisions as files: whole or not there, once each, and never more than they may be."""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.mm_types import TaskId
from oomd.records.load import load_record
from oomd.records.replay import replay_record
from oomd.report.record import Record, settled_record
from oomd.tell.record_files import Bounds, file_name, joined, keep_records
from tests.records.kept import record_of
from tests.records.test_replay import asked_of

TREE = Path(__file__).resolve().parents[2]
MANY = Bounds(1000, 1 << 24)


def decisions(count: int, first: int = 1) -> list[Record]:
    """One a second."""
    record = record_of(asked_of())
    times = range(first, first + count)
    return [{**record, "seq": n, "time": 1_800_000_000.25 + n} for n in times]


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def seqs(path: Path) -> list[int]:
    return [json.loads((path / name).read_bytes())["seq"] for name in names(path)]


def test_a_file_is_named_by_its_time_and_can_be_judged_again(tmp_path: Path) -> None:
    (record,) = decisions(1)
    keep_records(str(tmp_path / "state/decisions"), [record], MANY)
    (path,) = (tmp_path / "state/decisions").iterdir()
    assert path.name == "20270115T080001.250000Z-0001-kill.json"
    data = path.read_bytes()
    assert data.endswith(b"}\n") and data.isascii() and data.count(b"\n") == 1
    assert not replay_record(load_record(data)).differences
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@given(st.lists(st.integers(0, 4_000_000_000_000), min_size=2, max_size=2))
def test_names_are_in_the_order_of_time(times_ms: list[int]) -> None:
    one, other = ({"time": ms / 1000, "seq": 1, "verdict": "kill"} for ms in times_ms)
    assert (file_name(one) <= file_name(other)) == (times_ms[0] <= times_ms[1])


def test_what_makes_a_record_large_is_cut(tmp_path: Path) -> None:
    (record,) = decisions(1)
    victim = record["victims"][0]
    record |= {"victims": [victim] * 5_000, "lines": ["x"] * 5_000, "table": ["x"] * 5_000}
    keep_records(str(tmp_path), [record], MANY)
    (path,) = tmp_path.iterdir()
    kept = json.loads(path.read_bytes())
    assert (len(kept["victims"]), kept["victims_count"]) == (256, 5_000)
    assert (len(kept["lines"]), kept["lines_count"]) == (256, 5_000)
    assert "table" not in kept


# --- the end of a kill


def ends(*idents: tuple[int, int]) -> list[Record]:
    return [settled_record(f"{i[0]} gone", {"took_ms": 5}, TaskId(*i)) for i in idents]


def test_each_decision_has_its_own_end() -> None:
    first, second, third = decisions(3)
    second["victims"] = [{**second["victims"][0], "pid": 77}]
    third |= {"verdict": "wait", "victims": []}
    records = [first, *ends((20, 20)), second, third, *ends((10, 10), (77, 20), (5, 5))]
    one, two, three = joined(records)
    assert (one["settled"]["text"], one["settled"]["took_ms"]) == ("20 gone", 5)
    assert two["settled"]["text"] == "77 gone"
    assert three["settled"]["text"] == "10 gone"


def test_an_end_that_is_not_known_stays_open() -> None:
    first, second = decisions(2)
    assert [one["settled"] for one in joined([*ends((20, 20)), first, second])] == [None, None]
    # Of two that it may be, the later one.
    one, two = joined([first, second, *ends((20, 20))])
    assert one["settled"] is None and two["settled"] is not None


# --- bounds


def test_the_oldest_go_when_there_are_too_many(tmp_path: Path) -> None:
    for first in (1, 4, 7):
        keep_records(str(tmp_path), decisions(3, first), Bounds(5, 1 << 20))
        assert len(names(tmp_path)) <= 5
    assert seqs(tmp_path) == [5, 6, 7, 8, 9]
    keep_records(str(tmp_path), decisions(10, 20), Bounds(2, 1 << 20))
    assert seqs(tmp_path) == [28, 29]


@given(st.lists(st.integers(1, 4), max_size=6), st.integers(0, 40_000), st.integers(1, 6))
def test_neither_bound_is_ever_passed(
    tmp_path_factory: pytest.TempPathFactory, batches: list[int], size_bytes: int, files: int
) -> None:
    path = tmp_path_factory.mktemp("bounds")
    first = 1
    for count in batches:
        keep_records(str(path), decisions(count, first), Bounds(files, size_bytes))
        first += count
        sizes = [one.stat().st_size for one in path.iterdir()]
        assert len(sizes) <= files and sum(sizes) <= size_bytes
        there = seqs(path)
        # The newest, without a gap.
        assert there == list(range(first - len(there), first))


def test_what_a_wrong_clock_has_dated_goes_before_what_is_new(tmp_path: Path) -> None:
    bounds = Bounds(3, 1 << 24)
    wrong = [{**one, "time": one["time"] + 1e9} for one in decisions(3)]
    keep_records(str(tmp_path), wrong, bounds)
    today = [{**one, "time": one["time"] - 8e8} for one in decisions(4, first=11)]
    left = []
    for record in today:
        keep_records(str(tmp_path), [record], bounds)
        left.append(seqs(tmp_path))
    assert left == [[11, 2, 3], [11, 12, 3], [11, 12, 13], [12, 13, 14]]


def test_what_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    others = ["notes.txt", "20270115T080001.250000Z-0001-kill.json.bak", ".hidden.new"]
    for name in others:
        (tmp_path / name).write_text("mine")
    (tmp_path / "20260115T080001.250000Z-0001-kill.json").mkdir()
    keep_records(str(tmp_path), decisions(3), Bounds(1, 1 << 20))
    assert len(names(tmp_path)) == len(others) + 2
    assert all((tmp_path / name).read_text() == "mine" for name in others)


# --- whoever writes may be killed at any time

MIDWAY = """
import json, os, signal, sys
from oomd.tell import record_files
fsync, at = os.fsync, int(sys.argv[2])
def stop(fd):
    global at
    at -= 1
    if at: return fsync(fd)
    print(flush=True)
    while True: signal.pause()
os.fsync = stop
record_files.keep_records(sys.argv[1], json.load(sys.stdin), record_files.Bounds(9, 1 << 20))
"""


def kill_midway(path: Path, records: list[Record], at: int) -> None:
    """Killed when it was about to finish its ``at``-th file."""
    with subprocess.Popen(
        [sys.executable, "-c", MIDWAY, str(path), str(at)],
        cwd=TREE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(records).encode())
        process.stdin.close()
        assert process.stdout.readline() == b"\n"
        process.kill()
        assert process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("at", [1, 2, 3, 4])
def test_a_killed_writer_leaves_nothing_torn_and_the_next_nothing_twice(
    tmp_path: Path, at: int
) -> None:
    records = [*decisions(3), *ends((20, 20))]
    kill_midway(tmp_path, records, at)
    whole = [name for name in names(tmp_path) if name.endswith(".json")]
    assert len(whole) == min(at, 4) - 1
    for name in whole:
        load_record((tmp_path / name).read_bytes())
    keep_records(str(tmp_path), records, MANY)
    assert names(tmp_path) == [file_name(record) for record in records[:3]]
    assert seqs(tmp_path) == [1, 2, 3]
    before = {one: one.read_bytes() for one in tmp_path.iterdir()}
    keep_records(str(tmp_path), records, MANY)
    assert before == {one: one.read_bytes() for one in tmp_path.iterdir()}


def test_what_a_killed_writer_began_is_swept_some_time(tmp_path: Path) -> None:
    kill_midway(tmp_path, decisions(1), 1)
    (left,) = tmp_path.iterdir()
    keep_records(str(tmp_path), decisions(1, 2), MANY)
    # Perhaps another is still at it.
    assert left.exists()
    hour_ago = left.stat().st_mtime - 3600
    os.utime(left, (hour_ago, hour_ago))
    keep_records(str(tmp_path), decisions(1, 3), MANY)
    assert not left.exists()
    assert seqs(tmp_path) == [2, 3]


def test_a_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (record,) = decisions(1)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / f".{file_name(record)}.new").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError, match="symbolic link"):
        keep_records(str(tmp_path), [record], MANY)
    assert (tmp_path / "secret").read_text() == "secret"


def test_a_file_that_could_not_be_finished_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        keep_records(str(tmp_path), decisions(2), MANY)
    assert names(tmp_path) == []
