"""What ``oomd --check-config`` and the helper print, and the sample that is installed."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from oomd.config import SETTINGS, from_lines, settings_from_mapping
from oomd.config_load import check_config, load, main, sample
from oomd.notifier_options import BUILTIN, COMMAND
from oomd.settings import Settings
from tests.config.test_config_load import ADMIN, tree

TREE = Path(__file__).resolve().parents[2]


def test_check_config_without_a_file(tmp_path: Path) -> None:
    root = str(tmp_path)
    assert check_config(root=root) == (0, "OK: no config file, every setting has its default")


def test_show_has_every_value_its_unit_its_place_and_its_help(tmp_path: Path) -> None:
    root = tree(tmp_path, {ADMIN: "[stall]\nwindow_ms = 3000\n"})
    status, text = check_config(show=True, root=root)
    lines = text.split("\n")
    assert status == 0
    assert lines[0] == f"# {root}/{ADMIN}"
    assert f"stall.window_ms = 3000 ms  ({root}/{ADMIN}:2)" in lines
    assert "stall.full_percent = 20.0 %  (default)" in lines
    assert 'policy = "el7"  (default)' in lines
    shown = [line.partition(" = ")[0] for line in lines[1:] if not line.startswith(" ")]
    assert shown == [setting.key for setting in SETTINGS]
    words = " ".join(text.split())
    assert all(setting.help in words for setting in SETTINGS)


def test_the_installed_sample_is_up_to_date() -> None:
    # If this fails: python3 -m oomd.config_load --sample > packaging/oomd.toml
    assert (TREE / "packaging/oomd.toml").read_text() == sample()


def test_the_sample_changes_nothing_until_it_is_edited() -> None:
    assert settings_from_mapping(tomllib.loads(sample())) == Settings()
    assert "=" not in "".join(line for line in sample().split("\n") if not line.startswith("#"))


def test_the_sample_with_every_key_taken_out_of_its_comment_is_the_defaults(tmp_path: Path) -> None:
    lines = sample().split("\n")
    text = "\n".join(line[1:] if line[:1] == "#" and line[1:2] != " " else line for line in lines)
    path = tmp_path / "oomd.toml"
    path.write_text(text)
    found = load(str(path), str(tmp_path))
    assert [given.rule.name for given in found.rules] == ["the database", "builds first"]
    assert found.settings._replace(rules="") == Settings()
    assert found.origins.keys() == {setting.key for setting in SETTINGS}
    # And every built-in notifier with every option, one command among them.
    tables = {
        name: {option: given.value for option, given in table.given.items()}
        for name, table in found.tables.items()
    }
    assert tables == {
        "command.NAME" if name == COMMAND else name: builtin.defaults
        for name, builtin in BUILTIN.items()
    }


def test_a_key_without_its_table_is_not_taken_for_another(tmp_path: Path) -> None:
    """The # of a key was taken away, and that of its table was not."""
    head, marker, tables = sample().partition("#[notifiers.balloon]")
    keys = [line for line in tables.split("\n") if line[:1] == "#" and line[1:2] not in (" ", "[")]
    assert len(keys) == sum(len(builtin.options) for builtin in BUILTIN.values())
    path = tmp_path / "oomd.toml"
    for line in keys:
        path.write_text(head + marker + tables.replace(f"\n{line}\n", f"\n{line[1:]}\n", 1))
        status, said = check_config(str(path))
        assert status == 2 and f": control.{line[1:].partition(' ')[0]}: unknown key" in said


def test_emit_hands_over_what_is_in_force(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    root = tree(tmp_path, {ADMIN: '[watch]\ncgroup = "/süd.slice"\n'})
    assert main(["--emit"], root) == 0
    out, err = capfdbinary.readouterr()
    assert err == b""
    handed, found = from_lines(out.decode()), load(root=root).settings
    # The group goes by its number.
    assert handed == found._replace(control=handed.control)
    assert handed.watch.cgroup == "/süd.slice"


def test_emit_fails_with_one_line_and_hands_nothing_over(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = tree(tmp_path, {ADMIN: "[log]\ntop = 'all'\n"})
    assert main(["--emit"], root) == 2
    error = f'{root}/{ADMIN}:2: log.top: "all" is a string (expected an integer from 0 to 100)\n'
    assert capfd.readouterr() == ("", error)


def test_the_helper_as_it_is_called(tmp_path: Path) -> None:
    path = tmp_path / "oomd.toml"
    path.write_text("log.top = 5")
    command = [sys.executable, "-m", "oomd.config_load", "--emit", "--config", str(path)]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=True)
    assert from_lines(done.stdout).log.top == 5
