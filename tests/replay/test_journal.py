"""The journal as a source, and the points in time that ``--since`` knows."""

import json
import sys
import types
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest

from oomd.replay.journal import point_in_time
from tests.replay.logs import AGREES, OWN, Replay


class _Reader:
    """What systemd.journal.Reader gives: text, bytes where it is none, and objects."""

    entries: ClassVar[list[dict[str, Any]]] = []
    asked: ClassVar[list[object]] = []

    def add_match(self, **fields: str) -> None:
        self.asked.append(fields)

    def seek_realtime(self, at: datetime) -> None:
        self.asked.append(at)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.entries)


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> type[_Reader]:
    module = types.ModuleType("systemd.journal")
    module.Reader = _Reader  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "systemd.journal", module)
    monkeypatch.setattr(_Reader, "asked", [])
    monkeypatch.setattr(_Reader, "entries", [])
    return _Reader


def entry(message: str | bytes, boot: int = 1, facility: int = 0) -> dict[str, Any]:
    return {
        "MESSAGE": message,
        "SYSLOG_FACILITY": facility,
        "_HOSTNAME": "web01",
        "_BOOT_ID": uuid.UUID(int=boot),
        "__REALTIME_TIMESTAMP": NOW,
    }


def test_the_journal(replay: Replay, journal: type[_Reader]) -> None:
    hostile = [line.replace("big", "b\udcff\nig") for line in AGREES]
    journal.entries[:] = [
        *(entry(line) for line in AGREES),
        *(entry(line.encode("utf-8", "surrogateescape"), boot=2) for line in hostile),
        *(entry(line.partition(";")[2], boot=2, facility=1) for line in OWN),
    ]
    ran = replay("--journal", "--since", "2026-11-20 07:15", "--json")
    assert (ran.status, ran.err) == (0, "")
    found = [json.loads(line) for line in ran.out.splitlines()]
    assert [one["agrees"] for one in found] == [True, True, None]
    assert [one["source"] for one in found] == ["kernel", "kernel", "oomd"]
    assert found[1]["kernel_killed"] == [{"pid": 200, "comm": r"b\udcff\nig"}]
    match, since = journal.asked
    assert match == {"_TRANSPORT": "kernel"}
    assert isinstance(since, datetime)
    assert (since.year, since.day, since.hour) == (2026, 20, 7)


def test_without_the_journals_module(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "systemd.journal", None)
    ran = replay("--journal")
    assert ran.status == 2
    assert "journalctl -k -o json | oomd replay -" in ran.err


NOW = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("today", NOW.replace(hour=0, minute=0)),
        ("yesterday", NOW.replace(day=22, hour=0, minute=0)),
        ("2h", NOW - timedelta(hours=2)),
        ("-30min", NOW - timedelta(minutes=30)),
        ("3 days ago", NOW - timedelta(days=3)),
        ("1 hour ago", NOW - timedelta(hours=1)),
        ("45 seconds ago", NOW - timedelta(seconds=45)),
        ("2026-11-20", NOW.replace(day=20, hour=0, minute=0)),
        ("2026-11-20 07:15", NOW.replace(day=20, hour=7, minute=15)),
        ("2026-11-20T07:15:00+01:00", NOW.replace(day=20, hour=6, minute=15)),
        ("@1795400919", datetime.fromtimestamp(1795400919, UTC)),
    ],
)
def test_points_in_time(text: str, at: datetime) -> None:
    assert point_in_time(text, NOW) == at


@pytest.mark.parametrize("text", ["", "soon", "2", "99999999999d", "2026-13-01", "@x", "@9" * 9])
def test_no_points_in_time(text: str) -> None:
    with pytest.raises(ValueError, match="expected a date"):
        point_in_time(text, NOW)
