"""The Debian package: built with Debian's tools, and looked at without installing it."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from oomd import __version__
from oomd.config_load import EXIT_OK, check_config
from tests.packaging.debs import TREE, built_deb, run

pytestmark = pytest.mark.skipif(
    shutil.which("dpkg-buildpackage") is None, reason="a Debian package is built on Debian"
)


@pytest.fixture(scope="module")
def deb() -> Path:
    return built_deb()


@pytest.fixture(scope="module")
def unpacked(deb: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unpacked")
    run("dpkg", "-x", deb, folder)
    return folder


def field(deb: Path, name: str) -> str:
    return run("dpkg-deb", "-f", deb, name).stdout.strip()


def test_lintian_has_nothing_against_it(deb: Path) -> None:
    (changes,) = deb.parent.glob("*.changes")
    words = ["lintian", "--allow-root", "--pedantic", "--fail-on", "error,warning,pedantic"]
    assert "W:" not in run(*words, changes).stdout


def test_it_is_of_this_version_and_needs_what_debian_has(deb: Path) -> None:
    assert field(deb, "Version") == __version__
    assert field(deb, "Conflicts") == "oomd"
    needed = {one.split(" ")[0] for one in field(deb, "Depends").split(", ")}
    modules = {"python3-psutil", "python3-pyudev", "python3-systemd", "python3-rich"}
    assert modules | {"python3", "systemd"} <= needed
    for package in needed - {"python3:any"}:
        assert "Package:" in run("apt-cache", "show", "--no-all-versions", package).stdout


def test_it_holds_what_an_admin_looks_for(unpacked: Path) -> None:
    for name in (
        "etc/oomd/oomd.toml",
        "usr/bin/oomd",
        "usr/lib/systemd/catalog/oomd.catalog",
        "usr/lib/sysusers.d/oomd.conf",
        "usr/lib/tmpfiles.d/oomd.conf",
        "usr/share/bash-completion/completions/oomd",
        "usr/share/fish/vendor_completions.d/oomd.fish",
        "usr/share/man/man1/oomd-replay.1.gz",
        "usr/share/man/man5/oomd.toml.5.gz",
        "usr/share/man/man7/oomd-notifiers.7.gz",
        "usr/share/man/man8/oomd.8.gz",
        "usr/share/zsh/site-functions/_oomd",
    ):
        assert (unpacked / name).is_file(), name
    for name in ("etc/oomd/notifiers.d", "etc/oomd/oomd.toml.d"):
        assert (unpacked / name).is_dir(), name
    assert check_config(str(unpacked / "etc/oomd/oomd.toml"), False)[0] == EXIT_OK


def test_only_the_configuration_is_a_conffile(deb: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "-e", deb, tmp_path)
    assert (tmp_path / "conffiles").read_text().split() == ["/etc/oomd/oomd.toml"]


def test_an_upgrade_restarts_the_guard_and_never_stops_it_first(deb: Path, tmp_path: Path) -> None:
    run("dpkg-deb", "-e", deb, tmp_path)
    stop = [line for line in (tmp_path / "prerm").read_text().splitlines() if " stop " in line]
    assert [line.strip() for line in stop] == [
        "deb-systemd-invoke stop 'oomd.service' >/dev/null || true"
    ]
    assert '[ "$1" = remove ]' in (tmp_path / "prerm").read_text().split(stop[0])[0]
    after = (tmp_path / "postinst").read_text()
    # Compiled before it is started again: Python would do it on the way.
    assert after.index("py3compile") < after.index("_dh_action=restart")


@pytest.mark.parametrize("unit", ["oomd.service", "oomd-audit.service", "oomd-metrics.service"])
def test_systemd_takes_the_units(unit: str, unpacked: Path, tmp_path: Path) -> None:
    text = (unpacked / "lib/systemd/system" / unit).read_text()
    (start,) = (line for line in text.splitlines() if line.startswith("ExecStart="))
    for word in start.removeprefix("ExecStart=").split():
        assert (
            not word.startswith("/") or word == "/usr/bin/python3" or (unpacked / word[1:]).exists()
        )
    (tmp_path / unit).write_text(text.replace("/usr/bin/oomd ", "/bin/true "))
    assert run("systemd-analyze", "verify", "--man=no", tmp_path / unit).stderr == ""


def test_its_launcher_finds_its_sentinel_and_nothing_else(unpacked: Path) -> None:
    # The sentinel refuses an argument that it does not know: so it was found, and imported whole.
    launcher = unpacked / "usr/lib/oomd/sentinel.py"
    command = ["/usr/bin/python3", "-I", "-S", str(launcher), "--nonsense"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown argument '--nonsense'" in done.stderr


def test_its_command_runs_with_debians_python(unpacked: Path) -> None:
    library = str(unpacked / "usr/lib/python3/dist-packages")
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": library}
    command = ["/usr/bin/python3", str(unpacked / "usr/bin/oomd"), "--version"]
    assert run(*command, env=environment).stdout == f"oomd {__version__}\n"


def test_the_sysusers_and_tmpfiles_entries_do_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc" / name).touch()
    run("systemd-sysusers", f"--root={tmp_path}", TREE / "systemd/oomd.sysusers")
    assert (tmp_path / "etc/group").read_text().startswith("oomd:x:")
    folders = tmp_path / "etc/oomd"
    (tmp_path / "etc/passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    with (tmp_path / "etc/group").open("a") as group:
        group.write("root:x:0:\n")
    run("systemd-tmpfiles", f"--root={tmp_path}", "--create", TREE / "systemd/oomd.tmpfiles")
    assert {one.name: one.stat().st_mode & 0o777 for one in folders.iterdir()} == {
        "notifiers.d": 0o755,
        "oomd.toml.d": 0o755,
    }
