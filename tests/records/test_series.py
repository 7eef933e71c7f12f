"""What memory was like around a decision: cut from the samples, and small."""

import json
import time
from typing import Any

from oomd.control.samples import COLUMNS
from oomd.tell.series import AFTER_MS, BEFORE_MS, NEAR_MS, ROWS, with_series

NOW_S = 1_800_000_000.0


def samples(*times_ms: int, now_ms: int = 10_000_000) -> dict[str, Any]:
    """Handed over at NOW_S; times from then."""
    rows = [[now_ms + at, 1000 + at, 500, 0, 7, 3] for at in times_ms]
    return {
        "kind": "samples",
        "time": NOW_S,
        "now_ms": now_ms,
        "columns": list(COLUMNS),
        "rows": rows,
    }


def decision(seconds_ago: float) -> dict[str, Any]:
    return {"kind": "decision", "time": NOW_S - seconds_ago}


def test_each_decision_has_its_own_view() -> None:
    first, second, settled = with_series(
        [decision(10), decision(4), {"kind": "settled"}, samples(-12_000, -5000, -1000)]
    )
    assert [row[0] for row in first["series"]["rows"]] == [-2000, 5000, 9000]
    assert [row[0] for row in second["series"]["rows"]] == [-8000, -1000, 3000]
    assert second["series"]["columns"] == list(COLUMNS)
    assert second["series"]["rows"][1][1:] == [-4000, 500, 0, 7, 3]
    assert settled == {"kind": "settled"}


def test_what_is_far_away_is_left_out() -> None:
    (record,) = with_series(
        [decision(70), samples(-70_000 - BEFORE_MS - 1, -70_000 + AFTER_MS + 1)]
    )
    assert record["series"]["rows"] == []


def test_there_may_be_none() -> None:
    record = decision(1)
    assert with_series([record]) == [decision(1)]
    assert "series" not in record


def test_it_stays_small_and_keeps_what_is_near() -> None:
    times = [*range(-240_000, -5000, 1000), *range(-5000, 0, 100), -7, 0]
    (record,) = with_series([decision(0), samples(*times)])
    rows = record["series"]["rows"]
    assert len(rows) <= ROWS
    assert [row[0] for row in rows] == sorted(row[0] for row in rows)
    assert {at for at in times if abs(at) <= NEAR_MS} <= {row[0] for row in rows}
    assert rows[0][0] < -200_000
    # A machine of 4 TiB, up for a year.
    wide = [[-240_000, 2**32, 2**32, 2**32, 10**13, 10**13]] * ROWS
    assert len(json.dumps(wide, separators=(",", ":"))) < 7500


def test_a_long_storm_of_looks_is_thinned_too() -> None:
    (record,) = with_series([decision(0), samples(*range(-4000, 1, 10))])
    rows = record["series"]["rows"]
    assert ROWS // 2 <= len(rows) <= ROWS
    assert rows[0][0] == -4000


def test_times_are_those_of_the_machine() -> None:
    """The offset between the clocks is taken when both were read, not guessed."""
    before = time.time()
    real = samples(-3000, 0, now_ms=time.monotonic_ns() // 1_000_000) | {"time": before}
    (record,) = with_series([{"kind": "decision", "time": before - 1}, real])
    assert [row[0] for row in record["series"]["rows"]] == [-2000, 1000]
