"""The man pages: what is written by hand in man/*.scd, with what the program knows put in.

A line of a source that stands between two `@` is replaced:

    @version@                  and any other place in a line, too
    @options oomd replay@      the arguments of that command line and of its subcommands
    @commands@                 the words behind `oomd`
    @reference@                each of them with its arguments
    @settings@                 every setting: key, default, bounds, meaning
    @notifiers@                the tables of the built-in notifiers
"""

import argparse
import re
import subprocess
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from oomd import __version__
from oomd.commands import COMMANDS
from oomd.config import toml_value
from oomd.config_show import bounds
from oomd.notifier_options import BUILTIN, COMMAND, EVERY_TABLE
from oomd.settings import SETTINGS
from oomd_docs.command_lines import help_of, meaning_of, options_of, parser_of, subcommands

__all__ = ["PAGES", "escaped", "source_of", "write_pages"]

SOURCES = Path(__file__).parent / "man"
PAGES = tuple(sorted(path.name.removesuffix(".scd") for path in SOURCES.glob("*.scd")))

_PLACE = re.compile(r"@(\w+)(?: ([^@]+))?@")


def escaped(text: str) -> str:
    """Text that scdoc(5) shall take as it is."""
    return re.sub(r"([\\*_#~`\[\]|<>])", r"\\\1", text)


# --- arguments ---


def _written(action: argparse.Action) -> str:
    """An argument as it is typed."""
    value = str(action.metavar or "|".join(map(str, action.choices or ())) or action.dest.upper())
    value = f"_{escaped(value)}_" if action.nargs != 0 else ""
    if not action.option_strings:
        # At the beginning of a line a bracket would be a table.
        many = {"?": f"\\[{value}]", "*": f"\\[{value} ...]", "+": f"{value} ..."}
        return many.get(str(action.nargs), value)
    if action.nargs == "?":
        value = f"[{value}]"
    names = ", ".join(f"*{escaped(name)}*" for name in action.option_strings)
    return f"{names} {value}".rstrip()


def _sentence(text: str) -> str:
    return escaped(text[:1].upper() + text[1:]).rstrip(".") + "." if text else ""


def _options(parser: argparse.ArgumentParser, known: Container[str] = ()) -> Iterator[str]:
    """Its arguments, but for the options whose names are ``known``."""
    for action in options_of(parser):
        if not action.option_strings or action.option_strings[-1] not in known:
            yield from (_written(action), f"\t{_sentence(meaning_of(action))}".rstrip("\t"), "")


def _command_line(words: str) -> Iterator[str]:
    """The arguments of a command, then each of its subcommands under a title of its own."""
    parser = parser_of(words)
    yield from _options(parser)
    known = {name for action in options_of(parser) for name in action.option_strings}
    for name, child in subcommands(parser).items():
        yield from (f"## {words} {name}", "", _sentence(help_of(parser, name)), "")
        yield from _options(child, known)


def _commands() -> Iterator[str]:
    for command in COMMANDS:
        yield from (f"*oomd {command.name}*", f"\t{_sentence(command.help)}", "")


def _reference() -> Iterator[str]:
    """Each command with its arguments, or with the name of the page that has them."""
    for command in COMMANDS:
        words = f"oomd {command.name}"
        page = next((one for one in PAGES if one.startswith(f"oomd-{command.name}.")), "")
        yield from (f"## {words}", "", _sentence(command.help), "")
        if page:
            name, _, section = page.rpartition(".")
            yield from (f"See *{name}*({section}).", "")
        else:
            yield from _command_line(words)


# --- settings ---


def _settings() -> Iterator[str]:
    table = None
    for setting in SETTINGS:
        this, _, name = setting.key.rpartition(".")
        if this != table:
            table = this
            yield from (f"## [{table}]", "") if table else ()
        yield f"*{escaped(name)}* = {escaped(toml_value(setting.default))}"
        yield from ("\t" + escaped(setting.help + bounds(setting)), "")


def _notifiers() -> Iterator[str]:
    for builtin in BUILTIN.values():
        name = f"{COMMAND}.NAME" if builtin.name == COMMAND else builtin.name
        yield from (f"## [notifiers.{name}]", "", escaped(builtin.help), "")
        priority = builtin.defaults["priority"]
        yield from (f"Its priority is {priority} unless *priority* says otherwise.", "")
        for option in builtin.options:
            if option.name not in EVERY_TABLE:
                needed = " It has to be set." if option.required else ""
                yield f"*{escaped(option.name)}* = {escaped(toml_value(option.default))}"
                yield from ("\t" + escaped(option.help + bounds(option) + needed), "")


# --- pages ---

_MADE: dict[str, Callable[[str], Iterator[str]]] = {
    "options": _command_line,
    "commands": lambda _: _commands(),
    "reference": lambda _: _reference(),
    "settings": lambda _: _settings(),
    "notifiers": lambda _: _notifiers(),
}


def source_of(page: str) -> str:
    """What scdoc is given for a page, such as "oomd.8"."""
    lines: list[str] = []
    for line in (SOURCES / f"{page}.scd").read_text().splitlines():
        place = _PLACE.fullmatch(line)
        if place is None:
            lines.append(line.replace("@version@", __version__))
        else:
            lines += _MADE[place[1]](place[2] or "")
    # No-break spaces keep a sample's line whole; man breaks lines where it likes.
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines).replace("\xa0", " ")) + "\n"


def write_pages(folder: Path) -> None:
    """All pages, as roff, by scdoc(1)."""
    folder.mkdir(parents=True, exist_ok=True)
    for page in PAGES:
        with (folder / page).open("w") as roff:
            subprocess.run(["scdoc"], input=source_of(page), stdout=roff, text=True, check=True)
