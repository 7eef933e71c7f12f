"""The ring of records: when a helper takes them, and what becomes of them when none can."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomd.helpers import Helpers
from oomd.log import Log
from oomd.report.record import Record, settled_record
from oomd.settings import RecordSettings
from oomd.teller import LATER_MS, RECORDS_KEPT, RETRY_MS, TRIES, Teller
from tests.guard.helping import collect_one


class FileHelpers(Helpers):
    """Real helpers that write what they were given into a file, where no journal sees it."""

    def __init__(self, out: Path) -> None:
        super().__init__()
        self._out = out
        self.fail = False
        self.kill = False
        self.refuse = False
        self.started: list[int] = []

    def start(
        self, module: str, *args: str, stdin: int = -1, stdout: int = -1, nice: int = 19
    ) -> int:
        assert (module, args) == ("oomd.tell.helper", ("7", "3"))
        if self.refuse:
            raise BlockingIOError
        if self.kill:
            pid = super().start("signal", stdin=stdin)
            os.kill(pid, signal.SIGKILL)
        elif self.fail:
            pid = super().start("json.tool", "/nowhere/file", stdin=stdin)
        else:
            fd = os.open(self._out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            pid = super().start("json.tool", stdin=stdin, stdout=fd)
            os.close(fd)
        self.started.append(pid)
        return pid


class Telling:
    def __init__(self, path: Path) -> None:
        self._out = path / "told.json"
        self.helpers = FileHelpers(self._out)
        self.log_fd, write_fd = os.pipe()
        self._write_fd = write_fd
        self.teller = Teller(self.helpers, Log(write_fd))
        self.teller.kept = RecordSettings(kept=7, max_mib=3)

    def tell(self, *texts: str) -> None:
        for text in texts:
            self.teller.tell(settled_record(text, {}))

    def end(self) -> None:
        """Wait for the helper, and let the teller hear of it."""
        pid = self.helpers.started[-1]
        self.teller.ended(pid, collect_one(self.helpers, pid))

    def told(self) -> list[str]:
        return [record["text"] for record in self.records()]

    def records(self) -> list[Record]:
        records: list[Record] = json.loads(self._out.read_text())
        return records

    def logged(self) -> list[str]:
        os.set_blocking(self.log_fd, False)
        try:
            return os.read(self.log_fd, 65536).decode().splitlines()
        except BlockingIOError:
            return []

    def close(self) -> None:
        os.close(self.log_fd)
        os.close(self._write_fd)


@pytest.fixture
def telling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Telling]:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    one = Telling(tmp_path)
    yield one
    one.close()


def test_records_wait_for_the_calm_and_then_go_together(telling: Telling) -> None:
    teller = telling.teller
    teller.flush(0, calm=True)
    assert telling.helpers.started == []
    telling.tell("first", "second")
    teller.flush(10**9, calm=False)
    assert telling.helpers.started == []
    assert not teller.done
    teller.flush(10**9, calm=True)
    assert len(telling.helpers.started) == 1
    assert not teller.done
    telling.end()
    assert telling.told() == ["first", "second"]
    assert teller.done
    # Told once.
    teller.flush(10**10, calm=True)
    assert len(telling.helpers.started) == 1


def test_one_helper_at_a_time(telling: Telling) -> None:
    telling.tell("first")
    telling.teller.flush(0, calm=True)
    telling.tell("second")
    telling.teller.flush(RETRY_MS, calm=True)
    assert len(telling.helpers.started) == 1
    telling.end()
    assert telling.told() == ["first"]
    telling.teller.flush(RETRY_MS - 1, calm=True)
    assert len(telling.helpers.started) == 1
    telling.teller.flush(RETRY_MS, calm=True)
    telling.end()
    assert telling.told() == ["second"]


def test_the_helper_of_another_is_none_of_ours(telling: Telling) -> None:
    telling.tell("first")
    telling.teller.flush(0, calm=True)
    telling.teller.ended(1, 1)
    assert not telling.teller.done
    telling.end()
    assert telling.teller.done


def test_the_oldest_records_fall_out_of_a_full_ring_and_are_counted(telling: Telling) -> None:
    telling.tell(*(str(n) for n in range(RECORDS_KEPT + 2)))
    assert telling.teller.lost == 2
    telling.teller.flush(0, calm=True)
    telling.end()
    assert telling.told() == [str(n) for n in range(2, RECORDS_KEPT + 2)]


def test_kills_are_the_last_to_fall_out(telling: Telling) -> None:
    kill = {"kind": "decision", "verdict": "kill", "lines": [], "text": "a kill"}
    telling.teller.tell(kill)
    telling.tell(*(str(n) for n in range(RECORDS_KEPT)))
    assert telling.teller.lost == 1
    telling.teller.flush(0, calm=True)
    telling.end()
    assert telling.told() == ["a kill", *(str(n) for n in range(1, RECORDS_KEPT))]
    for _ in range(RECORDS_KEPT + 1):
        telling.teller.tell(kill)
    assert telling.teller.lost == 2


def test_what_a_failed_helper_had_is_told_again_in_order(
    telling: Telling, capfd: pytest.CaptureFixture[str]
) -> None:
    telling.tell("first", "second")
    telling.helpers.fail = True
    telling.teller.flush(0, calm=True)
    telling.tell("third")
    telling.end()
    telling.helpers.fail = False
    telling.teller.flush(RETRY_MS, calm=True)
    telling.end()
    assert telling.told() == ["first", "second", "third"]
    assert telling.logged() == []


BARE = ["oomd: 1 (x) gone after 3 ms"]


def tell_what_was_done(telling: Telling) -> None:
    # Said at once when it was done, and nothing that the log would want again.
    lines = ["Out of memory: Kill process 1 (x)", "Killed process 1 (x)"]
    telling.teller.tell({"kind": "decision", "lines": lines})
    telling.tell("1 (x) gone after 3 ms")


def test_when_no_helper_can_be_had_the_bare_lines_go_to_the_log(telling: Telling) -> None:
    telling.helpers.refuse = True
    tell_what_was_done(telling)
    now_ms = 0
    for _ in range(TRIES):
        assert telling.logged() == []
        telling.teller.flush(now_ms, calm=True)
        now_ms += RETRY_MS
    assert telling.logged() == BARE
    # And they are kept: one may be had some time, and writes the files.
    assert not telling.teller.done
    telling.helpers.refuse = False
    telling.teller.flush(now_ms, calm=True)
    assert telling.helpers.started == []
    telling.teller.flush(now_ms + LATER_MS, calm=True)
    telling.end()
    decision, settled = telling.records()
    assert decision["kind"] == "decision"
    # So that the journal is not told again.
    assert settled["said"]
    assert telling.logged() == []


def test_records_outlive_any_number_of_killed_helpers(telling: Telling) -> None:
    telling.helpers.kill = True
    tell_what_was_done(telling)
    now_ms = 0
    for _ in range(2 * TRIES):
        telling.teller.flush(now_ms, calm=True)
        telling.end()
        now_ms += RETRY_MS + LATER_MS
    assert telling.logged() == BARE
    telling.helpers.kill = False
    telling.teller.flush(now_ms, calm=True)
    telling.end()
    assert [one["seq"] for one in telling.records()] == [1, 2]
    assert telling.teller.done


def test_a_helper_that_fails_by_itself_gets_no_more_than_its_tries(telling: Telling) -> None:
    telling.helpers.fail = True
    tell_what_was_done(telling)
    for number in range(TRIES):
        telling.teller.flush(number * RETRY_MS, calm=True)
        telling.end()
    assert telling.logged() == BARE
    assert telling.teller.done


def test_samples_go_with_decisions_and_with_nothing_else(telling: Telling) -> None:
    teller, asked = telling.teller, []

    def series() -> Record:
        asked.append("series")
        return {"kind": "samples", "rows": [[1, 2]]}

    teller.series = series
    telling.tell("a kill has settled")
    teller.flush(10**9, calm=True)
    telling.end()
    assert (asked, len(telling.records())) == ([], 1)
    teller.tell({"kind": "decision", "verdict": "kill"})
    teller.tell({"kind": "decision", "verdict": "wait"})
    teller.flush(10**10, calm=True)
    telling.end()
    assert asked == ["series"]
    assert [one["kind"] for one in telling.records()] == ["decision", "decision", "samples"]
