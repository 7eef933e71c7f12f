"""The worker's plan: what is in it, what is said about it, and how the daemon comes by it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from oomd.config import PLAN_BYTES, ConfigError, Configured, bare_plan, from_lines, to_lines
from oomd.config_load import check_config, load, load_all, load_for, main
from oomd.config_plan import listed, make_plan, not_called, warnings, with_plan
from oomd.config_plugins import Found, Plugin
from oomd.oom import Notified
from oomd.settings import NotifierSettings, Settings
from tests.config.strategies import all_settings
from tests.config.test_config_load import ADMIN, VENDOR, tree
from tests.config.test_config_plugins import publish

TREE = Path(__file__).resolve().parents[2]
PLUGINS = "etc/oomd/notifiers.d"
NO_PLUGIN = Found()
FILE = Plugin("mine", "/etc/oomd/notifiers.d/mine.py")
ENTRY = Plugin("cache", "entry point cache", "pkg.mod", "release", "oomd-cache 1.2")


def plan(text: str, tmp_path: Path, found: Found = NO_PLUGIN) -> dict[str, Any]:
    root = tree(tmp_path, {ADMIN: text})
    made: dict[str, Any] = json.loads(make_plan(load(root=root), found))
    return made


# --- what is in it


def test_nothing_to_run_is_no_plan(tmp_path: Path) -> None:
    text = "[notifiers]\nclients = 'all'\n[notifiers.balloon]\nenabled = false\n[notifiers.x]\n"
    root = tree(tmp_path, {ADMIN: text})
    assert load_all(root=root).configured.settings.notifiers.plan == ""


def test_the_settings_are_in_it(tmp_path: Path) -> None:
    text = """
        [notifiers]
        deadline_ms = 150
        chain_deadline_ms = 900
        clients = "off"
        user_priority_max = -5
        max_clients = 7
        plugin_memory_mib = 99
        watch_devices = true
    """
    assert plan(text, tmp_path) == {
        "deadline_ms": 150,
        "chain_deadline_ms": 900,
        "clients": "off",
        "user_priority_max": -5,
        "max_clients": 7,
        "plugin_memory_mib": 99,
        "watch_devices": True,
        "builtin": [],
        "plugins": [],
        "options": {},
    }


@given(all_settings())
def test_a_bare_plan_is_the_settings_alone(settings: Settings) -> None:
    expected = settings.notifiers._asdict()
    del expected["plan"]
    assert json.loads(bare_plan(settings.notifiers)) == expected
    assert "plan" not in json.loads(bare_plan(settings.notifiers))


def test_builtins_are_in_it_with_every_option_in_the_order_of_their_documentation(
    tmp_path: Path,
) -> None:
    text = """
        notifiers.deadline_ms = 150
        [notifiers.command.b]
        argv = ["/bin/b", "-x"]
        [notifiers.command.a]
        argv = ["/bin/a"]
        priority = 7
        deadline_ms = 0
        [notifiers.compact]
        enabled = false
        [notifiers.balloon]
        size_mib = 128
        deadline_ms = 20
    """
    assert plan(text, tmp_path)["builtin"] == [
        {
            "name": "balloon",
            "priority": 80,
            "deadline_ms": 20,
            "options": {
                "size_mib": 128,
                "step_mib": 16,
                "reinflate_after_s": 60,
                "keep_percent": 25.0,
            },
        },
        {
            "name": "command.b",
            "priority": 0,
            "deadline_ms": 150,
            "options": {"argv": ["/bin/b", "-x"]},
        },
        {"name": "command.a", "priority": 7, "deadline_ms": 150, "options": {"argv": ["/bin/a"]}},
    ]


def test_plugins_are_in_it_with_their_tables(tmp_path: Path) -> None:
    text = """
        [notifiers.cache]
        keep_mib = 32
        priority = 5
        [notifiers.registers-under-another-name]
        enabled = false
        deadline_ms = 0
        paths = ["/ü"]
    """
    made = plan(text, tmp_path, Found((FILE, ENTRY)))
    assert made["plugins"] == [
        {"source": "/etc/oomd/notifiers.d/mine.py"},
        {
            "source": "entry point cache",
            "module": "pkg.mod",
            "attr": "release",
            "distribution": "oomd-cache 1.2",
        },
    ]
    assert made["options"] == {
        "cache": {"keep_mib": 32, "priority": 5},
        # A load knows no deadline of 0, which is the same as none.
        "registers-under-another-name": {"enabled": False, "paths": ["/ü"]},
    }


def test_a_plugin_whose_name_is_switched_off_is_not_even_loaded(tmp_path: Path) -> None:
    text = "[notifiers.cache]\nenabled = false\n[notifiers.mine]\nenabled = true\n"
    made = plan(text, tmp_path, Found((FILE, ENTRY)))
    assert made["plugins"] == [{"source": "/etc/oomd/notifiers.d/mine.py"}]


def test_a_plan_goes_through_the_lines_as_it_is(tmp_path: Path) -> None:
    root = tree(tmp_path, {ADMIN: '[notifiers.x]\n"ü\\u2028" = "\\n=\\u001b"\n'})
    found = with_plan(load(root=root), Found((FILE,)))
    assert json.loads(found.settings.notifiers.plan)["options"] == {"x": {"ü\u2028": "\n=\x1b"}}
    assert from_lines(to_lines(found.settings)) == found.settings


def test_a_plan_that_nobody_would_take_is_refused(tmp_path: Path) -> None:
    files = {
        f"{ADMIN}.d/{n}.toml": f"[notifiers.x{n}]\na = '{'x' * (PLAN_BYTES // 2)}'" for n in "ab"
    }
    root = tree(tmp_path, files)
    with pytest.raises(ConfigError) as caught:
        make_plan(load(root=root), Found((FILE,)))
    words = str(caught.value)
    assert words.startswith("configuration: the plan made from the notifiers' tables has 26")
    assert words.endswith(" bytes (expected at most 262144)")


# --- what is said about it


def test_a_name_that_is_nearly_a_builtins_is_worth_a_warning(tmp_path: Path) -> None:
    text = "[notifiers.baloon]\nsize_mib = 5\n[notifiers.zzz]\n[notifiers.mine]\n"
    root = tree(tmp_path, {ADMIN: text})
    configured = load(root=root)
    near = (
        f"{root}/{ADMIN}:1: notifiers.baloon: no built-in notifier has this name, did you mean"
        " balloon?"
    )
    nobody = "no built-in notifier has this name, and no plugin is installed"
    assert warnings(configured, Found((), ("plugin left out: x",))) == (
        "plugin left out: x",
        near,
        f"{root}/{ADMIN}:3: notifiers.zzz: {nobody}",
        f"{root}/{ADMIN}:4: notifiers.mine: {nobody}",
    )
    # What a plugin registers as is not known: any of the names may be one's.
    assert warnings(configured, Found((FILE,))) == (near,)
    assert warnings(configured, Found((FILE._replace(name="baloon"),))) == ()


def test_a_watched_cgroup_calls_none(tmp_path: Path) -> None:
    text = "watch.cgroup = '/a'\n"
    root = tree(tmp_path, {ADMIN: text})
    assert load_all(root=root).warnings == ()
    root = tree(tmp_path, {ADMIN: f"{text}[notifiers.drop_caches]\n"})
    assert load_all(root=root).warnings == (
        "watch.cgroup is set, and an OOM of a memory cgroup calls no notifiers",
    )


# --- who is in it


def test_they_are_listed_as_they_would_be_called(tmp_path: Path) -> None:
    text = """
        [notifiers.drop_caches]
        [notifiers.balloon]
        size_mib = 1
        [notifiers.cache]
        priority = 60
        deadline_ms = 40
    """
    root = tree(tmp_path, {ADMIN: text})
    second = ENTRY._replace(distribution="other 3")
    made = make_plan(load(root=root), Found((FILE, ENTRY, second)))
    assert [tuple(one) for one in listed(made)] == [
        ("balloon", 80, 200, "built in"),
        ("cache", 60, 40, "entry point cache of oomd-cache 1.2"),
        ("cache", 60, 40, "entry point cache of other 3"),
        ("drop_caches", 50, 200, "built in"),
        ("mine.py", None, 200, "/etc/oomd/notifiers.d/mine.py"),
    ]
    chain = not_called(made)
    assert chain.results == (
        Notified("balloon", 80),
        Notified("cache", 60),
        Notified("cache (entry point cache of other 3)", 60),
        Notified("drop_caches", 50),
        Notified("mine.py", None),
    )
    assert not chain.called and chain.freed_pages == 0
    assert not_called("").results == ()


# --- as it is used

TABLES = "[notifiers.drop_caches]\nmode = 'slab'\n[notifiers.mine]\nkeep = ['a']\n"


def test_check_config_lists_them_and_warns(tmp_path: Path) -> None:
    root = tree(tmp_path, {ADMIN: f"{TABLES}[notifiers.balon]\n", f"{PLUGINS}/mine.py": "1/0"})
    (tmp_path / PLUGINS / "link.py").symlink_to("mine.py")
    status, text = check_config(root=root)
    assert status == 0
    assert text.split("\n") == [
        f"OK: {root}/{ADMIN}",
        "notifiers, the highest priority first:",
        "  drop_caches  priority 50, 200 ms, built in",
        f"  mine.py      its own priority, 200 ms, {root}/{PLUGINS}/mine.py",
        f"warning: plugin left out: {root}/{PLUGINS}/link.py is a symbolic link: put the file"
        " itself there",
        f"warning: {root}/{ADMIN}:5: notifiers.balon: no built-in notifier has this name, did you"
        " mean balloon?",
    ]


def test_show_has_the_tables_with_their_defaults(tmp_path: Path) -> None:
    root = tree(tmp_path, {ADMIN: TABLES, f"{PLUGINS}/mine.py": "1/0"})
    status, text = check_config(show=True, root=root)
    assert status == 0
    lines = text.split("\n")
    shown = [line for line in lines if line.startswith(("notifiers.drop", "notifiers.mine"))]
    assert shown == [
        "notifiers.drop_caches.enabled = true  (default)",
        "notifiers.drop_caches.priority = 50  (default)",
        "notifiers.drop_caches.deadline_ms = 0 ms  (default)",
        f'notifiers.drop_caches.mode = "slab"  ({root}/{ADMIN}:2)',
        f'notifiers.mine.keep = ["a"]  ({root}/{ADMIN}:4)',
    ]
    assert "notifiers, the highest priority first:" in lines


def test_emit_hands_the_plan_over_and_warns_on_standard_error(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path, {ADMIN: TABLES, f"{PLUGINS}/mine.py": "1/0"})
    (tmp_path / PLUGINS / "link.py").symlink_to("mine.py")
    assert main(["--emit"], root) == 0
    out, err = capfd.readouterr()
    problem = f"{root}/{PLUGINS}/link.py is a symbolic link: put the file itself there"
    assert err == f"oomd: plugin left out: {problem}\n"
    settings = from_lines(out)
    assert settings.notifiers == NotifierSettings(plan=settings.notifiers.plan)
    made = json.loads(settings.notifiers.plan)
    assert [one["name"] for one in made["builtin"]] == ["drop_caches"]
    assert made["plugins"] == [{"source": f"{root}/{PLUGINS}/mine.py"}]
    assert made["options"] == {"mine": {"keep": ["a"]}}


def test_the_helper_finds_what_is_installed_and_runs_none_of_it(tmp_path: Path) -> None:
    publish(tmp_path / "site", "my-cache", "1.2", "[oomd.notifiers]\nmine = my_cache_module:f\n")
    path = tmp_path / "oomd.toml"
    path.write_text("[notifiers.mine]\npriority = 3\n")
    command = [sys.executable, "-m", "oomd.config_load", "--emit", "--config", str(path)]
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=True, env=env)
    assert done.stderr == ""
    made = json.loads(from_lines(done.stdout).notifiers.plan)
    mine = [one for one in made["plugins"] if "module" in one]
    assert mine == [
        {
            "source": "entry point mine",
            "module": "my_cache_module",
            "attr": "f",
            "distribution": "my-cache 1.2",
        }
    ]
    assert made["options"] == {"mine": {"priority": 3}}


def test_a_tree_is_guarded_with_its_own_configuration_if_it_has_one(tmp_path: Path) -> None:
    asked = tmp_path / "asked.toml"
    asked.write_text("log.top = 7\n")
    with_etc = tree(tmp_path / "etc", {ADMIN: f"log.top = 5\n{TABLES}", f"{PLUGINS}/mine.py": ""})
    with_usr = tree(tmp_path / "usr", {VENDOR: "log.top = 6"})
    without = tree(tmp_path / "none", {"proc/meminfo": ""})

    def found(root: str, file: str | None = None) -> Configured:
        return load_for(root, file).configured

    assert found(with_etc).settings.log.top == 5
    assert [one.name for one in listed(found(with_etc).settings.notifiers.plan)] == [
        "drop_caches",
        "mine.py",
    ]
    assert found(with_usr).settings.log.top == 6
    assert found(without) == load()._replace(settings=found(without).settings)
    # What was asked for is asked about, with the tree's own plugins.
    assert found(with_etc, str(asked)).settings.log.top == 7
    assert [one.name for one in listed(found(with_etc, str(asked)).settings.notifiers.plan)] == [
        "mine.py"
    ]
