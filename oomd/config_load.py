"""Reads the TOML files, outside the sentinel: ``oomd --check-config`` and the daemon's helper.

Later files win, key by key::

    /usr/lib/oomd/oomd.toml            the distribution's
    /usr/lib/oomd/oomd.toml.d/*.toml   its drop-ins, sorted by name
    /etc/oomd/oomd.toml                the admin's
    /etc/oomd/oomd.toml.d/*.toml       the admin's drop-ins, sorted by name

A drop-in in /etc hides the one of the same name in /usr/lib, as with systemd; a link to /dev/null
there hides it for good. Unlike with systemd, the admin's main file does not replace the
distribution's, and wins over its drop-ins. None of the files has to exist.
"""

import argparse
import os
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from oomd.config import (
    RULES,
    ConfigError,
    Configured,
    Origin,
    check_keys,
    configured,
    one_line,
    to_lines,
)
from oomd.config_files import read, search
from oomd.config_hooks import check_hooks
from oomd.config_notifiers import Tables, check_finished, merge, split
from oomd.config_plan import warnings, with_plan
from oomd.config_plugins import discover
from oomd.config_rules import GivenRule, merge_rules, rule_lines, rules_text, split_rules
from oomd.config_show import notifier_lines, sample, setting_lines
from oomd.log import WARNING, Log
from oomd.settings import SettingValue

__all__ = [
    "Loaded",
    "check_config",
    "key_lines",
    "load",
    "load_all",
    "load_for",
    "main",
    "sample",
    "search",
]

EXIT_OK = 0
EXIT_CONFIG = 2

# notifiers.command.NAME.argv
KEY_PARTS = 4

# Of a table's name: more than any that can be meant.
_NAME_CHARACTERS = 200

# So much may be parsed in vain for the ends of statements: a second's work.
_VAIN_CHARACTERS = 1 << 20

# A dotted key with far more parts than any that we know: tomllib takes the square of their number,
# minutes for a file of the size that is read. Of a part: bare, "quoted", 'quoted'.
_LONG_KEY = re.compile(
    r"""(?<![\w.\\-])(?:(?:[\w-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){100}""",
    re.ASCII,
)

_FOLDERS = (("etc", "oomd"), ("usr", "lib", "oomd"))

_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _parse(path: str, text: str) -> dict[str, Any]:
    """TOML's own rules. Raises ConfigError with the line."""
    long = _LONG_KEY.search(text)
    if long is not None:
        line = text.count("\n", 0, long.start()) + 1
        raise ConfigError(path, line, "", "has a key of more than 100 parts")
    try:
        return tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(path, None, "", "is not TOML: nested too deeply") from error
    except ValueError as error:
        # Not only TOMLDecodeError: an integer of 5000 digits, a 30th of February.
        place = _TOML_PLACE.search(str(error))
        if place is None:
            raise ConfigError(path, None, "", f"is not TOML: {error}") from error
        problem = str(error)[: place.start()]
        line = int(place[1]) if place[1] else text.rstrip().count("\n") + 1
        column = f" at column {place[2]}" if place[2] else " at the end of the file"
        raise ConfigError(path, line, "", f"is not TOML: {problem}{column}") from error


def _table_of(header: dict[str, Any]) -> tuple[str, ...]:
    """The table that a header opens, in parts; of an array of tables, as deep as nobody looks."""
    parts: list[str] = []
    while header:
        ((name, inside),) = header.items()
        parts.append(name)
        if isinstance(inside, list):
            return (*parts, *("",) * KEY_PARTS)
        header = inside
    return tuple(parts)


def _statements(text: str) -> Iterator[tuple[int, tuple[str, ...], dict[str, Any]]]:
    """Each statement of a good TOML text, parsed, with its first line and the table it is in.

    A statement is a line, or as many lines as it takes until it parses: so TOML's own grammar
    says where strings and arrays end, and nothing here has to know it. Its table's header is
    parsed once and not with each of them, which took a long header times a long table.
    """
    table: tuple[str, ...] = ()
    statement, first, vain = "", 1, 0
    for number, line in enumerate(text.split("\n"), 1):
        statement += f"{line}\n"
        try:
            content = tomllib.loads(statement)
        except (ValueError, RecursionError):
            vain += len(statement)
            if vain > _VAIN_CHARACTERS:
                return  # Long arrays, and no setting is one: not worth their quadratic price.
            continue
        if statement.lstrip().startswith("["):
            yield first, (), content
            table = _table_of(content)
        else:
            yield first, table, content
        statement, first = "", number + 1


def _keys(content: Mapping[str, Any], table: tuple[str, ...]) -> Iterator[str]:
    """The dotted keys in a table and in those inside it."""
    # In a table that nobody can know by its name, each key would take its length again.
    if len(table) >= KEY_PARTS or any(len(part) > _NAME_CHARACTERS for part in table):
        return
    for name, value in content.items():
        yield ".".join((*table, name))
        if isinstance(value, dict):
            yield from _keys(value, (*table, name))


def key_lines(text: str) -> dict[str, int]:
    """The line of each key and table of a good TOML text, by dotted key of at most four parts.

    Of ``[[rules]]`` it is ``rules[0]``, ``rules[0].comm`` and so on.
    """
    lines: dict[str, int] = {}
    statements = list(_statements(text))
    for number, table, content in statements:
        for key in _keys(content, table):
            lines.setdefault(key, number)
    return lines | rule_lines(statements)


class _Checked(NamedTuple):
    """One file, each of its values checked by itself."""

    values: dict[str, SettingValue]
    origins: dict[str, Origin]
    tables: Tables
    rules: tuple[GivenRule, ...]


def _check_file(path: str, roots_only: bool) -> _Checked:
    """The checked values of one file and where they stand. Raises ConfigError."""
    text = read(path, roots_only)
    mapping = _parse(path, text)
    lines = key_lines(text)

    def locate(key: str) -> Origin:
        return Origin(path, lines.get(key))

    rest, tables = split(mapping, locate)
    rest, rules = split_rules(rest, locate)
    values = check_keys(rest, locate)
    return _Checked(values, {key: locate(key) for key in values}, tables, rules)


def load(file: str | None = None, root: str = "/", *, roots_only: bool | None = None) -> Configured:
    """The settings in force, and where each comes from. Raises ConfigError.

    ``file`` replaces the search, and must exist. ``roots_only`` refuses a file that somebody
    else than root can write; without it this is so when root reads the real ``/``. What the
    worker is to run is not among them: that takes :func:`load_all`.
    """
    if roots_only is None:
        roots_only = os.geteuid() == 0 and root == "/"
    files = search(root) if file is None else [file]
    values: dict[str, SettingValue] = {}
    origins: dict[str, Origin] = {}
    tables: Tables = {}
    rules: tuple[GivenRule, ...] = ()
    for path in files:
        checked = _check_file(path, roots_only)
        values |= checked.values
        origins |= checked.origins
        merge(tables, checked.tables)
        rules = merge_rules(rules, checked.rules)
    values[RULES] = rules_text(rules)
    found = configured(values, origins, tuple(files))
    check_finished(tables, found.settings)
    check_hooks(found.settings, origins)
    return found._replace(tables=tables, rules=rules)


class Loaded(NamedTuple):
    """The settings with the worker's plan."""

    configured: Configured
    warnings: tuple[str, ...]
    """What is no error, one line each: plugins that were left out, names that may be wrong."""


def load_all(file: str | None = None, root: str = "/", *, draft: bool = False) -> Loaded:
    """The settings, and the plugins that there are below ``root``. Raises ConfigError.

    Arguments as for :func:`load`; a ``draft`` may be anyone's. A plugin that is not usable is a
    warning, never an error.
    """
    plugins = discover(root)
    found = with_plan(load(file, root, roots_only=False if draft else None), plugins)
    return Loaded(found, warnings(found, plugins))


def load_for(tree: str, file: str | None = None) -> Loaded:
    """What a tree would be guarded with: its own configuration if it has one, else this machine's.

    ``file`` replaces either. Its plugins are those in its own folders. Raises ConfigError.
    """
    own = any(os.path.isdir(os.path.join(tree, *folder)) for folder in _FOLDERS)
    configured = load(file) if file is not None or not own else load(root=tree)
    plugins = discover(tree)
    found = with_plan(configured, plugins)
    return Loaded(found, warnings(found, plugins))


def check_config(file: str | None = None, show: bool = False, root: str = "/") -> tuple[int, str]:
    """What ``oomd --check-config [FILE] [--show]`` prints, and its exit status (0 or 2).

    Without ``file``, what the daemon would read; a ``file`` may be a draft, and anyone's.
    """
    try:
        found, warned = load_all(file, root, draft=file is not None)
    except ConfigError as error:
        return EXIT_CONFIG, str(error)
    read_files = one_line(", ".join(found.files)) or "no config file, every setting has its default"
    lines = [f"# {read_files}", *setting_lines(found)] if show else [f"OK: {read_files}"]
    lines += notifier_lines(found.settings.notifiers.plan)
    return EXIT_OK, "\n".join([*lines, *(f"warning: {one}" for one in warned)])


def _group_number(name: str) -> str:
    """The number of a group; empty: there is no such group. A number stays as it is."""
    # Not in the sentinel: who is asked (LDAP, ...) may take its time, and loads libraries.
    import grp  # noqa: PLC0415

    if not name or name.isdecimal():
        return name
    try:
        return str(grp.getgrnam(name).gr_gid)
    except KeyError:
        return ""


def _emit(file: str | None, root: str) -> str:
    """What the daemon takes. Warnings go to standard error, which is the daemon's own."""
    found, warned = load_all(file, root)
    settings, log = found.settings, Log()
    for one in warned:
        log.say(WARNING, one)
    name = settings.control.group
    number = _group_number(name)
    # The default's is made by packages; who has set another one has made it.
    if name and not number and "control.group" in found.origins:
        origin = found.origins["control.group"]
        log.say(WARNING, f"{origin}: control.group: there is no group {name}: only root may ask")
    return to_lines(settings._replace(control=settings.control._replace(group=number)))


def main(argv: Sequence[str] | None = None, root: str = "/") -> int:
    """The helper: 0, or 2 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python3 -m oomd.config_load", description=main.__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--emit", action="store_true", help="print the settings for the daemon")
    what.add_argument("--sample", action="store_true", help="print the file that is installed")
    parser.add_argument("--config", metavar="FILE", help="read this and nothing else")
    options = parser.parse_args(argv)
    try:
        text = sample() if options.sample else _emit(options.config, root)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    # Bytes: the daemon expects UTF-8, whatever the locale of this process.
    sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
