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
import stat
import sys
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

from oomd.config import (
    DEFAULT,
    SETTINGS,
    ConfigError,
    Configured,
    Origin,
    Setting,
    check_keys,
    configured,
    one_line,
    to_lines,
    toml_value,
    value_of,
)
from oomd.settings import SettingValue

__all__ = ["check_config", "key_lines", "load", "main", "sample", "search"]

EXIT_OK = 0
EXIT_CONFIG = 2

_VENDOR = "usr/lib/oomd/oomd.toml"
_ADMIN = "etc/oomd/oomd.toml"
# No config comes near this; it bounds what a wrong path (a core dump, a log) can cost.
_MAX_BYTES = 256 * 1024


def _drop_ins(folder: str) -> dict[str, str]:
    """The drop-ins of one folder, path by name. No folder is no drop-ins."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(folder, None, "", f"cannot be read: {error.strerror}") from error
    # Editors leave their hidden files here.
    chosen = [name for name in names if name.endswith(".toml") and not name.startswith(".")]
    return {name: os.path.join(folder, name) for name in chosen}


def search(root: str = "/") -> list[str]:
    """The config files there are, in the order in which they are read. Raises ConfigError."""
    vendor, admin = os.path.join(root, _VENDOR), os.path.join(root, _ADMIN)
    admins = _drop_ins(f"{admin}.d")
    vendors = {n: path for n, path in _drop_ins(f"{vendor}.d").items() if n not in admins}
    # lexists: a dangling link is a mistake that is to be named, not a file that is not there.
    return [
        *filter(os.path.lexists, [vendor]),
        *(vendors[name] for name in sorted(vendors)),
        *filter(os.path.lexists, [admin]),
        *(admins[name] for name in sorted(admins) if os.path.realpath(admins[name]) != os.devnull),
    ]


def _distrust(path: str, status: os.stat_result) -> None:
    """ConfigError if anyone but root could have written this: it decides who is killed."""
    if status.st_uid != 0:
        raise ConfigError(path, None, "", f"belongs to uid {status.st_uid}", f"chown root {path}")
    writable = status.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if status.st_gid != 0 else 0))
    if writable:
        who = "others" if writable & stat.S_IWOTH else f"gid {status.st_gid}"
        raise ConfigError(path, None, "", f"can be written by {who}", f"chmod go-w {path}")


def _open_at_once(path: str, flags: int) -> int:
    # A FIFO would hold up the start of the daemon until somebody writes to it.
    return os.open(path, flags | os.O_NOCTTY | os.O_NONBLOCK)


def _read(path: str, roots_only: bool) -> str:
    """A file's text, whole. Raises ConfigError."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(path, None, "", "is not a regular file")
            if roots_only:
                _distrust(path, status)
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the path.
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(path, None, "", f"cannot be read: {reason}") from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(path, None, "", "is too long", f"at most {_MAX_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, line, "", "is not UTF-8") from error


_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")


def _parse(path: str, text: str) -> dict[str, Any]:
    """TOML's own rules. Raises ConfigError with the line."""
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


def _statements(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each statement of a good TOML text, parsed under its table's header, with its first line.

    A statement is a line, or as many lines as it takes until it parses: so TOML's own grammar
    says where strings and arrays end, and nothing here has to know it.
    """
    header, statement, first = "", "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += f"{line}\n"
        try:
            content = tomllib.loads(header + statement)
        except (ValueError, RecursionError):
            if number - first > 200:
                return  # A long array, and no setting is one: not worth its quadratic price.
            continue
        if statement.lstrip().startswith("["):
            header = statement
        yield first, content
        statement, first = "", number + 1


def key_lines(text: str) -> dict[str, int]:
    """The line of each key and table of a good TOML text, by dotted key of at most two parts."""
    lines: dict[str, int] = {}
    for number, content in _statements(text):
        for name, value in content.items():
            lines.setdefault(name, number)
            for inner in value if isinstance(value, dict) else ():
                lines.setdefault(f"{name}.{inner}", number)
    return lines


def _check_file(path: str, roots_only: bool) -> tuple[dict[str, SettingValue], dict[str, Origin]]:
    """The checked values of one file and where they stand. Raises ConfigError."""
    text = _read(path, roots_only)
    mapping = _parse(path, text)
    lines = key_lines(text)

    def locate(key: str) -> Origin:
        return Origin(path, lines.get(key))

    values = check_keys(mapping, locate)
    return values, {key: locate(key) for key in values}


def load(file: str | None = None, root: str = "/", *, roots_only: bool | None = None) -> Configured:
    """The settings in force, and where each comes from. Raises ConfigError.

    ``file`` replaces the search, and must exist. ``roots_only`` refuses a file that somebody
    else than root can write; without it this is so when root reads the real ``/``.
    """
    if roots_only is None:
        roots_only = os.geteuid() == 0 and root == "/"
    files = search(root) if file is None else [file]
    values: dict[str, SettingValue] = {}
    origins: dict[str, Origin] = {}
    for path in files:
        changes, places = _check_file(path, roots_only)
        values |= changes
        origins |= places
    return configured(values, origins, tuple(files))


def _wrapped(text: str, indent: str) -> str:
    filled = textwrap.fill(
        text, 96, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    return filled.replace("\xa0", " ")


def _bounds(setting: Setting) -> str:
    """What an admin may write, in brackets behind the help."""
    if setting.choices:
        text = ", ".join(setting.choices)
    elif setting.minimum is not None:
        text = f"{setting.minimum:g} to {setting.maximum:.8g} {setting.unit}".rstrip()
    else:
        return ""
    # No-break spaces: what is broken over two lines is easily misread.
    return f" [{text}]".replace(" ", "\xa0").replace("\xa0", " ", 1)


def _shown(setting: Setting, found: Configured) -> str:
    """One setting for ``--show``."""
    value = toml_value(value_of(found.settings, setting.key))
    unit = f" {setting.unit}" if setting.unit else ""
    origin = one_line(str(found.origins.get(setting.key, DEFAULT)))
    return f"{setting.key} = {value}{unit}  ({origin})\n{_wrapped(setting.help, '    ')}"


def check_config(file: str | None = None, show: bool = False, root: str = "/") -> tuple[int, str]:
    """What ``oomd --check-config [FILE] [--show]`` prints, and its exit status (0 or 2).

    Without ``file``, what the daemon would read; a ``file`` may be a draft, and anyone's.
    """
    try:
        found = load(file, root, roots_only=None if file is None else False)
    except ConfigError as error:
        return EXIT_CONFIG, str(error)
    read = one_line(", ".join(found.files)) or "no config file, every setting has its default"
    if not show:
        return EXIT_OK, f"OK: {read}"
    return EXIT_OK, "\n".join([f"# {read}", *(_shown(each, found) for each in SETTINGS)])


def sample() -> str:
    """The config file that is installed: every key with its default, commented out."""
    lines = [
        "# oomd's settings. Each is shown with its default; take away the # to change one.",
        "# `oomd --check-config` checks this file, `systemctl reload oomd` puts it into force.",
        "# Files in oomd.toml.d/ beside it are read after it, sorted by name.",
    ]
    table = ""
    for setting in SETTINGS:
        this, _, name = setting.key.rpartition(".")
        if this != table:
            lines += ["", f"[{this}]"]
            table = this
        lines += ["", _wrapped(setting.help + _bounds(setting), "# ")]
        lines += [f"#{name} = {toml_value(setting.default)}"]
    return "\n".join(lines) + "\n"


def main(argv: Sequence[str] | None = None, root: str = "/") -> int:
    """The helper: 0, or 2 with one line on standard error."""
    parser = argparse.ArgumentParser(prog="python3 -m oomd.config_load", description=main.__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--emit", action="store_true", help="print the settings for the daemon")
    what.add_argument("--sample", action="store_true", help="print the file that is installed")
    parser.add_argument("--config", metavar="FILE", help="read this and nothing else")
    options = parser.parse_args(argv)
    try:
        text = sample() if options.sample else to_lines(load(options.config, root).settings)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_CONFIG
    # Bytes: the daemon expects UTF-8, whatever the locale of this process.
    sys.stdout.buffer.write(text.encode())
    sys.stdout.flush()
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
