"""Records as a list: what is shown of each, and what is no record."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomd.control.samples import COLUMNS
from oomd.history.read import Entry, read_entry, read_folder, series_of
from oomd.records.fields import BadRecord
from oomd.report.record import Record
from oomd.tell.record_files import file_name
from tests.records.kept import in_full, record_of
from tests.records.test_replay import asked_of, changed

ROWS = [
    [-60_000, 900_000, 800_000, 5000, 0, 0],
    [-2000, 150_000, 90_000, 4000, 500_000, 100_000],
    [-1000, 60_000, 20_000, 10, 1_200_000, 700_000],
    [0, 59_000, 19_000, 10, 2_000_000, 1_500_000],
    [900, 800_000, 700_000, 3000, 2_100_000, 1_600_000],
]
SETTLED = {
    "time": 1.0,
    "text": "20 (child) gone after 300 ms, 8192 KiB came back of 9000 KiB",
    "victim_pid": 20,
    "end": "gone",
    "took_ms": 300,
    "freed_kib": 8192,
    "held_kib": 9000,
}


def record(time_s: float = 1_800_000_000.25, **fields: object) -> Record:
    """A kill, all told."""
    series = {"columns": list(COLUMNS), "rows": ROWS}
    kept = {"time": time_s, "settled": SETTLED, "series": series, "signal_after_ms": 12}
    return {**record_of(asked_of()), **kept, **fields}


def put(folder: Path, *records: Record) -> list[Path]:
    """In files of the names that they have."""
    paths = [folder / file_name({"seq": 1, **one}) for one in records]
    for path, one in zip(paths, records, strict=True):
        path.write_bytes(in_full(one))
    return paths


def test_what_is_shown_of_a_kill(tmp_path: Path) -> None:
    (path,) = put(tmp_path, record())
    entry = read_entry(str(path))
    assert (entry.time_s, entry.trigger, entry.verdict) == (1_800_000_000.25, "exhaustion", "kill")
    assert [(pid, why) for pid, _, why in entry.victims] == [(20, "child")]
    assert ": killed 20 (child), the worst with " in entry.reason
    assert entry.signal_after_ms == 12
    assert entry.settled is not None
    assert (entry.settled.took_ms, entry.settled.freed_kib) == (300, 8192)
    series = series_of(entry)
    assert series is not None
    assert series.times_s == [-60.0, -2.0, -1.0, 0.0, 0.9]
    assert series.columns["mem_free_kib"][2] == 20_000


def test_what_is_not_known_is_not_made_up(tmp_path: Path) -> None:
    bare = record(settled=None, series=None, victims=[], verdict="paused", done="paused, nothing")
    del bare["signal_after_ms"]
    (path,) = put(tmp_path, bare)
    entry = read_entry(str(path))
    assert (entry.victims, entry.settled, entry.signal_after_ms) == ((), None, None)
    assert entry.reason.endswith(": paused, nothing")
    assert series_of(entry) is None


def test_a_folder_the_oldest_first(tmp_path: Path) -> None:
    put(tmp_path, record(1_800_000_002.0), record(1_800_000_001.0))
    (tmp_path / "notes.txt").write_text("not ours")
    bad = tmp_path / file_name(record(1_800_000_003.0))
    bad.write_text("{")
    first, second, third = read_folder(str(tmp_path))
    assert isinstance(first, Entry)
    assert isinstance(second, Entry)
    assert first.time_s < second.time_s
    assert third == f"{bad}: not JSON, or cut short"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("settled",), 7),
        (("settled", "took_ms"), "x"),
        (("settled", "freed_kib"), None),
        (("thresholds",), 5),
        (("thresholds", 0, "name"), None),
        (("victims", 0, "pid"), "x"),
        (("signal_after_ms",), 1.5),
        (("trace", 4, "verdict"), []),
    ],
    ids=str,
)
def test_what_is_no_record_is_one_line(tmp_path: Path, place: tuple[Any, ...], value: Any) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(in_full(changed(record(), place, value)))
    try:
        read_entry(str(path))
    except BadRecord as error:
        assert "\n" not in str(error)
    else:
        # Whatever is not asked for may be anything.
        assert place in {("thresholds", 0, "name")}


@pytest.mark.parametrize(
    "series",
    [
        7,
        {"columns": [], "rows": 1},
        {"columns": ["time_ms"], "rows": [[1, 2]]},
        {"columns": ["time_ms"], "rows": [["x"], [2]]},
        {"columns": ["time_ms"], "rows": [[True], [2]]},
        {"columns": ["time_ms"], "rows": [[10**30], [2]]},
        {"rows": [[1]]},
        {"columns": 7, "rows": [[1]]},
        {"columns": list(COLUMNS)[:3], "rows": [[1, 2, 3], [2, 2, 3]]},
    ],
    ids=str,
)
def test_a_series_that_is_none(tmp_path: Path, series: object) -> None:
    (path,) = put(tmp_path, record(series=series))
    with pytest.raises(BadRecord):
        series_of(read_entry(str(path)))


def test_a_series_that_goes_back_in_time_or_is_too_short_is_not_drawn(tmp_path: Path) -> None:
    for rows in (ROWS[:1], ROWS[::-1], [ROWS[0], ROWS[0]]):
        (path,) = put(tmp_path, record(series={"columns": list(COLUMNS), "rows": rows}))
        assert series_of(read_entry(str(path))) is None


DATA = in_full(record())


@settings(deadline=None)
@given(st.integers(0, len(DATA) - 1), st.binary(max_size=4), st.integers(0, 6))
def test_any_damage_is_told_or_does_no_harm(
    tmp_path_factory: pytest.TempPathFactory, at: int, new: bytes, cut: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "damaged.json"
    path.write_bytes(DATA[:at] + new + DATA[at + cut :])
    try:
        series_of(read_entry(str(path)))
    except BadRecord as error:
        assert "\n" not in str(error)


def test_all_of_a_record_is_small_enough(tmp_path: Path) -> None:
    """Samples are a part of it that does not outgrow the rest."""
    rows = [ROWS[2]] * 90
    whole = json.dumps(record(series={"columns": list(COLUMNS), "rows": rows}))
    assert len(whole) < 12_000
