"""The rings of samples: what they keep, and that they never grow."""

import sys

from oomd.control.samples import COLUMNS, Samples
from oomd.event import Look
from oomd.mm_types import MemInfo, Pressure, Stall


def look(now_ms: int, pressure: bool = True) -> Look:
    stall = Stall(0.0, 0.0, 0.0, now_ms * 3), Stall(0.0, 0.0, 0.0, now_ms * 2)
    return Look(
        now_ms,
        MemInfo(8 << 20, now_ms + 2, now_ms + 1, 1 << 20, now_ms + 3),
        Pressure(*stall) if pressure else None,
        (),
        None,
        0,
        0,
        0,
        0,
    )


def test_a_sample_is_what_was_read() -> None:
    samples = Samples()
    samples.add(look(5000))
    assert samples.rows() == [[5000, 5001, 5002, 5003, 15_000, 10_000]]
    assert len(COLUMNS) == 6
    samples.add(look(6000, pressure=False))
    assert samples.rows()[1] == [6000, 6001, 6002, 6003, 0, 0]


def test_the_last_seconds_are_there_in_detail_and_minutes_in_outline() -> None:
    samples = Samples()
    # Ten minutes of a look each 50 ms, as in a storm.
    last_ms = 600_000
    for now_ms in range(0, last_ms + 1, 50):
        samples.add(look(now_ms))
    times = [row[0] for row in samples.rows()]
    assert times == sorted(set(times))
    # All that were not thrown away as too near to each other: 40 in each ring.
    assert times[-40:] == list(range(last_ms - 39 * 50, last_ms + 1, 50))
    assert last_ms - 240_000 <= times[0] <= last_ms - 230_000
    steps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    assert max(steps) <= 6000
    # Half a minute back, the steps are below a second.
    near = [step for at, step in zip(times, steps, strict=False) if last_ms - 25_000 < at < last_ms]
    assert max(near) <= 750


def test_calm_spans_more() -> None:
    samples = Samples()
    for now_ms in range(0, 3_600_000, 20_000):
        samples.add(look(now_ms))
    assert [row[0] for row in samples.rows()] == list(range(2_800_000, 3_600_000, 20_000))


def test_it_never_grows() -> None:
    samples = Samples()
    rings = [ring._cells for ring in samples._rings]
    sizes = [cells.nbytes for cells in rings]
    for now_ms in range(0, 1_000_000, 40):
        samples.add(look(now_ms))
    assert [ring._cells for ring in samples._rings] == rings
    assert sum(sizes) == 3 * 40 * 6 * 8
    assert sum(map(sys.getsizeof, (ring for ring in samples._rings))) < 500
    assert len(samples.rows()) <= 120
