"""``oomd replay`` as a command: sources, exit statuses, what it prints."""

import io
import json
import os
import subprocess
import sys
import types
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest

from oomd.cli import main
from oomd.replay import command
from oomd.replay.journal import point_in_time
from tests.audit.commands import TREE, Ran, spawn
from tests.audit.schema import MapOf, Maybe, OneOf, problems
from tests.replay.reading import SAMPLES, bare, sample_files
from tests.replay.synthetic import Process, report

BIG = Process(200, 500_000, "big", pgtables=1000)
SMALL = Process(100, 2_000, "small")
AGREES = report("el7", [SMALL, BIG], 200, 501)
DIFFERS = report("el7", [SMALL, BIG], 100, 2)
WRONG_SCORE = report("el7", [SMALL, BIG], 200, 7)
CUT = AGREES[:-2]
OWN = [
    "11,1,1,-;oomd invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=-1000",
    "11,2,1,-;Out of memory: Killed process 9 (x) total-vm:8kB, anon-rss:4kB, file-rss:0kB",
]

Replay = Callable[..., Ran]


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Replay:
    def run(*args: str | Path) -> Ran:
        status = main(["replay", *map(str, args)])
        return Ran(status, *capsys.readouterr())

    return run


def log(path: Path, *parts: list[str]) -> Path:
    text = "".join(f"{line}\n" for part in parts for line in part)
    path.write_text(text, errors="surrogateescape")
    return path


# --- exit statuses


@pytest.mark.parametrize(
    ("parts", "status"),
    [
        ([AGREES], 0),
        ([AGREES, AGREES], 0),
        ([CUT], 0),
        ([CUT, AGREES], 0),
        ([OWN], 0),
        ([DIFFERS], 1),
        ([WRONG_SCORE], 1),
        ([AGREES, DIFFERS, AGREES], 1),
    ],
)
def test_0_and_1_say_whether_all_agree(
    replay: Replay, tmp_path: Path, parts: list[list[str]], status: int
) -> None:
    for form in ([], ["--json"]):
        ran = replay(log(tmp_path / "log", *parts), *form)
        assert (ran.status, ran.err) == (status, "")


def test_another_policy_may_differ(replay: Replay, tmp_path: Path) -> None:
    root = Process(300, 501_000, "root", uid=0, pgtables=500)
    path = log(tmp_path / "log", report("el7", [BIG, root], 200, 501))
    assert replay(path).status == 0
    assert replay(path, "--policy", "el7").status == 0
    assert replay(path, "--policy", "mainline").status == 1


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--nonsense"], "unrecognized arguments: --nonsense (try oomd replay --help)"),
        (["a", "b"], "unrecognized arguments: b"),
        (["--policy", "el8"], "invalid choice: 'el8'"),
        (["--since", "today"], "--since goes with --journal"),
        (["--journal", "/a"], "--journal or /a, not both"),
        (["--journal", "--since", "lately"], "--since 'lately': expected a date as"),
        (["/nowhere/at/all"], "/nowhere/at/all: cannot be read: No such file or directory"),
        (["/etc"], "/etc: a folder: name a log in it"),
        (["/dev/null"], "/dev/null: no OOM report in it"),
    ],
)
def test_2_for_what_cannot_be_asked(replay: Replay, args: list[str], says: str) -> None:
    ran = replay(*args)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("oomd: ")
    assert says in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize(
    ("head", "says"),
    [
        (b"\x1f\x8b\x08\x00", "zcat {} | oomd replay -"),
        (b"\xfd7zXZ\x00\x00", "xzcat {} | oomd replay -"),
        (b"\x28\xb5\x2f\xfd\x00", "zstdcat {} | oomd replay -"),
        (b"LPKSHHRH\x00", "journalctl -k --file {} | oomd replay -"),
        (b"nothing\n", "no OOM report in it"),
        (b"", "no OOM report in it"),
    ],
)
def test_2_for_what_holds_no_report(replay: Replay, tmp_path: Path, head: bytes, says: str) -> None:
    path = tmp_path / "a\nfile"
    path.write_bytes(head)
    ran = replay(path)
    assert (ran.status, ran.out) == (2, "")
    assert says.format(str(path).replace("\n", "\\n")) in ran.err
    assert ran.err.count("\n") == 1


def test_70_for_a_defect_of_ours(
    replay: Replay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(command, "judge", broken)
    ran = replay(log(tmp_path / "log", AGREES))
    assert ran.status == 70
    assert ran.err.endswith("oomd: internal error, please report the lines above\n")


# --- where it reads


def test_standard_input(tmp_path: Path) -> None:
    path = log(tmp_path / "log", AGREES)
    for args in (["-"], []):
        ran = subprocess.run(
            [sys.executable, "-m", "oomd", "replay", *args],
            cwd=TREE,
            input=path.read_bytes(),
            capture_output=True,
            check=False,
        )
        assert (ran.returncode, ran.stderr) == (0, b"")
        assert b"1 report: 1 agree" in ran.stdout


def test_a_terminal_is_not_read(replay: Replay, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    ran = replay()
    assert ran.status == 2
    assert "nothing to read: name a FILE" in ran.err


@pytest.mark.live
def test_this_machines_ring_and_journal(replay: Replay) -> None:
    for args in (["/dev/kmsg"], ["--journal"], ["--journal", "--since", "2h"]):
        ran = replay(*args)
        # What is in them is this machine's affair; that they can be read, ours.
        assert ran.status in (0, 1) or "no OOM report" in ran.err or "cannot be read" in ran.err


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


# --- what it prints

_NAMED = {"pid": int, "comm": str}
SCHEMA: dict[str, Any] = {
    "index": int,
    "line": int,
    "source": OneOf(("kernel", "oomd")),
    "kernel": str,
    "profile": OneOf(("el7", "mainline")),
    "kind": OneOf(("global", "memcg", "cpuset", "mempolicy", "sysrq", "panic")),
    "complete": bool,
    "totalpages": Maybe(int),
    "kernel_chosen": Maybe({**_NAMED, "tgid": Maybe(int), "score": Maybe(int)}),
    "kernel_killed": [_NAMED],
    "ours": Maybe(
        {
            "verdict": OneOf(("kill", "panic", "none_killable")),
            "pid": Maybe(int),
            "comm": Maybe(str),
            "points": Maybe(int),
            "score": Maybe(int),
        }
    ),
    "agrees": Maybe(bool),
    "score_agrees": Maybe(bool),
    "explanation": str,
    "steps": [
        {
            "step": OneOf((1, 2, 3, 4, 5, 6, 7)),
            "name": str,
            "kernel": str,
            "ours": Maybe(str),
            "detail": MapOf((bool, int, float, str, type(None))),
        }
    ],
}


def objects(replay: Replay, path: Path, *args: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in replay(path, "--json", *args).out.splitlines()]
    for one in found:
        spec = {**SCHEMA, "oomd_killed": [_NAMED]} if one["source"] == "oomd" else SCHEMA
        assert problems(one, spec) == []
    return found


@pytest.mark.parametrize("path", sample_files(), ids=lambda path: path.stem)
def test_the_json_of_each_sample(replay: Replay, path: Path) -> None:
    found = objects(replay, path)
    assert [one["index"] for one in found] == list(range(1, len(found) + 1))


def test_the_json_of_one(replay: Replay, tmp_path: Path) -> None:
    (found,) = objects(replay, log(tmp_path / "log", AGREES))
    steps = found.pop("steps")
    assert found == {
        "index": 1,
        "line": 1,
        "source": "kernel",
        "kernel": "3.10.0-957.el7.x86_64",
        "profile": "el7",
        "kind": "global",
        "complete": True,
        "totalpages": 1_000_000,
        "kernel_chosen": {"pid": 200, "tgid": 200, "comm": "big", "score": 501},
        "kernel_killed": [{"pid": 200, "comm": "big"}],
        "ours": {"verdict": "kill", "pid": 200, "comm": "big", "points": 501_000, "score": 501},
        "agrees": True,
        "score_agrees": True,
        "explanation": "the policy chooses the same process, and its score comes out the same",
    }
    assert [step["kernel"] for step in steps] == [
        "they freed nothing, or there would be no report",
        "current was not dying, or there would be no report",
        "no panic",
        "not taken",
        "200 (big), score 501",
        "not reached",
        "killed 200 (big)",
    ]
    assert steps[4]["detail"]["points"] == 501_000


def test_the_json_of_what_cannot_be_judged(replay: Replay, tmp_path: Path) -> None:
    cut, own = objects(replay, log(tmp_path / "log", CUT, OWN))
    assert (cut["complete"], cut["agrees"], cut["ours"]) == (False, None, None)
    assert (own["source"], own["oomd_killed"]) == ("oomd", [{"pid": 9, "comm": "x"}])
    assert own["kernel_killed"] == []


def test_the_text(replay: Replay, tmp_path: Path) -> None:
    ran = replay(log(tmp_path / "log", AGREES, DIFFERS, OWN))
    for words in (
        "1. line 1: global OOM",
        "3.10.0-957.el7.x86_64, judged by the rules of el7",
        "totalpages  1,000,000",
        "chose 200 (big), score 501; killed 200 (big)",
        "would choose 200 (big), 501,000 points, score 501",
        "agrees: the policy chooses the same process",
        "DIFFERS: the policy comes to something else; the policy chooses 200 (big)",
        "written by oomd",
        "2 reports: 1 agree, 1 differ, 0 could not be judged; 1 by oomd itself",
    ):
        assert words in ran.out
    assert ran.out.isascii() and "\x1b" not in ran.out


def test_hostile_names_are_printed_safely(replay: Replay) -> None:
    for path in sample_files():
        ran = replay(path)
        assert all(line.isprintable() for line in ran.out.splitlines())


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["replay", "--help"])
    assert left.value.code == 0
    assert "--journal" in capsys.readouterr().out


def test_the_audit_knows_nothing_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--dry-run", "replay"]) == 2
    assert "unrecognized arguments: replay" in capsys.readouterr().err


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_an_output_that_cannot_be_written_is_said_in_one_line(unbuffered: str) -> None:
    path = SAMPLES / "6.1-global.log"
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "wb") as full:
        ran = spawn("replay", path, env=env, stdout=full, stderr=subprocess.PIPE)
    assert ran.stderr == "oomd: cannot write the output: No space left on device\n"
    assert ran.returncode == 2


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    path = log(tmp_path / "log", *([AGREES] * 500))
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    ran = spawn("replay", path, stdout=write_fd, stderr=subprocess.PIPE)
    os.close(write_fd)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_a_sample_is_text() -> None:
    assert all(line for path in sample_files() for line in bare(path))
