"""A log's size costs time, not memory."""

import tempfile
from typing import BinaryIO

import pytest

from oomd.replay import stream
from tests.replay.bench_log import run_replay, write_log
from tests.replay.reading import only
from tests.replay.synthetic import ERAS, Process, report, rows_of

MARGIN_KIB = 8 * 1024


def test_memory_does_not_grow_with_the_log() -> None:
    peaks = []
    for mib in (4, 96):
        with tempfile.TemporaryFile() as log:
            count = write_log(log, mib)
            cost = run_replay(log)
        assert cost.status == 0
        assert cost.last_line.startswith(f"{count} report")
        peaks.append(cost.peak_kib)
    small, large = peaks
    assert large < small + MARGIN_KIB


def endless(log: BinaryIO, mib: int) -> None:
    for _ in range(mib):
        log.write(b"x" * (1 << 20))
    log.flush()


def test_a_line_without_an_end_is_cut() -> None:
    lines = "\n".join(report("5.10", [Process(100, 20)], 100)).encode()
    with tempfile.TemporaryFile() as log:
        log.write(lines + b"\noom-killer:")
        endless(log, 96)
        log.write(b"\n" + lines + b"\n")
        cost = run_replay(log)
    assert cost.last_line == "2 reports: 2 agree, 0 differ, 0 could not be judged"
    assert cost.peak_kib < 64 * 1024


def test_a_table_without_an_end_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ROWS_KEPT", 1000)
    lines = report("5.10", [Process(100, 20)], 100)
    (row,) = rows_of("5.10", [Process(100, 20)])
    at = lines.index(ERAS["5.10"].header)
    found = only([*lines[: at + 1], *[row] * 1001, *lines[at + 2 :]])
    assert found.agrees is None
    assert len(found.report.table.rows) == 1000
