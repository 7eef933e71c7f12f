"""``oomd replay RECORD``."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from oomd.cli import main
from oomd.report.record import Record
from tests.records.kept import in_full, record_of
from tests.records.test_replay import asked_of, changed

Out = pytest.CaptureFixture[str]


def record() -> Record:
    return record_of(asked_of())


def other() -> Record:
    """One that was decided otherwise."""
    return changed(record(), ("trace", 4, "detail", "points"), 5)


def put(path: Path, *records: Record, cut: int | None = None) -> str:
    file = path / "decision.json"
    file.write_bytes(b"\n".join(map(in_full, records))[:cut])
    return str(file)


def test_the_same_again(tmp_path: Path, capsys: Out) -> None:
    assert main(["replay", put(tmp_path, record())]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(" UTC, at exhaustion: kill 20 (child, child)")
    assert lines[-1] == "   the same decision again, bit by bit: 7 steps, 2 candidates"


def test_one_that_differs(tmp_path: Path, capsys: Out) -> None:
    assert main(["replay", put(tmp_path, record(), other())]) == 1
    out = capsys.readouterr().out
    assert "   DIFFERS in 1 place\n      trace[4].detail.points: 5 then, 500000 now\n" in out
    assert out.endswith("\n2 decisions: 1 the same, 1 differ\n")


def test_as_objects(tmp_path: Path, capsys: Out) -> None:
    assert main(["replay", "--json", put(tmp_path, record(), other())]) == 1
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["same"] for one in objects] == [True, False]
    assert objects[1]["differences"] == [
        {"where": "trace[4].detail.points", "recorded": "5", "replayed": "500000"}
    ]


def test_from_standard_input(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: Out) -> None:
    with open(put(tmp_path, record()), "rb") as file:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(file))
        assert main(["replay", "-"]) == 0
    assert "bit by bit" in capsys.readouterr().out


REFUSED: list[tuple[dict[str, Any], str, list[str]]] = [
    ({"cut": 300}, "not JSON, or cut short", []),
    ({}, "--policy goes with a kernel's report", ["--policy", "el7"]),
]


@pytest.mark.parametrize(("how", "said", "more"), REFUSED)
def test_what_is_refused(
    tmp_path: Path, capsys: Out, how: dict[str, Any], said: str, more: list[str]
) -> None:
    path = put(tmp_path, record(), **how)
    assert main(["replay", *more, path]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"oomd: {path}: {said}") and err.count("\n") == 1


def test_which_of_several_is_bad(tmp_path: Path, capsys: Out) -> None:
    bad = changed(record(), ("page_size_bytes",), 0)
    path = put(tmp_path, record(), bad)
    assert main(["replay", path]) == 2
    assert capsys.readouterr().err == f"oomd: {path}: record 2: page_size_bytes: is not a size\n"
