"""``[[rules]]``: each bad one is refused in a line, and good ones reach the sentinel in order."""

import os
import pwd
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.config import ConfigError, Origin, from_lines, to_lines
from oomd.config_load import check_config, load, load_all
from oomd.config_rules import split_rules
from oomd.rules.rule import Rule, parse_rules
from oomd.settings import Settings
from tests.config.test_config_load import ADMIN, VENDOR, tree

ME = pwd.getpwuid(os.getuid()).pw_name
MATCHERS = "comm, cgroup, unit, uid, user"
KEYS = f"name, {MATCHERS}, prefer, avoid, never"
UIDS = 'a number, or two such as "1000-1999"'
ADJ = "thousandths of all memory"

# What stands after name = "r"; and what is said after the file and the line.
BAD: list[tuple[str, str]] = [
    ("prefer = 1", f'1: rule "r": matches everybody (expected one of {MATCHERS})'),
    ('comm = "a"', '1: rule "r": says nothing to do (expected one of prefer, avoid, never)'),
    (
        'comm = "a"\nprefer = 1\nnever = true',
        '1: rule "r": has prefer and never (expected one of prefer, avoid, never)',
    ),
    ('com = "a"', f'1: rule "r": com: unknown key, did you mean comm? (expected one of {KEYS})'),
    (f'"{"x" * 70}" = 1', f'1: rule "r": {"x" * 57}...: unknown key (expected one of {KEYS})'),
    (
        'comm = "a"\nnever = false',
        '4: rule "r": never: false cannot be used (expected true, or no such rule)',
    ),
    (
        'comm = "a"\nprefer = 1001',
        f'4: rule "r": prefer: 1001 cannot be used (expected an integer from 0 to 1000, {ADJ})',
    ),
    (
        'comm = "a"\navoid = 0',
        f'4: rule "r": avoid: 0 cannot be used (expected an integer from 1 to 1000, {ADJ})',
    ),
    (
        'comm = "a"\nprefer = true',
        f'4: rule "r": prefer: true cannot be used (expected an integer from 0 to 1000, {ADJ})',
    ),
    (
        "comm = 7\nprefer = 1",
        '3: rule "r": comm: 7 cannot be used (expected a pattern, or an array of them)',
    ),
    ("comm = []\nprefer = 1", '3: rule "r": comm: has 0 values (expected 1 to 32)'),
    (
        'comm = ["a", 7]\nprefer = 1',
        '3: rule "r": comm: 7 cannot be used (expected a pattern, or an array of them)',
    ),
    (
        'comm = ""\nprefer = 1',
        '3: rule "r": comm: "" matches nobody (expected a pattern of 1 to 256 characters)',
    ),
    (
        'comm = "a["\nprefer = 1',
        '3: rule "r": comm: "a[" has a [ without its ] (expected [[] for a [ itself)',
    ),
    (
        'comm = "chromium-browser"\nprefer = 1',
        '3: rule "r": comm: "chromium-browser" matches nobody'
        " (expected the name of a process, which the kernel cuts after 15 bytes)",
    ),
    (
        'cgroup = "system.slice/x"\nprefer = 1',
        '3: rule "r": cgroup: "system.slice/x" matches nobody'
        ' (expected a path such as "/system.slice/backup-*.service")',
    ),
    (
        'cgroup = "/system.slice/"\nprefer = 1',
        '3: rule "r": cgroup: "/system.slice/" matches nobody'
        ' (expected a path such as "/system.slice/backup-*.service")',
    ),
    (
        'unit = "postgresql"\nprefer = 1',
        '3: rule "r": unit: "postgresql" matches nobody'
        ' (expected the name of a unit such as "postgresql@*.service" or "user.slice")',
    ),
    (
        'unit = "/system.slice/x.service"\nprefer = 1',
        '3: rule "r": unit: "/system.slice/x.service" matches nobody'
        ' (expected the name of a unit such as "postgresql@*.service" or "user.slice")',
    ),
    ("uid = -1\nprefer = 1", f'3: rule "r": uid: -1 is no uid (expected {UIDS})'),
    ('uid = "9-5"\nprefer = 1', f'3: rule "r": uid: "9-5" is no uid (expected {UIDS})'),
    ('uid = "root"\nprefer = 1', f'3: rule "r": uid: "root" is no uid (expected {UIDS})'),
    (
        "uid = 4294967296\nprefer = 1",
        f'3: rule "r": uid: 4294967296 is no uid (expected {UIDS})',
    ),
    (
        "uid = true\nprefer = 1",
        '3: rule "r": uid: true cannot be used'
        ' (expected a number, "1000-1999", or an array of such)',
    ),
    (
        'uid = 0\nuser = "root"\nprefer = 1',
        '1: rule "r": has uid and user (expected one of them)',
    ),
    (
        "user = 0\nprefer = 1",
        '3: rule "r": user: 0 cannot be used (expected a user\'s name, or an array of them)',
    ),
]


def refusal(path: Path, text: str) -> str:
    path.write_text(text)
    status, said = check_config(str(path))
    assert status == 2
    assert said.startswith(f"{path}:")
    return said.removeprefix(f"{path}:")


@pytest.mark.parametrize(("body", "said"), BAD, ids=[body for body, _ in BAD])
def test_a_bad_rule(tmp_path: Path, body: str, said: str) -> None:
    assert refusal(tmp_path / "oomd.toml", f'[[rules]]\nname = "r"\n{body}\n') == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules = 3", "1: rules: is an integer (expected tables, [[rules]])"),
        ("[rules]\nname = 'a'", "1: rules: is a table (expected tables, [[rules]])"),
        ("rules = [3]", "1: rule 1: is an integer (expected a table)"),
        ("[[rule]]", None),
        ("\n[[rules]]\nnever = true", "2: rule 1: has no name (expected a text of 1 to 64"),
        ('[[rules]]\nname = ""', '2: rule 1: the name "" cannot be used (expected a text of 1'),
        ("[[rules]]\nname = 7", "2: rule 1: the name 7 cannot be used (expected a text of 1"),
        (f"[[rules]]\nname = '{'n' * 65}'", '2: rule 1: the name "nnnnnnnn'),
        (
            '[[rules]]\nname = "\\u001b[31m"',
            '2: rule 1: the name "\\U0000001B[31m" cannot be used (expected a text of 1',
        ),
        (
            '[[rules]]\nname = "a"\ncomm = "a"\nnever = true\n' * 2,
            '5: rule "a": there is another of this name (',
        ),
        (
            "".join(f"[[rules]]\nname = '{n}'\ncomm = 'a'\nnever = true\n" for n in range(65)),
            "257: rules: there are 65 (expected at most 64)",
        ),
    ],
)
def test_bad_rules(tmp_path: Path, text: str, said: str | None) -> None:
    refused = refusal(tmp_path / "oomd.toml", text)
    assert refused.startswith(said or "1: rule: unknown key, did you mean rules?")
    assert refused.isprintable()


GOOD = """
[[rules]]
name = "the database"
unit = "postgresql@*.service"
never = true

[[rules]]
name = "builds"
comm = ["cc1*", "ld"]
cgroup = "/user.slice"
uid = [0, "1000-1999"]
prefer = 300

[[rules]]
name = "mine"
user = "ME"
avoid = 5
""".replace("ME", ME)


def test_good_rules_reach_the_sentinel(tmp_path: Path) -> None:
    path = tmp_path / "oomd.toml"
    path.write_text(GOOD)
    loaded = load_all(str(path), draft=True)
    assert loaded.warnings == ()
    settings = from_lines(to_lines(loaded.configured.settings))
    database, builds, mine = parse_rules(settings.rules)
    assert (database.name, database.never) == ("the database", True)
    assert [glob.pattern for glob in database.units] == ["postgresql@*.service"]
    assert (builds.adj, builds.uids) == (300, ((0, 0), (1000, 1999)))
    assert [glob.pattern for glob in builds.comms + builds.cgroups] == ["cc1*", "ld", "/user.slice"]
    assert mine == Rule("mine", -5, uids=((os.getuid(), os.getuid()),))


def test_rules_are_shown_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "oomd.toml"
    path.write_text(GOOD)
    status, said = check_config(str(path), show=True)
    assert status == 0
    assert said.split("\n")[-3:] == [
        f'rule "the database" = never: unit "postgresql@*.service"  ({path}:2)',
        'rule "builds" = prefer 300: comm "cc1*" or "ld", cgroup "/user.slice",'
        f' uid "0" or "1000-1999"  ({path}:7)',
        f'rule "mine" = avoid 5: user "{ME}"  ({path}:14)',
    ]


def test_a_user_that_nobody_knows_is_a_warning_and_nobody(tmp_path: Path) -> None:
    path = tmp_path / "oomd.toml"
    path.write_text('[[rules]]\nname = "r"\nuser = ["no such user", "root"]\nnever = true\n')
    loaded = load_all(str(path), draft=True)
    expected = f'{path}:1: rule "r": user "no such user" is not known here: matches nobody'
    assert loaded.warnings == (expected,)
    assert parse_rules(loaded.configured.settings.rules)[0].uids == ((0, 0),)
    path.write_text('[[rules]]\nname = "r"\nuser = "no such user"\nnever = true\n')
    settings = load_all(str(path), draft=True).configured.settings
    assert parse_rules(settings.rules) == (Rule("r", never=True, uids=()),)


def rule(name: str, adj: int) -> str:
    return f'[[rules]]\nname = "{name}"\ncomm = "a"\nprefer = {adj}\n'


def test_the_later_file_comes_first_and_replaces_by_name(tmp_path: Path) -> None:
    files = {
        VENDOR: rule("a", 1) + rule("b", 2),
        ADMIN: rule("c", 3),
        f"{ADMIN}.d/x.toml": rule("b", 4) + rule("d", 5),
    }
    found = load(root=tree(tmp_path, files))
    rules = parse_rules(found.settings.rules)
    assert [(one.name, one.adj) for one in rules] == [("b", 4), ("d", 5), ("c", 3), ("a", 1)]


def test_none_is_the_default() -> None:
    assert load(root="/nowhere").settings == Settings()


_scalars = st.one_of(
    st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.dates(), st.none()
)
_values = _scalars | st.lists(_scalars, max_size=3) | st.dictionaries(st.text(), _scalars)
_tables = st.dictionaries(st.sampled_from([*KEYS.split(", "), "x"]) | st.text(), _values)


@given(st.fixed_dictionaries({"rules": st.lists(_tables | _values, max_size=3) | _values}))
def test_nothing_but_a_config_error_of_one_line(mapping: dict[str, Any]) -> None:
    try:
        rest, rules = split_rules(mapping, lambda key: Origin("x.toml"))
    except ConfigError as error:
        assert str(error).isprintable()
    else:
        assert rest == {}
        assert all(isinstance(one.rule, Rule) for one in rules)


def test_the_samples_rules_are_good_ones(tmp_path: Path) -> None:
    """Those of the installed file, with their # taken away."""
    text = (Path(__file__).parents[2] / "packaging/oomd.toml").read_text()
    lines = text.split("\n")
    begin = lines.index("#[[rules]]")
    end = lines.index("", begin)
    path = tmp_path / "oomd.toml"
    path.write_text("\n".join(line.lstrip("#") for line in lines[begin:end]))
    assert len(tomllib.loads(path.read_text())["rules"]) == 2
    assert check_config(str(path))[0] == 0
