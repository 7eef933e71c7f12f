"""What is shipped beside the code: units, launcher, wheel, and the scripts that install them."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parent.parent
ONE_REASON_EACH = {"CapabilityBoundingSet", "DeviceAllow", "ReadWritePaths", "SystemCallFilter"}
UNITS = ("oomd.service", "oomd-audit.service")
SYSTEM_PYTHON = "/usr/bin/python3"

# Settings that grant something, or leave open what systemd could close.
GRANTS = {
    "AmbientCapabilities",
    "BindPaths",
    "CapabilityBoundingSet",
    "DeviceAllow",
    "IOSchedulingClass",
    "LimitMEMLOCK",
    "MemoryMin",
    "OOMScoreAdjust",
    "ReadWritePaths",
    "RestrictAddressFamilies",
    "Slice",
    "SystemCallFilter",
}


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def unit_lines(unit: str) -> list[str]:
    return (TREE / "systemd" / unit).read_text().splitlines()


def grants_without_a_reason(lines: list[str]) -> list[str]:
    """Lines that grant a power with neither a comment above nor one above the run they end."""
    bare = []
    explained = False
    for line in lines:
        key, _, value = line.partition("=")
        grants = key in GRANTS or (key.startswith(("Protect", "Private")) and value == "no")
        if line.startswith("#"):
            explained = True
        elif grants and not explained:
            bare.append(line)
        elif not grants:
            explained = False
        elif key in ONE_REASON_EACH:
            explained = False
    return bare


@pytest.mark.parametrize("unit", UNITS)
def test_each_granted_power_says_which_call_needs_it(unit: str) -> None:
    assert grants_without_a_reason(unit_lines(unit)) == []


def test_a_power_without_a_reason_is_found() -> None:
    lines = ["# kcmp(2)", "CapabilityBoundingSet=CAP_SYS_PTRACE", "CapabilityBoundingSet=CAP_KILL"]
    assert grants_without_a_reason(lines) == ["CapabilityBoundingSet=CAP_KILL"]
    assert grants_without_a_reason(["NoNewPrivileges=yes", "PrivateDevices=no"]) != []


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_finds_nothing_wrong_with_the_unit(unit: str, tmp_path: Path) -> None:
    # The programs are looked for where they will be; here that is nowhere.
    text = (TREE / "systemd" / unit).read_text()
    for program in ("python", "oomd"):
        text = text.replace(f"/opt/oomd/current/bin/{program} ", "/bin/true ")
    (tmp_path / unit).write_text(text)
    verify = run("systemd-analyze", "verify", "--man=no", tmp_path / unit)
    assert (verify.returncode, verify.stdout + verify.stderr) == (0, "")


def exposure(unit: Path) -> float:
    """What systemd makes of it: 0.0 closed in every way to 10.0 open in every way."""
    security = run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    found = re.search(r"Overall exposure level for \S+: (\d+\.\d) ", security.stdout)
    assert found, security.stdout + security.stderr
    return float(found[1])


@pytest.mark.parametrize(("unit", "ceiling"), [("oomd.service", 1.9), ("oomd-audit.service", 1.6)])
def test_the_unit_opens_no_more_than_it_did(unit: str, ceiling: float) -> None:
    assert exposure(TREE / "systemd" / unit) <= ceiling


# Debian 12's, by the unit that its package installs.
RIVALS = {
    "earlyoom": "earlyoom.service",
    "nohang": "nohang.service",
    "systemd-oomd": "systemd-oomd.service",
}


@pytest.fixture(scope="module")
def rival_units(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Of packages that are fetched and unpacked, and not installed."""
    folder = tmp_path_factory.mktemp("rivals")
    fetched = run("apt-get", "-q", "download", *RIVALS, cwd=folder)
    assert fetched.returncode == 0, fetched.stdout + fetched.stderr
    for deb in folder.glob("*.deb"):
        run("dpkg", "-x", deb, folder)
    return {name: folder / "lib/systemd/system" / unit for name, unit in RIVALS.items()}


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="the rivals' packages are Debian's")
def test_the_unit_opens_less_than_those_of_the_rivals(
    rival_units: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    ours = exposure(TREE / "systemd/oomd.service")
    theirs = {name: exposure(unit) for name, unit in rival_units.items()}
    with capsys.disabled():
        listed = ", ".join(f"{name} {figure}" for name, figure in theirs.items())
        print(f"\nexposure by systemd-analyze security: oomd {ours}, {listed}")
    assert all(ours < figure for figure in theirs.values())


def lay_out_release(release: Path, package: Path) -> Path:
    """The part of a release that the launcher looks at."""
    release.mkdir()
    shutil.copy(TREE / "packaging/sentinel.py", release)
    (release / "package").symlink_to(package)
    return release / "sentinel.py"


def test_the_launcher_adds_one_path_and_returns_the_status(tmp_path: Path) -> None:
    (tmp_path / "oomd").mkdir()
    (tmp_path / "oomd/__init__.py").touch()
    (tmp_path / "oomd/daemon.py").write_text(
        "import sys\ndef main():\n    print(*sys.path, sep='\\n')\n    return 70\n"
    )
    launcher = lay_out_release(tmp_path / "release", tmp_path)
    (tmp_path / "current").symlink_to(tmp_path / "release")

    result = run(
        SYSTEM_PYTHON,
        "-I",
        "-S",
        tmp_path / "current" / launcher.name,
        env={"PYTHONPATH": str(TREE)},
    )
    bare = run(SYSTEM_PYTHON, "-I", "-S", "-c", "import sys; print(*sys.path, sep='\\n')")
    assert result.returncode == 70, result.stderr
    assert result.stdout == bare.stdout + f"{tmp_path}/release/package\n"


def test_the_sentinel_loads_only_the_standard_library(tmp_path: Path) -> None:
    # Without site no other module could be found: that the import succeeds is the proof.
    code = f"import sys; sys.path.append({str(TREE)!r}); import oomd.daemon"
    result = run(SYSTEM_PYTHON, "-I", "-S", "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_wheel_holds_the_whole_package(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        shutil.copy(TREE / name, source)
    shutil.copytree(TREE / "oomd", source / "oomd", ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet"]
    offline = ["--no-index", "--no-build-isolation", "--no-deps"]
    built = run(*pip, *offline, "--wheel-dir", tmp_path, source)
    assert built.returncode == 0, built.stdout + built.stderr

    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = {name for name in archive.namelist() if name.startswith("oomd/")}
    files = (path for path in (TREE / "oomd").rglob("*") if path.is_file())
    assert shipped == {
        str(path.relative_to(TREE)) for path in files if "__pycache__" not in path.parts
    }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--frobnicate"], "unknown option --frobnicate"),
        (["--purge"], "--purge goes with --uninstall"),
    ],
)
def test_install_refuses_in_one_line(arguments: list[str], complaint: str) -> None:
    result = run(TREE / "packaging/install", *arguments)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert result.stderr.count("\n") == 1


def shell(body: str, tmp_path: Path, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs `body` with packaging/lib.sh; programs in tmp_path/bin win over the machine's."""
    library = shutil.copy(TREE / "packaging/lib.sh", tmp_path)
    script = f"set -euo pipefail; ROOT={tmp_path}; source {library}; {body}"
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    return run("bash", "-c", script, env={"PATH": path}, cwd="/", **options)


def fake_program(tmp_path: Path, name: str, body: str) -> None:
    program = tmp_path / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/bash\n{body}\n")
    program.chmod(0o755)


@pytest.fixture
def fake_apt() -> Iterator[Path]:
    """A Debian that has `bash` and nothing else, and an apt-get that notes that it was asked."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)  # unlike tmp_path, open to the user that one test becomes
        fake_program(
            folder, "dpkg-query", 'echo "bash installed"; echo "gone config-files"; exit 1'
        )
        fake_program(folder, "apt-get", f"touch {folder}/asked")
        yield folder


def test_only_what_is_missing_is_named(fake_apt: Path) -> None:
    assert shell("missing_packages bash gone absent", fake_apt).stdout == "gone\nabsent\n"


def test_nothing_is_asked_of_apt_when_nothing_is_missing(fake_apt: Path) -> None:
    result = shell("need_packages bash", fake_apt)
    assert (result.returncode, result.stderr) == (0, "")
    assert not (fake_apt / "asked").exists()


def test_without_root_the_packages_to_ask_for_are_named(fake_apt: Path) -> None:
    # EUID is the shell's own and can't be faked.
    somebody = {"user": "nobody"} if os.geteuid() == 0 else {}
    result = shell("need_packages bash gone absent", fake_apt, **somebody)
    assert result.returncode == 2
    assert result.stderr == (
        "oomd: not root, and packages are missing; ask for: apt-get install gone absent\n"
    )


def test_dnf_is_asked_where_there_is_no_apt(tmp_path: Path) -> None:
    # `command -v apt-get` has to fail on a Debian too: only these programs are on the path.
    fake_program(tmp_path, "rpm", "[[ ${@: -1} == bash ]]")
    fake_program(tmp_path, "dnf", f'echo "$@" >>{tmp_path}/asked')
    body = f"PATH={tmp_path}/bin:/none; need_packages_dnf gone; package_tool"
    result = shell(body, tmp_path)
    assert (result.returncode, result.stdout) == (0, "dnf\n"), result.stderr
    assert (
        tmp_path / "asked"
    ).read_text() == "-q -y --setopt=install_weak_deps=False install gone\n"


@pytest.mark.parametrize(
    ("version", "enough"), [("3.9", False), ("3.10", False), ("3.11", True), ("3.13", True)]
)
def test_versions_are_compared_as_numbers(version: str, enough: bool, tmp_path: Path) -> None:
    assert (shell(f"new_enough {version}", tmp_path).returncode == 0) == enough
