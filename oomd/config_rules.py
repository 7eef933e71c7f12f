"""The strict check of ``[[rules]]``. Not imported by the sentinel, which gets them as text.

Of several files the later one's rules come first, as the first that matches counts; a rule of the
same name in a later file takes the place of the earlier one.
"""

import pwd
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from oomd.config_words import ConfigError, Origin, kind_of, one_line, shown, toml_value
from oomd.rules.glob import BadGlob, Glob
from oomd.rules.rule import ADJ_MAX, RULES_AT_MOST, UID_MAX, UNIT_SUFFIXES, Rule, rules_as_text

__all__ = [
    "GivenRule",
    "merge_rules",
    "rule_lines",
    "rule_warnings",
    "rules_text",
    "shown_rule",
    "split_rules",
]

Locate = Callable[[str], Origin]

_MATCHERS = ("comm", "cgroup", "unit", "uid", "user")
_ACTIONS = ("prefer", "avoid", "never")
_KEYS = ("name", *_MATCHERS, *_ACTIONS)

# TASK_COMM_LEN, include/linux/sched.h, less the byte that ends it.
_COMM_BYTES = 15
_NAME_CHARACTERS = 64
_GLOB_CHARACTERS = 256
_LIST_AT_MOST = 32


class GivenRule(NamedTuple):
    """A rule that somebody wrote."""

    rule: Rule
    origin: Origin
    matchers: Mapping[str, tuple[str, ...]]
    """As they were written, by key."""
    unknown_users: tuple[str, ...] = ()


class _Table:
    """One table of ``[[rules]]``; each value checked as it is taken."""

    def __init__(self, number: int, content: Mapping[str, object], locate: Locate) -> None:
        self.content = content
        self._locate = locate
        self._number = number
        name = content.get("name")
        good = isinstance(name, str) and 0 < len(name) <= _NAME_CHARACTERS and name.isprintable()
        self._title = f"rule {toml_value(name) if isinstance(name, str) and good else number + 1}"
        if not good:
            problem = "has no name" if name is None else f"the name {_said(name)} cannot be used"
            what = f"a text of 1 to {_NAME_CHARACTERS} characters that can be printed"
            raise self.wrong("name", problem, what)
        self.name = str(name)

    @property
    def origin(self) -> Origin:
        return self._locate(f"rules[{self._number}]")

    def wrong(self, key: str, problem: str, expected: str = "") -> ConfigError:
        """``problem`` says what is wrong with the value, or the whole if ``key`` is not there."""
        where = f"rules[{self._number}].{key}" if key in self.content else ""
        origin = self._locate(where) if where else self.origin
        key = f"{self._title}: {key}" if where and key != "name" else self._title
        return ConfigError(*origin, key, problem, expected)

    def list_of(self, key: str, kinds: tuple[type, ...], expected: str) -> tuple[Any, ...]:
        """What stands there, one value or an array of them."""
        value = self.content.get(key, ())
        if value == ():
            return ()
        values = value if isinstance(value, list) else [value]
        if not values or len(values) > _LIST_AT_MOST:
            raise self.wrong(key, f"has {len(values)} values", f"1 to {_LIST_AT_MOST}")
        for one in values:
            if type(one) not in kinds:
                raise self.wrong(key, f"{_said(one)} cannot be used", expected)
        return tuple(values)


def _said(value: object) -> str:
    return shown(value) if isinstance(value, bool | int | float | str) else kind_of(value)


# --- the matchers


def _check_comm(glob: Glob) -> str:
    plain = not set("*?[").intersection(glob.pattern)
    length = len(glob.pattern.encode()) if plain else glob.shortest
    if length <= _COMM_BYTES:
        return ""
    return f"the name of a process, which the kernel cuts after {_COMM_BYTES} bytes"


def _check_cgroup(glob: Glob) -> str:
    good = glob.pattern[0] in "/*?[" and (glob.pattern == "/" or not glob.pattern.endswith("/"))
    return "" if good else 'a path such as "/system.slice/backup-*.service"'


def _check_unit(glob: Glob) -> str:
    good = glob.pattern.endswith((*UNIT_SUFFIXES, "*", "?", "]")) and "/" not in glob.pattern
    return "" if good else 'the name of a unit such as "postgresql@*.service" or "user.slice"'


_GLOBS: dict[str, Callable[[Glob], str]] = {
    "comm": _check_comm,
    "cgroup": _check_cgroup,
    "unit": _check_unit,
}


def _globs(table: _Table, key: str) -> tuple[Glob, ...]:
    globs = []
    for text in table.list_of(key, (str,), "a pattern, or an array of them"):
        if not 0 < len(text) <= _GLOB_CHARACTERS or "\0" in text:
            expected = f"a pattern of 1 to {_GLOB_CHARACTERS} characters"
            raise table.wrong(key, f"{shown(text)} matches nobody", expected)
        try:
            glob = Glob(text)
        except BadGlob as error:
            raise table.wrong(key, f"{shown(text)} {error}", "[[] for a [ itself") from None
        expected = _GLOBS[key](glob)
        if expected:
            raise table.wrong(key, f"{shown(text)} matches nobody", expected)
        globs.append(glob)
    return tuple(globs)


def _uid_range(table: _Table, value: int | str) -> tuple[int, int]:
    text = str(value) if isinstance(value, str) or abs(value) <= UID_MAX else ""
    low, dash, high = text.partition("-")
    bounds = (low, high if dash else low)
    if all(one.isascii() and one.isdecimal() and len(one) <= 10 for one in bounds):
        first, last = map(int, bounds)
        if first <= last <= UID_MAX:
            return first, last
    raise table.wrong("uid", f"{shown(value)} is no uid", 'a number, or two such as "1000-1999"')


def _users(table: _Table) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...]]:
    """The uids of the users, and the names of those that this machine does not know."""
    uids, unknown = [], []
    for name in table.list_of("user", (str,), "a user's name, or an array of them"):
        try:
            uid = pwd.getpwnam(name).pw_uid
        except (KeyError, ValueError):
            # No error: a directory service may be late, and everything else would be lost.
            unknown.append(name)
        else:
            uids.append((uid, uid))
    return tuple(uids), tuple(unknown)


# --- the rule


def _action(table: _Table) -> tuple[int, bool]:
    """What it adds in thousandths of totalpages, and whether it says never."""
    given = [key for key in _ACTIONS if key in table.content]
    if len(given) != 1:
        problem = f"has {' and '.join(given)}" if given else "says nothing to do"
        raise table.wrong("", problem, f"one of {', '.join(_ACTIONS)}")
    key, value = given[0], table.content[given[0]]
    if key == "never":
        if value is not True:
            raise table.wrong(key, f"{_said(value)} cannot be used", "true, or no such rule")
        return 0, True
    lowest = 0 if key == "prefer" else 1
    if type(value) is not int or not lowest <= value <= ADJ_MAX:
        expected = f"an integer from {lowest} to {ADJ_MAX}, thousandths of all memory"
        raise table.wrong(key, f"{_said(value)} cannot be used", expected)
    return (value if key == "prefer" else -value), False


def _checked(number: int, content: object, locate: Locate) -> GivenRule:
    """One table. Raises ConfigError."""
    if not isinstance(content, Mapping):
        origin = locate(f"rules[{number}]")
        raise ConfigError(*origin, f"rule {number + 1}", f"is {kind_of(content)}", "a table")
    table = _Table(number, content, locate)
    for key in content:
        if key not in _KEYS:
            close = get_close_matches(key[:60], _KEYS, 1)
            hint = f", did you mean {close[0]}?" if close else ""
            short = key if len(key) <= 60 else key[:57] + "..."
            raise table.wrong("", f"{short}: unknown key{hint}", f"one of {', '.join(_KEYS)}")
    if not any(key in content for key in _MATCHERS):
        raise table.wrong("", "matches everybody", f"one of {', '.join(_MATCHERS)}")
    adj, never = _action(table)
    comms, cgroups, units = (_globs(table, key) for key in _GLOBS)
    if "uid" in content and "user" in content:
        raise table.wrong("", "has uid and user", "one of them")
    expected = 'a number, "1000-1999", or an array of such'
    ranges = [_uid_range(table, one) for one in table.list_of("uid", (int, str), expected)]
    uids, unknown = _users(table)
    whose = (*ranges, *uids) if "uid" in content or "user" in content else None
    return GivenRule(
        Rule(table.name, adj, never, comms, cgroups, units, whose),
        table.origin,
        {key: tuple(map(str, _as_list(content[key]))) for key in _MATCHERS if key in content},
        unknown,
    )


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


# --- all of them


def rule_lines(statements: Iterable[tuple[int, tuple[str, ...], dict[str, Any]]]) -> dict[str, int]:
    """Where each rule and each of its keys stands: ``rules[0]``, ``rules[0].comm``.

    ``statements`` have their line, the table that they are in, and what they say.
    """
    lines: dict[str, int] = {}
    last = -1
    for number, table, content in statements:
        tables = content.get("rules") if not table else None
        if isinstance(tables, list):
            for _ in tables:
                last += 1
                lines[f"rules[{last}]"] = number
        elif table[:1] == ("rules",):
            for key in content:
                lines.setdefault(f"rules[{last}].{key}", number)
    return lines


def split_rules(
    mapping: Mapping[str, object], locate: Locate
) -> tuple[dict[str, object], tuple[GivenRule, ...]]:
    """A parsed file without its rules, and these. Raises ConfigError."""
    rest = dict(mapping)
    content = rest.pop("rules", [])
    if not isinstance(content, list):
        raise ConfigError(*locate("rules"), "rules", f"is {kind_of(content)}", "tables, [[rules]]")
    found: dict[str, GivenRule] = {}
    for number, one in enumerate(content):
        given = _checked(number, one, locate)
        name = given.rule.name
        if name in found:
            problem = f"there is another of this name ({found[name].origin})"
            raise ConfigError(*given.origin, f"rule {toml_value(name)}", problem)
        found[name] = given
    return rest, tuple(found.values())


def merge_rules(
    earlier: tuple[GivenRule, ...], later: tuple[GivenRule, ...]
) -> tuple[GivenRule, ...]:
    """A later file's rules before those of the files before it. Raises ConfigError."""
    replaced = {given.rule.name for given in later}
    merged = (*later, *(one for one in earlier if one.rule.name not in replaced))
    if len(merged) > RULES_AT_MOST:
        origin = merged[RULES_AT_MOST].origin
        raise ConfigError(*origin, "rules", f"there are {len(merged)}", f"at most {RULES_AT_MOST}")
    return merged


def rules_text(given: Iterable[GivenRule]) -> str:
    """For ``Settings.rules``."""
    return rules_as_text(one.rule for one in given)


def rule_warnings(given: Iterable[GivenRule]) -> Iterator[str]:
    """What may not be what was meant, and is no error. One line each."""
    for one in given:
        for user in one.unknown_users:
            where = f"{one.origin}: rule {toml_value(one.rule.name)}"
            yield one_line(f"{where}: user {toml_value(user)} is not known here: matches nobody")


def shown_rule(given: GivenRule) -> str:
    """What a rule says, for ``--show``."""
    matchers = (f"{key} {' or '.join(map(toml_value, of))}" for key, of in given.matchers.items())
    return f"{given.rule.action}: {', '.join(matchers)}"
