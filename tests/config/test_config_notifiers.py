"""The notifiers' tables: each bad one is refused in one line; files are merged key by key."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.config import ConfigError, Origin
from oomd.config_load import check_config, load
from oomd.config_notifiers import Tables, split
from oomd.notifier_options import BUILTIN, COMMAND
from tests.config.strategies import notifier_tables, toml_documents
from tests.config.test_config_load import ADMIN, VENDOR, tree

EVERY = "enabled, priority, deadline_ms"
BALLOON = f"{EVERY}, size_mib, step_mib, reinflate_after_s, keep_percent"
OWN_VALUE = "a boolean, number, string or array of strings"

BAD: list[tuple[str, str]] = [
    # Built-ins: keys, types, ranges.
    (
        "[notifiers.balloon]\nsize_mb = 64",
        "2: notifiers.balloon.size_mb: unknown key, did you mean notifiers.balloon.size_mib?"
        f" (expected one of {BALLOON})",
    ),
    (
        "[notifiers.balloon]\nsize_mib = '64'",
        '2: notifiers.balloon.size_mib: "64" is a string'
        " (expected an integer from 1 to 16777216 MiB)",
    ),
    (
        "[notifiers.balloon]\nsize_mib = 64\nkeep_percent = 0",
        "3: notifiers.balloon.keep_percent: 0.0 is out of range (expected a number from 1 to 95 %)",
    ),
    (
        "[notifiers.drop_caches]\n\nmode = 'all'",
        '3: notifiers.drop_caches.mode: "all" is not known'
        ' (expected one of "pagecache", "slab", "both")',
    ),
    (
        "[notifiers.compact]\nenabled = 1",
        "2: notifiers.compact.enabled: 1 is an integer (expected true or false)",
    ),
    (
        "[notifiers.compact]\npriority = 1001",
        "2: notifiers.compact.priority: 1001 is out of range"
        " (expected an integer from -1000 to 1000)",
    ),
    (
        "[notifiers.compact]\ndeadline_ms = -1",
        "2: notifiers.compact.deadline_ms: -1 is out of range"
        " (expected an integer from 1 to 10000 ms, or 0 for off)",
    ),
    (
        "[notifiers.memory_reclaim]\ncgroups = '/a'",
        "2: notifiers.memory_reclaim.cgroups: is a string (expected an array of strings)",
    ),
    (
        "[notifiers.memory_reclaim]\ncgroups = ['/a', 7]",
        "2: notifiers.memory_reclaim.cgroups: holds an integer (expected an array of strings)",
    ),
    (
        "[notifiers.memory_reclaim]\ncgroups = ['/a', 'user.slice']",
        '2: notifiers.memory_reclaim.cgroups: "user.slice" is not the path of a cgroup'
        ' (expected a path such as "/system.slice/backup-*.service")',
    ),
    (
        '[notifiers.memory_reclaim]\nxattr = "a\\u0000"',
        "2: notifiers.memory_reclaim.xattr: holds a NUL character",
    ),
    # What a table has to have, once it is on.
    (
        "\n[notifiers.balloon]",
        "2: notifiers.balloon.size_mib: is missing (expected an integer from 1 to 16777216 MiB)",
    ),
    (
        "[notifiers.command.x]\npriority = 3",
        "1: notifiers.command.x.argv: is missing (expected an array of strings)",
    ),
    (
        "[notifiers.command.x]\nargv = []",
        "2: notifiers.command.x.argv: is empty (expected at least one string)",
    ),
    (
        "[notifiers.command.x]\nargv = ['free-it', '-a']",
        '2: notifiers.command.x.argv: "free-it" is not an absolute path',
    ),
    (
        '[notifiers.command.x]\nargv = ["/x", "a\\u0000"]',
        "2: notifiers.command.x.argv: holds a NUL character (expected an array of strings)",
    ),
    # Tables that are none, or stand elsewhere.
    (
        "[notifiers]\nballoon = true",
        "2: notifiers.balloon: is a boolean (expected a table, [notifiers.balloon])",
    ),
    (
        "[notifiers]\ncommand = '/bin/x'",
        "2: notifiers.command: is a string (expected a table, [notifiers.command.NAME])",
    ),
    (
        "[notifiers.command]\nargv = ['/bin/x']",
        "2: notifiers.command.argv: is an array (expected a table, [notifiers.command.NAME])",
    ),
    (
        "[notifiers.'command.x']\nargv = ['/bin/x']",
        "1: notifiers.command.x: is quoted (expected a table, [notifiers.command.NAME])",
    ),
    (
        "[[notifiers.balloon]]\nsize_mib = 1",
        "1: notifiers.balloon: is an array (expected a table, [notifiers.balloon])",
    ),
    (
        "[notifiers.deadline_ms]\nx = 1",
        "1: notifiers.deadline_ms: is a table (expected an integer from 1 to 10000 ms)",
    ),
    (
        "[notifiers]\ndeadline = 100",
        "2: notifiers.deadline: unknown key, did you mean notifiers.deadline_ms? (expected one of"
        " deadline_ms, chain_deadline_ms, clients, user_priority_max, max_clients,"
        " plugin_memory_mib, watch_devices)",
    ),
    (
        "notifiers = 3",
        "1: notifiers: is an integer (expected a table, [notifiers])",
    ),
    # Plugins: their names, what every notifier has, and what an option can be.
    (
        "[notifiers.'my cache']",
        "1: notifiers.my cache: is not a notifier's name"
        ' (expected 1 to 64 letters, digits, "_", "." or "-")',
    ),
    (
        f"[notifiers.{'x' * 65}]",
        f"1: notifiers.{'x' * 57}...: is not a notifier's name"
        ' (expected 1 to 64 letters, digits, "_", "." or "-")',
    ),
    (
        "[notifiers.mycache]\npriority = 'high'",
        '2: notifiers.mycache.priority: "high" is a string'
        " (expected an integer from -1000 to 1000)",
    ),
    (
        "[notifiers.mycache]\nkeep = 2026-01-01",
        f"2: notifiers.mycache.keep: is a date or time (expected {OWN_VALUE})",
    ),
    (
        "[notifiers.mycache.keep]\nmib = 3",
        f"1: notifiers.mycache.keep: is a table (expected {OWN_VALUE})",
    ),
    (
        "[notifiers.mycache]\nkeep = ['a', 3]",
        f"2: notifiers.mycache.keep: holds more than strings (expected {OWN_VALUE})",
    ),
    (
        "[notifiers.mycache]\nkeep = nan",
        "2: notifiers.mycache.keep: nan is not a finite number",
    ),
    (
        f"[notifiers.mycache]\nkeep = {10**30}",
        "2: notifiers.mycache.keep: an integer beyond 64 bits",
    ),
    (
        '[notifiers.mycache]\n"\\u001b[31m" = nan',
        "2: notifiers.mycache.\\x1b[31m: nan is not a finite number",
    ),
    # Against the chain, wherever that was set.
    (
        "[notifiers.mycache]\ndeadline_ms = 1001",
        "2: notifiers.mycache.deadline_ms: this notifier would get 1001 ms, all of them together"
        " 1000 ms (expected it to be at most notifiers.chain_deadline_ms)",
    ),
    (
        "notifiers.chain_deadline_ms = 300\n[notifiers.drop_caches]\ndeadline_ms = 301",
        "3: notifiers.drop_caches.deadline_ms: this notifier would get 301 ms, all of them"
        " together 300 ms (expected it to be at most notifiers.chain_deadline_ms)",
    ),
]


@pytest.mark.parametrize(("toml", "error"), BAD, ids=[toml[:40] for toml, _ in BAD])
def test_bad_table(tmp_path: Path, toml: str, error: str) -> None:
    path = tmp_path / "oomd.toml"
    path.write_text(toml)
    assert check_config(str(path)) == (2, f"{path}:{error}")


def given_values(tables: Tables) -> dict[str, dict[str, object]]:
    return {
        name: {key: one.value for key, one in table.given.items()} for name, table in tables.items()
    }


def test_a_plugins_table_is_kept_as_it_is(tmp_path: Path) -> None:
    text = """
        [notifiers.my-cache]
        enabled = false
        priority = -3
        deadline_ms = 40
        keep_mib = 32
        share = 0.5
        "any key at all" = "\\u00fc\\n"
        paths = ["/a", "b"]
        none = []
    """
    root = tree(tmp_path, {ADMIN: text})
    assert given_values(dict(load(root=root).tables)) == {
        "my-cache": {
            "enabled": False,
            "priority": -3,
            "deadline_ms": 40,
            "keep_mib": 32,
            "share": 0.5,
            "any key at all": "ü\n",
            "paths": ("/a", "b"),
            "none": (),
        }
    }


def test_files_are_merged_key_by_key_and_each_value_knows_its_place(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        {
            VENDOR: "[notifiers.balloon]\nsize_mib = 64\nstep_mib = 8\n",
            f"{VENDOR}.d/v.toml": "[notifiers.command.x]\nargv = ['/bin/x', 'a']\n",
            ADMIN: "notifiers.balloon = { size_mib = 128 }\n[notifiers.mycache]\na = 1\nb = 2\n",
            f"{ADMIN}.d/a.toml": "[notifiers]\ncommand.x.argv = ['/bin/y']\nmycache.b = 'two'\n",
        },
    )
    found = load(root=root)
    assert given_values(dict(found.tables)) == {
        "balloon": {"size_mib": 128, "step_mib": 8},
        "command.x": {"argv": ("/bin/y",)},
        "mycache": {"a": 1, "b": "two"},
    }
    places = {
        f"{name}.{key}": str(one.origin).removeprefix(f"{root}/")
        for name, table in found.tables.items()
        for key, one in table.given.items()
    }
    assert places == {
        "balloon.size_mib": f"{ADMIN}:1",
        "balloon.step_mib": f"{VENDOR}:3",
        "command.x.argv": f"{ADMIN}.d/a.toml:2",
        "mycache.a": f"{ADMIN}:3",
        "mycache.b": f"{ADMIN}.d/a.toml:3",
    }


def test_what_is_required_may_stand_in_any_file_or_be_left_out_of_what_is_off(
    tmp_path: Path,
) -> None:
    root = tree(
        tmp_path,
        {
            ADMIN: "[notifiers.balloon]\nstep_mib = 8\n[notifiers.command.x]\nenabled = false\n",
            f"{ADMIN}.d/size.toml": "[notifiers.balloon]\nsize_mib = 9\n",
        },
    )
    assert given_values(dict(load(root=root).tables)) == {
        "balloon": {"step_mib": 8, "size_mib": 9},
        "command.x": {"enabled": False},
    }
    (tmp_path / f"{ADMIN}.d/size.toml").write_text("")
    with pytest.raises(ConfigError, match=f"^{root}/{ADMIN}:1: notifiers.balloon.size_mib: is mis"):
        load(root=root)


def test_the_options_of_every_builtin_are_checked() -> None:
    """No option of a kind that the check does not know; a wrong type is refused everywhere."""
    for builtin in BUILTIN.values():
        for option in builtin.options:
            table: dict[str, Any] = {builtin.name: {option.name: {"x": 1}}}
            if builtin.name == COMMAND:
                table = {COMMAND: {"x": {option.name: {"x": 1}}}}
            with pytest.raises(ConfigError, match=f"{option.name}: is a table"):
                split({"notifiers": table}, lambda key: Origin("FILE"))


@given(st.one_of(toml_documents(), notifier_tables()))
def test_no_input_raises_anything_but_config_error(document: dict[str, Any]) -> None:
    try:
        rest, tables = split(document, lambda key: Origin("FILE"))
    except ConfigError as error:
        text = str(error)
        assert text.startswith("FILE: notifiers")
        assert text.isprintable() and len(text) < 500
    else:
        section = document.get("notifiers")
        if isinstance(section, dict):
            # Every key is in one of the two, and none in both.
            names = {name.partition(".")[0] if name not in section else name for name in tables}
            empty = {COMMAND} if section.get(COMMAND) == {} else set()
            left = rest["notifiers"]
            assert isinstance(left, dict)
            assert names | set(left) | empty == set(section)
            assert not names & set(left)


def test_toml_can_write_one_table_in_three_ways() -> None:
    found = [
        split(tomllib.loads(text), lambda key: Origin("F"))[1]
        for text in (
            "[notifiers.balloon]\nsize_mib = 5",
            "[notifiers]\nballoon.size_mib = 5",
            "notifiers = { balloon = { size_mib = 5 } }",
        )
    ]
    assert found[0] == found[1] == found[2]
