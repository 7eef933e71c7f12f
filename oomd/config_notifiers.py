"""The strict check of the tables below ``[notifiers]``: one for each notifier, by its name.

``[notifiers.balloon]`` and the other built-ins are checked against
:mod:`oomd.notifier_options`, ``[notifiers.command.NAME]`` once for each command. Any other name
is a plugin's: only the plugin knows its options, so they are kept as they are, and checked again
when it is loaded. Not imported by the sentinel.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from typing import NamedTuple

from oomd.config import (
    DEFAULT,
    ConfigError,
    Origin,
    expected_value,
    is_cgroup,
    kind_of,
    shown,
    typed,
)
from oomd.notifier_options import BUILTIN, COMMAND, EVERY_TABLE, Option, OptionValue, builtin_named
from oomd.settings import SETTINGS, Setting, Settings, SettingValue
from oomd.wire import NAME_BYTES, is_name

__all__ = ["Given", "Table", "Tables", "check_finished", "deadline_ms_of", "merge", "split"]

Locate = Callable[[str], Origin]


class Given(NamedTuple):
    """A value that somebody wrote."""

    value: OptionValue
    origin: Origin


class Table(NamedTuple):
    """``[notifiers.NAME]``, from all files in which it stands."""

    origin: Origin
    given: dict[str, Given]

    def get(self, option: Option) -> OptionValue:
        """What was given, or the default."""
        found = self.given.get(option.name)
        return option.default if found is None else found.value


Tables = dict[str, Table]
"""By the notifier's name; a command's is ``command.NAME``."""

# What any notifier's table may hold. The defaults are each notifier's own.
_COMMON = {option.name: option for option in BUILTIN[COMMAND].options if option.name in EVERY_TABLE}
_STRINGS = "an array of strings"
_KEYS = frozenset(setting.key for setting in SETTINGS)


def _short(name: str) -> str:
    return name if len(name) <= 60 else name[:57] + "..."


def _setting(option: Option, key: str) -> Setting:
    assert not isinstance(option.default, tuple)
    bounds = (option.minimum, option.maximum, option.unit, option.off, option.choices)
    return Setting(key, option.default, option.help, *bounds)


def _scalar(option: Option, key: str, value: object, origin: Origin) -> SettingValue:
    if isinstance(value, str) and "\0" in value:
        raise ConfigError(*origin, key, "holds a NUL character")
    return typed(_setting(option, key), value, origin)


def _strings(option: Option, key: str, value: object, origin: Origin) -> tuple[str, ...]:
    """An array of strings, or ConfigError."""
    if not isinstance(value, list):
        raise ConfigError(*origin, key, f"is {kind_of(value)}", _STRINGS)
    strings: list[str] = []
    for one in value:
        if not isinstance(one, str):
            raise ConfigError(*origin, key, f"holds {kind_of(one)}", _STRINGS)
        if "\0" in one:
            raise ConfigError(*origin, key, "holds a NUL character", _STRINGS)
        strings.append(one)
    if option.required and not strings:
        raise ConfigError(*origin, key, "is empty", "at least one string")
    if option.name == "argv" and not strings[0].startswith("/"):
        raise ConfigError(*origin, key, f"{shown(strings[0])} is not an absolute path")
    for one in strings if option.name == "cgroups" else ():
        if not one or not is_cgroup(one):
            example = 'a path such as "/system.slice/backup-*.service"'
            raise ConfigError(*origin, key, f"{shown(one)} is not the path of a cgroup", example)
    return tuple(strings)


def _unknown(prefix: str, name: str, names: Iterable[str], origin: Origin) -> ConfigError:
    names = list(names)
    close = get_close_matches(name[:60], names, 1)
    hint = f", did you mean {prefix}.{close[0]}?" if close else ""
    problem, expected = f"unknown key{hint}", f"one of {', '.join(names)}"
    return ConfigError(*origin, f"{prefix}.{_short(name)}", problem, expected)


def _known_table(
    name: str, content: Mapping[str, object], options: Iterable[Option], locate: Locate
) -> dict[str, Given]:
    """A built-in's table, each value checked by itself. Raises ConfigError."""
    prefix = f"notifiers.{name}"
    known = {option.name: option for option in options}
    given = {}
    for key, value in content.items():
        full = f"{prefix}.{key}"
        option = known.get(key)
        if option is None:
            raise _unknown(prefix, key, known, locate(full))
        check = _strings if option.kind == "strings" else _scalar
        given[key] = Given(check(option, full, value, locate(full)), locate(full))
    return given


def _free_value(key: str, value: object, origin: Origin) -> OptionValue:
    """A value of a plugin's own option: whatever an option can be, or ConfigError."""
    match value:
        case bool():
            return value
        case int() if abs(value) >= 2**63:
            raise ConfigError(*origin, key, "an integer beyond 64 bits")
        case float() if not math.isfinite(value):
            raise ConfigError(*origin, key, f"{value} is not a finite number")
        case int() | float() | str():
            return value
        case list() if all(isinstance(one, str) for one in value):
            return tuple(value)
    problem = "holds more than strings" if isinstance(value, list) else f"is {kind_of(value)}"
    raise ConfigError(*origin, key, problem, "a boolean, number, string or array of strings")


def _plugin_table(name: str, content: Mapping[str, object], locate: Locate) -> dict[str, Given]:
    """A plugin's table: what every notifier has is checked, the rest is the plugin's."""
    given = {}
    for key, value in content.items():
        full = f"notifiers.{name}.{_short(key)}"
        origin = locate(f"notifiers.{name}.{key}")
        common = _COMMON.get(key)
        checked: OptionValue
        if common is None:
            checked = _free_value(full, value, origin)
        else:
            checked = _scalar(common, full, value, origin)
        given[key] = Given(checked, origin)
    return given


def _table(name: str, content: object, locate: Locate) -> Table:
    """One notifier's table. Raises ConfigError."""
    key = f"notifiers.{name}"
    origin = locate(key)
    if not is_name(name):
        allowed = f'1 to {NAME_BYTES} letters, digits, "_", "." or "-"'
        problem = "is not a notifier's name"
        raise ConfigError(*origin, f"notifiers.{_short(name)}", problem, allowed)
    if not isinstance(content, Mapping):
        where = f"a table, [{key}]"
        if name.partition(".")[0] == COMMAND:
            where = f"a table, [notifiers.{COMMAND}.NAME]"
        raise ConfigError(*origin, key, f"is {kind_of(content)}", where)
    builtin = builtin_named(name)
    if builtin is None:
        return Table(origin, _plugin_table(name, content, locate))
    return Table(origin, _known_table(name, content, builtin.options, locate))


def split(mapping: Mapping[str, object], locate: Locate) -> tuple[dict[str, object], Tables]:
    """A parsed file without its notifiers' tables, and these tables. Raises ConfigError.

    ``locate`` says where a dotted key stands.
    """
    section = mapping.get("notifiers")
    if not isinstance(section, Mapping):
        return dict(mapping), {}
    rest: dict[str, object] = {}
    tables: Tables = {}
    for name, content in section.items():
        key = f"notifiers.{name}"
        if key in _KEYS:
            rest[name] = content
        elif name == COMMAND and isinstance(content, Mapping):
            for which, inner in content.items():
                tables[f"{COMMAND}.{which}"] = _table(f"{COMMAND}.{which}", inner, locate)
        elif name.startswith(f"{COMMAND}."):
            # [notifiers."command.x"]: there would be two ways to write one thing.
            where = f"a table, [notifiers.{COMMAND}.NAME]"
            raise ConfigError(*locate(key), f"notifiers.{_short(name)}", "is quoted", where)
        elif isinstance(content, Mapping) or name in BUILTIN:
            tables[name] = _table(name, content, locate)
        else:
            # Not a table, so not a notifier's: a setting that does not exist.
            rest[name] = content
    return {**mapping, "notifiers": rest}, tables


def merge(tables: Tables, later: Tables) -> None:
    """Put a later file's tables over those of the files before it, key by key."""
    for name, table in later.items():
        before = tables.get(name)
        given = {**before.given, **table.given} if before is not None else table.given
        tables[name] = Table(table.origin, given)


def deadline_ms_of(table: Table, settings: Settings) -> int:
    """How long this notifier may take; 0, and none at all, is ``notifiers.deadline_ms``."""
    own = table.given.get("deadline_ms")
    return int(own.value) if own and own.value else settings.notifiers.deadline_ms  # type: ignore[arg-type]


def check_finished(tables: Tables, settings: Settings) -> None:
    """ConfigError for what is missing, or contradicts the settings, once all files are read."""
    all_ms = settings.notifiers.chain_deadline_ms
    for name, table in tables.items():
        enabled = table.given.get("enabled", Given(True, DEFAULT)).value
        builtin = builtin_named(name)
        for option in builtin.options if builtin is not None and enabled else ():
            if option.required and option.name not in table.given:
                key = f"notifiers.{name}.{option.name}"
                strings = option.kind == "strings"
                expected = _STRINGS if strings else expected_value(_setting(option, key))
                raise ConfigError(*table.origin, key, "is missing", expected)
        own_ms = deadline_ms_of(table, settings)
        if own_ms > all_ms:
            raise ConfigError(
                *table.given["deadline_ms"].origin,
                f"notifiers.{name}.deadline_ms",
                f"this notifier would get {own_ms} ms, all of them together {all_ms} ms",
                "it to be at most notifiers.chain_deadline_ms",
            )
