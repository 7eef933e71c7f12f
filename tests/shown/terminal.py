"""What a terminal shows: as a picture (SVG), and as a recording (asciicast, version 2)."""

import io
import json
import re
from itertools import groupby
from typing import NamedTuple

import pyte
from rich.color import Color, ColorParseError
from rich.console import Console
from rich.style import Style
from rich.text import Text

__all__ = ["Event", "asciicast", "picture"]

COLUMNS = 112
# A recording is watched, not waited for.
IDLE_S = 2.0
# The picture is to be seen without asking anybody's server for a font.
_FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
_NAMES = {"brown": "yellow"}


class Event(NamedTuple):
    """Something that appeared on the terminal."""

    time_s: float
    text: str


def asciicast(events: list[Event], rows: int, title: str) -> str:
    """The recording: a header, and an event a line (docs.asciinema.org, asciicast v2)."""
    header = {
        "version": 2,
        "width": COLUMNS,
        "height": rows,
        "title": title,
        "idle_time_limit": IDLE_S,
        "env": {"TERM": "xterm-256color"},
    }
    lines = [header, *([round(one.time_s, 3), "o", one.text] for one in events)]
    return "".join(json.dumps(line) + "\n" for line in lines)


def _color(name: str) -> Color | None:
    if name == "default":
        return None
    for word in (f"#{name}", re.sub(r"^bright", "bright_", _NAMES.get(name, name))):
        try:
            return Color.parse(word)
        except ColorParseError:
            continue
    return None


def _line(screen: pyte.Screen, number: int) -> Text:
    text = Text()
    cells = screen.buffer[number]
    row = [cells[column] for column in range(screen.columns)]
    for look, alike in groupby(row, lambda cell: (cell.fg, cell.bg, cell.bold, cell.reverse)):
        foreground, background, bold, reverse = look
        style = Style(
            color=_color(foreground), bgcolor=_color(background), bold=bold, reverse=reverse
        )
        text.append("".join(cell.data for cell in alike), style)
    text.rstrip()
    return text


def picture(output: str, title: str, rows: int = 400) -> str:
    """The screen after this output, as an SVG; empty lines at its end are left out."""
    screen = pyte.Screen(COLUMNS, rows)
    pyte.Stream(screen).feed(output)
    lines = [_line(screen, number) for number in range(rows)]
    while lines and not lines[-1].plain.strip():
        lines.pop()
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    for line in lines:
        console.print(line, soft_wrap=True)
    return _FONT.sub("", console.export_svg(title=title, unique_id=re.sub(r"\W", "-", title)))
