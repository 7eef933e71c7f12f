"""Targets that read a decision and take it again: kernel reports, records."""

import io
import json
from datetime import UTC, datetime

from oomd.records.load import load_record
from oomd.records.replay import replay_record
from oomd.records.text import replayed_as_json, replayed_as_text, split_records
from oomd.replay.as_json import as_json
from oomd.replay.as_text import as_text
from oomd.replay.collect import Collector
from oomd.replay.journal import point_in_time
from oomd.replay.judge import judge
from oomd.replay.kernel_report import KernelReport
from oomd.replay.prefix import logged
from oomd.replay.sources import text_lines

__all__ = ["log_line", "record", "report", "since"]

_NOW = datetime(2026, 11, 23, 8, tzinfo=UTC)


def log_line(data: bytes) -> object:
    """One line of a log."""
    return logged(data.decode("utf-8", "surrogateescape"))


def report(data: bytes) -> object:
    """A log, each report in it judged, as text and as JSON."""
    collector = Collector()
    found: list[KernelReport] = []
    for number, line in text_lines(io.BytesIO(data), lambda: collector.busy, lambda size: None):
        found += collector.feed(number, line)
    found += collector.finish()
    told = []
    for index, one in enumerate(found, 1):
        judgement = judge(one)
        told += [shown.text for shown in as_text(index, judgement)]
        told.append(json.dumps(as_json(index, judgement)))
        if any("\n" in text for text in told):
            raise AssertionError("a line with a newline in it")
    return told


def record(data: bytes) -> object:
    """A file of records, each taken again."""
    told: list[str] = []
    for one in split_records(data):
        recorded = load_record(one)
        replayed = replay_record(recorded)
        told += replayed_as_text(recorded, replayed)
        told.append(json.dumps(replayed_as_json(recorded, replayed)))
    return told


def since(data: bytes) -> object:
    """A point in time as a user writes it."""
    return point_in_time(data.decode("utf-8", "replace"), _NOW)
