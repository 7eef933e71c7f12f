"""What ``oomd replay`` prints: JSON of a schema, text for a person, nothing that is unsafe."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from oomd.cli import main
from tests.audit.commands import spawn
from tests.audit.schema import MapOf, Maybe, OneOf, problems
from tests.replay.logs import AGREES, CUT, DIFFERS, OWN, Replay, log
from tests.replay.reading import SAMPLES, bare, sample_files

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
