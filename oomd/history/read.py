"""The records of decisions in a folder, as a list of what has happened."""

import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from oomd.cli_words import UsageError
from oomd.control.samples import COLUMNS
from oomd.records.fields import BadRecord, Keys
from oomd.records.load import BYTES_AT_MOST, load_record, parse_record
from oomd.report.sentence import sentence
from oomd.tell.record_files import is_record_name

__all__ = ["Entry", "Series", "Settled", "read_entry", "read_folder", "series_of"]

# Of the figures in a series: far from where Python refuses to print a number.
_LARGEST = 2**63


class Settled(NamedTuple):
    """How a kill has ended."""

    text: str
    end: str
    took_ms: int
    freed_kib: int
    """Negative: others took more meanwhile."""
    held_kib: int


class Entry(NamedTuple):
    """One decision."""

    path: str
    time_s: float
    """Since 1970, UTC."""
    trigger: str
    verdict: str
    victims: tuple[tuple[int, str, str], ...]
    """Process, comm (escaped) and why; the victim first."""
    reason: str
    """One sentence."""
    signal_after_ms: int | None
    """From the threshold seen crossed to SIGKILL; None: nobody was killed."""
    settled: Settled | None
    """None: not known, or nobody was waited for."""
    record: dict[str, Any]
    """All of it, as it was checked."""


class Series(NamedTuple):
    """What memory was like around a decision. Times are seconds from it."""

    times_s: list[float]
    columns: dict[str, list[int]]
    """By name, as :data:`oomd.control.samples.COLUMNS` has them."""


def _settled(keys: Keys) -> Settled | None:
    if "settled" not in keys.names() or keys.raw("settled") is None:
        return None
    inside = Keys(keys.raw("settled"), "settled")
    return Settled(
        inside.take("text", str),
        inside.take("end", str),
        inside.take("took_ms", int),
        inside.take("freed_kib", int),
        inside.take("held_kib", int),
    )


def read_entry(path: str) -> Entry:
    """The decision in a file. Raises BadRecord and OSError."""
    with open(path, "rb") as file:
        data = file.read(BYTES_AT_MOST + 1)
    # All of what replay asks for is checked there.
    about = load_record(data).about
    record = parse_record(data)
    keys = Keys(record)
    victims = []
    for where, one in keys.array("victims"):
        victim = Keys(one, where)
        words = victim.take("comm", str), victim.take("why", str)
        victims.append((victim.take("pid", int), *words))
    try:
        reason = sentence(record)
    except (LookupError, TypeError, AttributeError):
        raise BadRecord("thresholds", "say nothing of why it was decided") from None
    after_ms = keys.take("signal_after_ms", int) if "signal_after_ms" in keys.names() else None
    return Entry(
        path,
        about.time_s,
        about.trigger,
        about.verdict,
        tuple(victims),
        reason,
        after_ms,
        _settled(keys),
        record,
    )


def read_folder(folder: str) -> Iterator[Entry | str]:
    """The decisions in a folder, the oldest first; a line in the place of one that is no record.

    Raises UsageError.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if is_record_name(name))
    except FileNotFoundError:
        raise UsageError(f"{folder}: there is no such folder: has oomd decided anything?") from None
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from None
    for name in names:
        path = os.path.join(folder, name)
        try:
            yield read_entry(path)
        except FileNotFoundError:
            # The oldest go first, and may go now.
            continue
        except (OSError, BadRecord) as error:
            why = error.strerror if isinstance(error, OSError) else error
            yield f"{path}: {why}"


def series_of(entry: Entry) -> Series | None:
    """The samples in a record; None: it has none that could be drawn. Raises BadRecord."""
    if entry.record.get("series") is None:
        return None
    inside = Keys(entry.record["series"], "series")
    columns = [one for _, one in inside.array("columns")]
    if not {*COLUMNS} <= {one for one in columns if isinstance(one, str)}:
        raise BadRecord(inside.path("columns"), f"are not {', '.join(COLUMNS)}")
    rows = []
    for where, row in inside.array("rows"):
        if not isinstance(row, list) or len(row) != len(columns):
            raise BadRecord(where, "is no row of the series")
        if not all(type(one) is int and abs(one) < _LARGEST for one in row):
            raise BadRecord(where, "has what is no number")
        rows.append(row)
    by_name = {name: [row[n] for row in rows] for n, name in enumerate(columns)}
    times = by_name["time_ms"]
    if len(times) < 2 or times != sorted(set(times)):
        return None
    return Series([one / 1000 for one in times], by_name)
