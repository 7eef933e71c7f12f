"""Plugins are found by what the file system and their packages' metadata say, and not run."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from oomd.config_plugins import Found, Plugin, discover

VENDOR = "usr/lib/oomd/notifiers.d"
ADMIN = "etc/oomd/notifiers.d"

# Whoever runs this leaves a trace.
RUN = "raise SystemExit('a plugin was run')\n"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to others, which takes root")


def tree(root: Path, *names: str) -> str:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(RUN)
    return str(root)


def test_no_folder_is_no_plugin(tmp_path: Path) -> None:
    assert discover(str(tmp_path)) == Found()


def test_files_are_sorted_by_name_and_those_in_etc_hide_the_vendors(tmp_path: Path) -> None:
    root = tree(
        tmp_path,
        f"{VENDOR}/30-c.py",
        f"{VENDOR}/20-b.py",
        f"{VENDOR}/10-a.py",
        f"{ADMIN}/20-b.py",
        f"{ADMIN}/05-z.py",
        f"{ADMIN}/.hidden.py",
        f"{ADMIN}/backup.py~",
        f"{ADMIN}/README",
        f"{ADMIN}/__pycache__/x.pyc",
    )
    (tmp_path / ADMIN / "30-c.py").symlink_to("/dev/null")
    # One that hides nothing is no plugin either, and no mistake.
    (tmp_path / ADMIN / "40-d.py").symlink_to("/dev/null")
    assert discover(root) == Found(
        (
            Plugin("05-z", f"{root}/{ADMIN}/05-z.py"),
            Plugin("10-a", f"{root}/{VENDOR}/10-a.py"),
            Plugin("20-b", f"{root}/{ADMIN}/20-b.py"),
        )
    )


def test_what_is_no_file_of_its_own_is_left_out_by_name(tmp_path: Path) -> None:
    root = tree(tmp_path, f"{ADMIN}/good.py", "elsewhere.py")
    folder = tmp_path / ADMIN
    (folder / "a-link.py").symlink_to("../../../elsewhere.py")
    (folder / "b-dangling.py").symlink_to("nowhere")
    (folder / "c-folder.py").mkdir()
    os.mkfifo(folder / "d-fi\nfo.py")
    found = discover(root)
    assert [plugin.name for plugin in found.plugins] == ["good"]
    link = "is a symbolic link: put the file itself there"
    assert found.problems == (
        f"plugin left out: {folder}/a-link.py {link}",
        f"plugin left out: {folder}/b-dangling.py {link}",
        f"plugin left out: {folder}/c-folder.py is not a regular file",
        f"plugin left out: {folder}/d-fi\\nfo.py is not a regular file",
    )


def test_a_folder_that_cannot_be_listed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: str) -> list[str]:
        raise PermissionError(13, "Permission denied", folder)

    # Root may list any folder, and the tests may be run by root.
    monkeypatch.setattr(os, "listdir", refuse)
    problem = f"{tmp_path}/{VENDOR}: cannot be read: Permission denied"
    assert discover(str(tmp_path)) == Found((), (problem,))


def chown(uid: int, gid: int = -1) -> Callable[[Path], None]:
    return lambda path: os.chown(path, uid, gid)


def chmod(mode: int) -> Callable[[Path], None]:
    return lambda path: path.chmod(mode)


@needs_root
@pytest.mark.parametrize(
    ("change", "where", "problem"),
    [
        (chown(1000), f"{ADMIN}/p.py", "belongs to uid 1000: chown root {}"),
        (chown(65534), ADMIN, "belongs to uid 65534: chown root {}"),
        (chmod(0o666), f"{ADMIN}/p.py", "can be written by others: chmod go-w {}"),
        (chmod(0o620), f"{ADMIN}/p.py", "can be written by others: chmod go-w {}"),
        (chmod(0o1777), ADMIN, "can be written by others: chmod go-w {}"),
        (chown(0, 1000), f"{ADMIN}/p.py", ""),
        (chmod(0o600), f"{ADMIN}/p.py", ""),
    ],
)
def test_whose_files_root_runs(
    tmp_path: Path, change: Callable[[Path], None], where: str, problem: str
) -> None:
    root = tree(tmp_path, f"{ADMIN}/p.py", f"{VENDOR}/vendors.py")
    for folder in (tmp_path / ADMIN, tmp_path / VENDOR):
        folder.chmod(0o755)
        for file in folder.iterdir():
            file.chmod(0o644)
    change(tmp_path / where)
    vendors = Plugin("vendors", f"{root}/{VENDOR}/vendors.py")
    admins = Plugin("p", f"{root}/{ADMIN}/p.py")
    # A tree that was brought here may be anyone's.
    assert discover(root, roots_only=False) == Found((admins, vendors))
    if problem:
        path = f"{root}/{where}"
        said = f"plugin left out: {path} {problem.format(path)}"
        assert discover(root, roots_only=True) == Found((vendors,), (said,))
    else:
        assert discover(root, roots_only=True) == Found((admins, vendors))


# --- entry points


def publish(site: Path, name: str, version: str, entry_points: str | None) -> Path:
    """An installed package, as pip leaves it; its module must not be imported."""
    module = site / f"{name.replace('-', '_')}_module"
    module.mkdir(parents=True, exist_ok=True)
    (module / "__init__.py").write_text(RUN)
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if entry_points is not None:
        (info / "entry_points.txt").write_text(entry_points)
    return info


def published(root: str = "/") -> Found:
    """What this machine's own folders hold is not asked about."""
    found = discover(root)
    plugins = tuple(plugin for plugin in found.plugins if plugin.module)
    return Found(plugins, tuple(one for one in found.problems if "notifiers.d" not in one))


def test_entry_points_are_found_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(sys.modules)
    publish(
        tmp_path,
        "my-cache",
        "1.2",
        "[console_scripts]\nx = my_cache_module:x\n\n[oomd.notifiers]\n"
        "mycache = my_cache_module:notifiers.release [extra]\nwhole = my_cache_module\n",
    )
    publish(tmp_path, "other", "3", "[other.notifiers]\nx = other_module\n")
    publish(tmp_path, "plain", "3", None)
    monkeypatch.syspath_prepend(str(tmp_path))
    mine = ("my_cache_module", "notifiers.release", "my-cache 1.2")
    assert published() == Found(
        (
            Plugin("mycache", "entry point mycache", *mine),
            Plugin("whole", "entry point whole", "my_cache_module", "", "my-cache 1.2"),
        )
    )
    assert not {name for name in set(sys.modules) - before if name.endswith("_module")}


def test_a_tree_has_no_installed_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(tmp_path / "site", "my-cache", "1", "[oomd.notifiers]\na = my_cache_module\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert published(str(tmp_path)) == Found()
    assert len(published().plugins) == 1


def test_of_two_versions_the_one_that_is_imported_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "old", "my-cache", "1", "[oomd.notifiers]\na = m:one\nb = m:two\n")
    publish(tmp_path / "new", "my-cache", "2", "[oomd.notifiers]\na = m:three\n")
    publish(tmp_path / "old", "given-up", "1", "[oomd.notifiers]\nc = m:four\n")
    publish(tmp_path / "new", "given-up", "2", "[console_scripts]\nc = m:four\n")
    monkeypatch.syspath_prepend(str(tmp_path / "old"))
    monkeypatch.syspath_prepend(str(tmp_path / "new"))
    assert published().plugins == (Plugin("a", "entry point a", "m", "three", "my-cache 2"),)


def test_torn_metadata_costs_nobody_else_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, "good", "1", "[oomd.notifiers]\ngood = good_module:release\n")
    publish(tmp_path, "bad-value", "1", "[oomd.notifiers]\nbad = not a module!\n")
    publish(tmp_path, "bad-line", "1", "[oomd.notifiers]\nthis is no entry\n")
    nameless = publish(tmp_path, "nameless", "1", "[oomd.notifiers]\nx = nameless_module\n")
    (nameless / "METADATA").unlink()
    monkeypatch.syspath_prepend(str(tmp_path))
    found = published()
    assert [plugin.name for plugin in found.plugins] == ["good"]
    assert len(found.problems) == 3
    for word in ("nameless-1.dist-info", "bad_line-1.dist-info", "bad of bad-value 1: 'not a"):
        assert len([one for one in found.problems if word in one]) == 1, found.problems
    assert all(one.startswith("plugin left out: ") and one.isprintable() for one in found.problems)


def test_without_a_plugin_the_comfortable_library_is_not_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from oomd.config_plugins import discover; discover(); "
        "print('importlib.metadata' in sys.modules)"
    )
    path = os.pathsep.join((str(tmp_path), str(Path(__file__).parents[2])))

    def loaded() -> str:
        # -S: this machine's packages are left out, those of the folder are not.
        command = [sys.executable, "-S", "-c", code]
        env = {"PYTHONPATH": path}
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    publish(tmp_path, "other", "3", "[other.notifiers]\nx = other_module\n")
    assert loaded() == "False\n"
    publish(tmp_path, "mine", "1", "[oomd.notifiers]\nx = mine_module\n")
    assert loaded() == "True\n"


def test_a_plugins_file_need_not_be_readable_to_be_found(tmp_path: Path) -> None:
    root = tree(tmp_path, f"{ADMIN}/p.py")
    path = tmp_path / ADMIN / "p.py"
    path.chmod(0)
    assert not stat.S_IMODE(path.stat().st_mode)
    assert [plugin.name for plugin in discover(root).plugins] == ["p"]
