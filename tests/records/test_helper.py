"""The helper: the journal and the files, neither of which depends on the other."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from oomd.mm.policy import POLICIES
from oomd.records.load import load_record
from oomd.records.replay import replay_record
from oomd.report.record import Record, settled_record
from oomd.tell import helper, journal
from tests.audit.machines import AMPLE
from tests.effects.children import OwnChildren
from tests.guard.acting import Acting, started
from tests.records.test_files import TREE, decisions, names


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state directory, and no journal."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.setattr(journal, "JOURNAL_SOCKET", "/nowhere/socket")
    path = tmp_path / "oomd"
    path.mkdir()
    monkeypatch.setenv("STATE_DIRECTORY", str(path))
    return path


def run(monkeypatch: pytest.MonkeyPatch, records: list[Record], *args: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(records)))
    return helper.main(args or ("9", "1"))


def test_the_journal_is_told_where_the_file_is(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[str, Record]] = []
    monkeypatch.setattr(journal, "_sender", lambda: lambda _, text, more: told.append((text, more)))
    assert run(monkeypatch, decisions(1)) == 0
    (path,) = (state / "decisions").iterdir()
    assert {fields["OOMD_RECORD"] for _, fields in told} == {str(path)}
    assert "file" not in json.loads(path.read_bytes())


@pytest.mark.parametrize("args", [("0", "1"), ("9", "0")])
def test_switched_off_nothing_is_written(
    state: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, str]
) -> None:
    assert run(monkeypatch, decisions(1), *args) == 0
    assert names(state) == []


def test_run_by_hand_nothing_is_written(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STATE_DIRECTORY")
    monkeypatch.chdir(state)
    assert run(monkeypatch, decisions(1)) == 0
    assert names(state) == []


def test_a_journal_that_fails_is_no_hindrance(
    state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken() -> None:
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(journal, "_sender", broken)
    # The daemon has it told again; the files are the same then.
    for _ in range(2):
        assert run(monkeypatch, decisions(2)) == helper.EXIT_NOT_TOLD
        assert len(names(state / "decisions")) == 2
    assert capfd.readouterr().err.count("the journal was not told of decisions") == 2


def test_a_journal_that_hangs_is_no_hindrance(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files are there before the journal has answered."""
    seen: list[int] = []

    def slow(_: object) -> None:
        while not (state / "decisions").exists() or len(names(state / "decisions")) < 2:
            os.sched_yield()
        seen.append(len(names(state / "decisions")))

    monkeypatch.setattr(helper, "tell_journal", slow)
    assert run(monkeypatch, decisions(2)) == 0
    assert seen == [2]


def test_a_disk_that_hangs_is_no_hindrance(
    state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    read_fd, write_fd = os.pipe()
    monkeypatch.setattr(helper, "keep_records", lambda *_: os.read(read_fd, 1))
    monkeypatch.setattr(helper, "FILES_S", 0.05)
    assert run(monkeypatch, decisions(1)) == 0
    os.write(write_fd, b"x")
    err = capfd.readouterr().err
    assert "oomd: decided at exhaustion: kill " in err
    assert f"decisions were not kept in {state}/decisions: nothing was written within" in err
    os.close(read_fd)
    os.close(write_fd)


def test_a_defect_of_ours_costs_the_files_and_not_the_journal(
    state: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def defective(*_: object) -> None:
        raise KeyError("missing")

    monkeypatch.setattr(helper, "keep_records", defective)
    assert run(monkeypatch, decisions(1)) == 0
    err = capfd.readouterr().err
    assert "decisions were not kept" in err and "KeyError" in err
    assert "oomd: decided at exhaustion: kill" in err


# A mount namespace of its own, in which there is no journal and the state is on a small disk.
ALONE = 'mount -t tmpfs -o "$1" none "$2" && mount -t tmpfs none /run && shift 2 && exec "$@"'
FULL = "size=4k", "No space left on device"
READ_ONLY = "ro", "Read-only file system"


@pytest.mark.live
@pytest.mark.parametrize(("options", "why"), [FULL, READ_ONLY], ids=["full", "read-only"])
def test_a_disk_that_takes_nothing_costs_one_warning(
    tmp_path: Path, options: str, why: str
) -> None:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    unshare = shutil.which("unshare")
    assert unshare
    inside = ["sh", "-c", ALONE, "sh", options, str(tmp_path)]
    ran = subprocess.run(
        [unshare, "--mount", *user, *inside, sys.executable, "-m", "oomd.tell.helper", "9", "1"],
        cwd=TREE,
        env={"PATH": os.environ["PATH"], "STATE_DIRECTORY": str(tmp_path)},
        input=json.dumps([*decisions(3), settled_record("20 gone", {})]),
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stderr.splitlines()
    warnings = [line for line in lines if "not kept" in line]
    assert warnings == [f"oomd: decisions were not kept in {tmp_path}/decisions: {why}"]
    assert len([line for line in lines if line.startswith("oomd: decided at ")]) == 3
    assert "oomd: 20 gone" in lines


@pytest.mark.live
@pytest.mark.parametrize("policy", ["el7", "mainline"])
def test_a_real_kill_is_kept_with_its_end(
    children: OwnChildren,
    state: Path,
    monkeypatch: pytest.MonkeyPatch,
    policy: str,
) -> None:
    task = started(children)
    acting = Acting({task.pid})
    acting.decide(task, policy=POLICIES[policy])
    acting.settle(AMPLE)
    told = [{**record, "seq": n} for n, record in enumerate(acting.told, 1)]
    assert run(monkeypatch, told) == 0
    (path,) = (state / "decisions").iterdir()
    recorded = load_record(path.read_bytes())
    assert recorded.about.victims == (f"{task.pid} ({task.comm}, chosen)",)
    assert recorded.about.settled.startswith(f"{task.pid} (")
    assert not replay_record(recorded).differences
    assert {"took_ms", "freed_kib", "held_kib", "end"} <= set(
        json.loads(path.read_bytes())["settled"]
    )
