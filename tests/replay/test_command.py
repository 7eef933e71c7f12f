"""``oomd replay`` as a command: sources, exit statuses, what it prints."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from oomd.replay import command
from tests.audit.commands import TREE
from tests.replay.logs import AGREES, BIG, CUT, DIFFERS, OWN, WRONG_SCORE, Replay, log
from tests.replay.synthetic import Process, report

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
