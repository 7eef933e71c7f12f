"""Decisions as files, one each: at most so many, of so many bytes, the oldest go first.

A file is there whole or not at all, and under a name that depends on the decision alone: whoever
was killed at it can do it again.
"""

import json
import os
import re
import stat
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

__all__ = ["Bounds", "file_name", "is_record_name", "joined", "keep_records"]

Record = dict[str, Any]

# Names as file_name() makes them: nothing else in the folder is ours to remove.
_NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z-\d{4,}-[a-z_]+\.json")
_UNFINISHED = re.compile(rf"\.{_NAME.pattern}\.new")
# Whoever has left one for so long has been killed at it.
_STALE_S = 600

# An oom_group of thousands, all of them killed, makes no larger a file.
_LISTED = 256

# Names and sizes of every user's processes: not for everybody's eyes.
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600


class Bounds(NamedTuple):
    """How much is kept."""

    files: int
    bytes: int


class _Entry(NamedTuple):
    name: str
    size_bytes: int


def is_record_name(name: str) -> bool:
    """Whether it is one of ours, as :func:`file_name` makes them."""
    return _NAME.fullmatch(name) is not None


def _stamp(time_s: float) -> str:
    seconds, fraction = divmod(round(time_s * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime(seconds))}.{fraction:06d}Z"


def file_name(record: Record) -> str:
    """Sorted by name, decisions are sorted by time."""
    return f"{_stamp(record['time'])}-{record['seq']:04d}-{record['verdict']}.json"


# --- what is written


def _whose_end(record: Record) -> list[int] | None:
    """The process whose end settles this decision: the victim, or who is waited for."""
    if record["victims"]:
        victim = record["victims"][0]
        return [victim["pid"], victim["starttime_ticks"]]
    decision = record["decision"]
    ident: list[int] | None = decision.get("task") or decision.get("chosen")
    return ident


def joined(records: Sequence[Record]) -> list[Record]:
    """The decisions, each with what came of it (None: not known)."""
    decisions: list[Record] = []
    for record in records:
        if record["kind"] == "decision":
            decisions.append({**record, "settled": None})
            continue
        for decision in reversed(decisions):
            if decision["settled"] is None and _whose_end(decision) == record.get("task"):
                settled = {"time": record["time"], "text": record["text"]}
                decision["settled"] = {**settled, **record["fields"]}
                break
    return decisions


def _content(record: Record) -> bytes:
    # The kernel's table says less than the candidates do.
    kept = {name: value for name, value in record.items() if name not in ("table", "file")}
    for name in ("victims", "lines"):
        if len(kept[name]) > _LISTED:
            kept |= {name: kept[name][:_LISTED], f"{name}_count": len(kept[name])}
    # In ASCII, on one line.
    return json.dumps(kept, separators=(",", ":")).encode("ascii") + b"\n"


# --- where


def _entries(directory: str) -> list[_Entry]:
    """The records that are there, those that go first in front: the oldest, but for what a clock
    that was wrong has dated after today. Else nothing newer would be kept until that day.
    """
    found = []
    now_s = time.time()
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            if not stat.S_ISREG(status.st_mode):
                continue
            if _NAME.fullmatch(entry.name):
                found.append(_Entry(entry.name, status.st_size))
            elif _UNFINISHED.fullmatch(entry.name) and now_s - status.st_mtime > _STALE_S:
                with suppress(FileNotFoundError):
                    os.unlink(entry.path)
    now = _stamp(now_s)
    return sorted(found, key=lambda entry: (entry.name <= now, entry.name))


def _make_room(directory: str, new: dict[str, bytes], bounds: Bounds) -> None:
    """Before anything is written: the bounds hold at every moment."""
    there = [entry for entry in _entries(directory) if entry.name not in new]
    files = len(there) + len(new)
    size_bytes = sum(entry.size_bytes for entry in there) + sum(map(len, new.values()))
    for entry in there:
        if files <= bounds.files and size_bytes <= bounds.bytes:
            break
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, entry.name))
        files -= 1
        size_bytes -= entry.size_bytes


def _write(directory: str, name: str, data: bytes) -> None:
    new = os.path.join(directory, f".{name}.new")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(new, flags, _FILE_MODE), "wb") as file:
            file.write(data)
            file.flush()
            # Its content before its name: a crash may follow a storm.
            os.fsync(file.fileno())
        os.rename(new, os.path.join(directory, name))
    except OSError:
        with suppress(OSError):
            os.unlink(new)
        raise


def _newest(decisions: Sequence[Record], bounds: Bounds) -> dict[str, bytes]:
    """As many as may be kept, counted from the newest; by name."""
    new: dict[str, bytes] = {}
    left_bytes = bounds.bytes
    for record in reversed(decisions[-bounds.files :]):
        data = _content(record)
        left_bytes -= len(data)
        if left_bytes < 0:
            break
        new[file_name(record)] = data
    return dict(reversed(new.items()))


def keep_records(directory: str, records: Sequence[Record], bounds: Bounds) -> None:
    """Write the decisions among ``records`` into ``directory``. Raises OSError.

    Done twice with the same records it leaves what once would have left.
    """
    new = _newest(joined(records), bounds)
    if not new:
        return
    os.makedirs(directory, mode=_FOLDER_MODE, exist_ok=True)
    _make_room(directory, new, bounds)
    for name, data in new.items():
        _write(directory, name, data)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
