"""What memory was like around a decision, cut from what the daemon has sampled."""

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["with_series"]

Record = dict[str, Any]

# Before the decision and after it.
BEFORE_MS, AFTER_MS = 240_000, 60_000
# So near to it every sample stays; of the others as many as there is room for.
NEAR_MS = 5000
ROWS = 90


def _thinned(rows: list[list[int]]) -> list[list[int]]:
    """At most :data:`ROWS`, the nearest of them all there; times are ms from the decision."""
    near = [row for row in rows if abs(row[0]) <= NEAR_MS]
    far = [row for row in rows if abs(row[0]) > NEAR_MS]
    if len(near) > ROWS:
        # Fewer than each other one, so that both ends stay.
        return near[:: -(-len(near) // ROWS)]
    room = ROWS - len(near)
    if len(far) > room:
        far = far[:: -(-len(far) // room)] if room else []
    return sorted(near + far)


def _around(record: Record, samples: Record) -> list[list[int]]:
    # The samples have a clock that nobody sets; both were read when they were handed over.
    offset_ms = samples["now_ms"] - round((samples["time"] - record["time"]) * 1000)
    rows = [[row[0] - offset_ms, *row[1:]] for row in samples["rows"]]
    return _thinned([row for row in rows if -BEFORE_MS <= row[0] <= AFTER_MS])


def with_series(told: Iterable[Record]) -> list[Record]:
    """The records without the samples; each decision has those around it, as ``series``.

    ``rows`` begin with the time, ms from the decision; ``columns`` names what they hold.
    """
    told = list(told)
    records = [one for one in told if one["kind"] != "samples"]
    samples: Sequence[Record] = [one for one in told if one["kind"] == "samples"]
    for record in records:
        if record["kind"] == "decision" and samples:
            rows = _around(record, samples[0])
            record["series"] = {"columns": samples[0]["columns"], "rows": rows}
    return records
