"""Step 1 of an audit: who would be asked to give memory back, and that nobody is."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.audit.commands import Json, Oomd
from tests.audit.machines import AMPLE, TASKS
from tests.audit.schema import problems
from tests.config.test_config_plugins import publish
from tests.roots import Cgroup, make_root

PLUGINS = "etc/oomd/notifiers.d"

CONFIG = """
[notifiers.drop_caches]
[notifiers.command.mine]
argv = ["/bin/false", "secret"]
priority = 90
[notifiers.cache]
priority = -7
[notifiers.off]
enabled = false
"""

LISTED = {
    "command.mine": "priority 90: not called",
    "drop_caches": "priority 50: not called",
    "cache.py": "priority -7: not called",
    "other.py": "priority unknown: not called",
    "freed_pages": 0,
    "notifiers": 4,
}


def guarded_tree(tree: Path) -> Path:
    """A machine with notifiers of all kinds that a file can name."""
    if not tree.exists():
        make_root(tree, TASKS, meminfo=AMPLE)
    (tree / PLUGINS).mkdir(parents=True)
    (tree / "etc/oomd/oomd.toml").write_text(CONFIG)
    for name in ("cache", "other", "off"):
        # Whoever runs it is found out.
        (tree / PLUGINS / f"{name}.py").write_text(f"open({str(tree / 'ran')!r}, 'w')\n")
    return tree


def ask(oomd: Oomd, *args: str | Path) -> Json:
    """An audit without ``--config``."""
    ran = oomd("--dry-run", "--json", *args)
    assert ran.status == 0, ran.err
    found: Json = json.loads(ran.out)
    assert problems(found) == []
    return found


def step_1(found: Json) -> dict[str, Any]:
    step: dict[str, Any] = found["decision"]["trace"][0]
    assert step["name"] == "oom_notify_list"
    return step


def test_they_are_listed_and_none_is_called(oomd: Oomd, tree: Path) -> None:
    found = ask(oomd, "--root", guarded_tree(tree))
    assert step_1(found)["verdict"] == "not called"
    assert step_1(found)["detail"] == LISTED
    assert list(step_1(found)["detail"]) == list(LISTED)
    # It is decided as if they gave nothing back.
    assert found["decision"]["verdict"] == "kill"
    assert not (tree / "ran").exists()
    assert not {name for name in sys.modules if name.startswith("oomd_plugin")}


def test_a_person_reads_them_too(oomd: Oomd, tree: Path) -> None:
    ran = oomd("--dry-run", "--root", guarded_tree(tree))
    words = " ".join(ran.out.split())
    assert "1 oom_notify_list not called command.mine priority 90: not called, drop_caches" in words
    assert "other.py priority unknown: not called" in words


def test_a_memcg_oom_calls_none(oomd: Oomd, tree: Path) -> None:
    box: Cgroup = {"path": "/box", "limit_pages": 200_000, "pids": [10]}
    stat = {"sys/fs/cgroup/box/memory.stat": "inactive_file 0\n"}
    make_root(tree, TASKS, meminfo=AMPLE, cgroups=[box], cgroup_version=2, files=stat)
    guarded_tree(tree)
    assert step_1(ask(oomd, "--root", tree))["verdict"] == "not called"
    found = ask(oomd, "--root", tree, "--memcg", "/box")
    assert step_1(found)["verdict"] == "a memcg OOM calls no notifiers"


def test_what_was_left_out_is_a_note(oomd: Oomd, tree: Path) -> None:
    guarded_tree(tree)
    (tree / PLUGINS / "link.py").symlink_to("other.py")
    (tree / "etc/oomd/oomd.toml").write_text("[notifiers.baloon]\n")
    notes = ask(oomd, "--root", tree)["notes"]
    problem = "is a symbolic link: put the file itself there"
    assert f"plugin left out: {tree}/{PLUGINS}/link.py {problem}" in notes
    assert any("notifiers.baloon: no built-in notifier has this name" in note for note in notes)


def test_a_configuration_that_was_asked_for_replaces_the_trees(oomd: Oomd, tree: Path) -> None:
    guarded_tree(tree)
    oomd.config.write_text("[notifiers.compact]\n")
    detail = step_1(oomd.json(tree))["detail"]
    assert list(detail)[:1] == ["compact"]
    # Its plugins are what it has.
    assert list(detail)[1:4] == ["cache.py", "off.py", "other.py"]


def test_a_tree_of_its_own_has_nothing_of_what_is_installed_here(
    oomd: Oomd, tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "site", "my-cache", "1", "[oomd.notifiers]\nmine = my_cache_module\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    make_root(tree, TASKS, meminfo=AMPLE)
    assert step_1(oomd.json(tree))["verdict"] == "no notifier is registered"


@pytest.mark.live
def test_this_machines_are_those_of_its_packages_too(
    oomd: Oomd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "site", "my-cache", "1", "[oomd.notifiers]\nmine = my_cache_module:f\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    oomd.config.write_text("[notifiers.drop_caches]\n")
    ran = oomd.audit("--json")
    assert ran.status in (0, 1), ran.err
    detail = step_1(json.loads(ran.out))["detail"]
    assert detail["mine"] == "priority unknown: not called"
    assert detail["drop_caches"] == "priority 50: not called"
    assert "my_cache_module" not in sys.modules


# --- recordings


def recorded(oomd: Oomd, tree: Path, where: Path) -> Json:
    ask(oomd, "--root", guarded_tree(tree), "--record", where)
    manifest: Json = json.loads((where / "manifest.json").read_text())
    return manifest


def test_a_recording_keeps_their_names_and_nothing_of_the_configuration(
    oomd: Oomd, tree: Path, tmp_path: Path
) -> None:
    where = tmp_path / "recording"
    manifest = recorded(oomd, tree, where)
    assert manifest["extra"]["notifiers"] == {
        "command.mine": 90,
        "drop_caches": 50,
        "cache.py": -7,
        "other.py": None,
    }
    assert not (where / "etc").exists()
    kept = b"".join(path.read_bytes() for path in where.rglob("*") if path.is_file())
    assert b"secret" not in kept
    assert step_1(ask(oomd, "--root", where))["detail"] == LISTED


def test_a_recording_is_asked_about_the_configuration_that_is_asked_for(
    oomd: Oomd, tree: Path, tmp_path: Path
) -> None:
    where = tmp_path / "recording"
    recorded(oomd, tree, where)
    assert step_1(oomd.json(where))["verdict"] == "no notifier is registered"
    oomd.config.write_text("[notifiers.compact]\n")
    assert list(step_1(oomd.json(where))["detail"])[:1] == ["compact"]


@pytest.mark.parametrize("kept", [[], "x", 7, {"a": "high"}, {"a": True}, {"a": 1.5}])
def test_2_for_a_recording_with_impossible_notifiers(
    oomd: Oomd, tree: Path, tmp_path: Path, kept: object
) -> None:
    where = tmp_path / "recording"
    manifest = recorded(oomd, tree, where)
    manifest["extra"]["notifiers"] = kept
    (where / "manifest.json").write_text(json.dumps(manifest))
    ran = oomd("--dry-run", "--root", where)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == f'oomd: {where}: "notifiers" has an impossible value\n'


def test_names_in_a_recording_do_not_reach_the_terminal_raw(
    oomd: Oomd, tree: Path, tmp_path: Path
) -> None:
    where = tmp_path / "recording"
    manifest = recorded(oomd, tree, where)
    manifest["extra"]["notifiers"] = {"\x1b[31m": 1, "freed_pages": 2}
    (where / "manifest.json").write_text(json.dumps(manifest))
    ran = oomd("--dry-run", "--root", where)
    assert "\x1b" not in ran.out and "\\x1b[31m priority 1: not called" in ran.out
    # A notifier's name cannot stand for a figure.
    assert step_1(ask(oomd, "--root", where))["detail"]["freed_pages"] == 0
