"""What is shown is what README says, and what a terminal would show."""

import json
import re
import xml.etree.ElementTree as ET

from tests.shown.__main__ import ACTS, SHOWN
from tests.shown.terminal import IDLE_S, Event, asciicast, picture
from tests.test_readme import README


def test_every_command_of_readmes_first_minutes_is_run_in_its_order() -> None:
    section = README.partition("## First minutes")[2].partition("\n## ")[0]
    commands = [line[4:] for line in section.splitlines() if line.startswith("    ")]
    assert [re.split(r"  +", line)[0] for line in commands] == [act.command for act in ACTS]


def test_each_picture_and_the_recording_are_there() -> None:
    for act in ACTS:
        if act.name:
            shown = (SHOWN / f"{act.name}.svg").read_text()
            assert act.command.replace(" ", "&#160;") in shown
    header, *events = map(json.loads, (SHOWN / "first-minutes.cast").read_text().splitlines())
    assert (header["version"], header["idle_time_limit"]) == (2, IDLE_S)
    times = [time_s for time_s, kind, _ in events if kind == "o"]
    assert len(times) == len(events) and times == sorted(times)
    typed = "".join(text for _, _, text in events)
    assert all(act.command in typed for act in ACTS)


def test_a_picture_has_the_words_the_colors_and_nobody_elses_fonts() -> None:
    svg = picture("plain \x1b[1;31mred\x1b[0m\r\nover\rOVER\r\n\r\n", "a <title>")
    ET.fromstring(svg)
    assert "https" not in svg.replace("https://www.textualize.io", "")
    assert "OVER" in svg and "over<" not in svg
    assert set(re.findall(r"line-(\d+)\)", svg)) == {"0", "1"}
    assert re.search(r"r\d \{ fill: #[0-9a-f]{6};font-weight: bold", svg)


def test_a_recording_is_lines_of_json() -> None:
    text = asciicast([Event(0.5, "a"), Event(1.25, "\x1b[0m")], 24, "t")
    assert [json.loads(line) for line in text.splitlines()][1:] == [
        [0.5, "o", "a"],
        [1.25, "o", "\x1b[0m"],
    ]
