"""``oomd history``: the list, the JSON, the drawing."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from oomd.cli import main
from oomd.tell.record_files import file_name
from tests.history.test_read import ROWS, put, record

Out = pytest.CaptureFixture[str]
SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "a\\x1b[31m<&>\"'"


def test_the_list(tmp_path: Path, capsys: Out) -> None:
    put(tmp_path, record(1_800_000_000.0), record(1_800_000_060.0, verdict="wait", victims=[]))
    assert main(["history", str(tmp_path)]) == 0
    head, first, *rest = capsys.readouterr().out.splitlines()
    assert head.split() == "when verdict victim pid came back gone after why".split()
    assert re.match(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d  kill +child +20 +8.0 MiB +300 ms  ", first)
    assert "wait" in "".join(rest)


def test_filters(tmp_path: Path, capsys: Out) -> None:
    put(tmp_path, record(1_800_000_000.0), record(1_800_000_060.0, verdict="wait", victims=[]))

    def found(*words: str) -> list[str]:
        assert main(["history", "--json", *words, str(tmp_path)]) == 0
        listed = json.loads(capsys.readouterr().out)
        assert listed["schema"] == 1
        return [one["verdict"] for one in listed["decisions"]]

    assert found() == ["kill", "wait"]
    assert found("--kills") == ["kill"]
    assert found("--since", "@1800000030") == ["wait"]
    assert found("--since", "@1900000000") == []


def test_as_json(tmp_path: Path, capsys: Out) -> None:
    (path,) = put(tmp_path, record())
    assert main(["history", "--json", str(path)]) == 0
    (one,) = json.loads(capsys.readouterr().out)["decisions"]
    assert one["record"] == str(path)
    assert one["victims"] == [{"pid": 20, "comm": "child", "why": "child"}]
    assert one["settled"]["freed_kib"] == 8192
    assert one["points"] > 0


def test_nothing_there(tmp_path: Path, capsys: Out) -> None:
    assert main(["history", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "nothing was decided\n"
    assert main(["history", str(tmp_path / "x")]) == 2
    assert capsys.readouterr().err.endswith("there is no such folder: has oomd decided anything?\n")


def test_what_is_no_record_is_said_and_the_rest_is_listed(tmp_path: Path, capsys: Out) -> None:
    put(tmp_path, record())
    (tmp_path / file_name(record(1_900_000_000.0))).write_text("junk")
    assert main(["history", "--json", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert len(json.loads(out)["decisions"]) == 1
    assert err.startswith(f"oomd: {tmp_path}/")
    assert err.endswith(": not JSON, or cut short\n")


@pytest.mark.parametrize(
    "words", [["--since", "soon"], ["--plot"], ["--json", "--plot", "x.svg"], ["a", "b"]], ids=str
)
def test_usage(words: list[str], capsys: Out) -> None:
    assert main(["history", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


# --- the drawing


def drawn(folder: Path, where: Path) -> ElementTree.Element:
    file = folder / "out.svg"
    assert main(["history", "--plot", str(file), str(where)]) == 0
    return ElementTree.parse(file).getroot()


def texts(svg: ElementTree.Element) -> list[str]:
    return [one.text or "" for one in svg.iter(f"{SVG}text")]


def test_it_shows_what_was_done_when(tmp_path: Path) -> None:
    put(tmp_path, record())
    svg = drawn(tmp_path, tmp_path)
    assert svg.tag == f"{SVG}svg"
    said = texts(svg)
    assert "1  -0.012 s  exhaustion: threshold crossed" in said
    assert "2  +0.000 s  SIGKILL to 20 (child)" in said
    assert "3  +0.300 s  gone after 300 ms, 8.0 MiB back" in said
    assert "memory (MiB)" in said
    assert "pressure: tasks that wait for memory (%)" in said
    assert any(": killed 20 (child), the worst" in one for one in said)
    (title,) = svg.iter(f"{SVG}title")
    assert ": killed 20 (child)" in (title.text or "")


def test_curves_stay_inside_and_run_with_time(tmp_path: Path) -> None:
    put(tmp_path, record())
    svg = drawn(tmp_path, tmp_path)
    width, height = float(svg.attrib["width"]), float(svg.attrib["height"])
    curves = list(svg.iter(f"{SVG}polyline"))
    # Memory available and free, swap where there was some, pressure some and full.
    assert len(curves) in (4, 5)
    for curve in curves:
        points = [tuple(map(float, pair.split(","))) for pair in curve.attrib["points"].split()]
        xs = [x for x, _ in points]
        assert len(points) >= 4 - 1
        assert xs == sorted(xs)
        assert all(80 <= x <= width - 20 and 0 <= y <= height for x, y in points)


def test_the_newest_kill_is_drawn_and_what_was_decided_about_then(tmp_path: Path) -> None:
    put(
        tmp_path,
        record(1_800_000_000.0),
        record(1_800_000_000.5, verdict="wait", victims=[]),
        record(1_800_009_000.0, series=None),
    )
    svg = drawn(tmp_path, tmp_path)
    assert "4  +0.500 s  wait" in texts(svg)
    assert not any("9000" in one for one in texts(svg))


def test_one_that_is_named_is_drawn_with_its_neighbours(tmp_path: Path) -> None:
    first, _ = put(tmp_path, record(1_800_000_000.0), record(1_800_000_000.7))
    assert "4  +0.700 s  kill 20 (child)" in texts(drawn(tmp_path, first))


def test_calm_is_not_drawn_at_length(tmp_path: Path) -> None:
    rows = [[-200_000 + 1000 * n, 900_000, 900_000, 0, 0, 0] for n in range(190)] + ROWS[1:]
    put(tmp_path, record(series={**record()["series"], "rows": rows}))
    ticks = [one for one in texts(drawn(tmp_path, tmp_path)) if re.fullmatch(r"[+-][\d.]+ s", one)]
    assert min(float(one.split()[0]) for one in ticks) >= -30


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    hostile = record()
    hostile["victims"] = [{**hostile["victims"][0], "comm": "a\x1b[31m<b>\n&"}]
    put(tmp_path, hostile)
    said = "".join(texts(drawn(tmp_path, tmp_path)))
    assert "SIGKILL to 20 (a\\x1b[31m<b>\\n&)" in said
    assert "\x1b" not in said


def test_a_machine_without_psi_or_with_nothing_left(tmp_path: Path) -> None:
    rows = [[at, 0, 0, 0, 0, 0] for at in (-2000, -1000, 0, 1000)]
    put(tmp_path, record(series={**record()["series"], "rows": rows}))
    assert "pressure: tasks that wait for memory (%)" not in texts(drawn(tmp_path, tmp_path))


def test_nothing_to_draw(tmp_path: Path, capsys: Out) -> None:
    put(tmp_path, record(series=None))
    assert main(["history", "--plot", str(tmp_path / "out.svg"), str(tmp_path)]) == 2
    assert "nothing to draw" in capsys.readouterr().err
    assert not (tmp_path / "out.svg").exists()


def test_nowhere_to_draw(tmp_path: Path, capsys: Out) -> None:
    put(tmp_path, record())
    assert main(["history", "--plot", str(tmp_path / "x/y.svg"), str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"oomd: {tmp_path}/x/y.svg: No such file or directory\n"
