"""The example plugin, installed with pip into a venv and found there by its entry point."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent / "example_plugin"
TREE = Path(__file__).parents[2]


def call(*command: str | Path) -> "subprocess.CompletedProcess[str]":
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, cwd="/"
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a venv with the plugin, and with this tree's oomd."""
    folder = tmp_path_factory.mktemp("venv")
    # The packages that this interpreter has, and pip's setuptools among them: no network.
    call(sys.executable, "-m", "venv", "--without-pip", folder / "venv")
    python = folder / "venv" / "bin" / "python"
    paths = [str(TREE), *(path for path in sys.path if path.endswith("-packages"))]
    purelib = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
    (Path(purelib.stdout.strip()) / "outside.pth").write_text("\n".join(paths) + "\n")
    # From a copy: a build leaves folders behind.
    copy = folder / "source"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md", "oomd_tmpfs_sweep.py"):
        (copy / name).write_bytes((EXAMPLE / name).read_bytes())
    offline = ("--no-index", "--no-build-isolation", "--no-deps", "--no-input")
    installed = call(python, "-m", "pip", "install", "--quiet", *offline, copy)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    return python


def test_it_is_found_and_loaded_by_its_entry_point(python: Path, tmp_path: Path) -> None:
    config = tmp_path / "oomd.toml"
    config.write_text('[notifiers.tmpfs-sweep]\nfolders = ["/dev/shm/none"]\npriority = 33\n')
    checked = call(python, "-m", "oomd", "notifiers", "--config", config, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    line = "ok      tmpfs-sweep  entry point tmpfs-sweep, priority 33, 200 ms"
    assert line in checked.stdout.splitlines()


def test_it_is_refused_by_name(python: Path, tmp_path: Path) -> None:
    config = tmp_path / "oomd.toml"
    config.write_text("[notifiers.tmpfs-sweep]\nfolder = 3\n")
    checked = call(python, "-m", "oomd", "notifiers", "--config", config, "check")
    assert checked.returncode == 2
    problem = (
        "entry point tmpfs-sweep: tmpfs-sweep: option folder is unknown, did you mean folders?"
    )
    assert f"BAD     {problem}" in checked.stdout


def test_it_gives_memory_back(python: Path, tmp_path: Path) -> None:
    folder = Path(f"/dev/shm/oomd-example-plugin-{os.getpid()}")
    folder.mkdir()
    file = folder / "cached"
    try:
        file.write_bytes(b"x" * (24 << 20))
        config = tmp_path / "oomd.toml"
        config.write_text(f'[notifiers.tmpfs-sweep]\nfolders = ["{folder}"]\n')
        nowhere = ("--socket", tmp_path / "nobody.sock")
        command = ("-m", "oomd", "notifiers", "run", "tmpfs-sweep", "--config", config, *nowhere)
        ran = call(python, *command)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        assert "claims 24.0 MiB" in ran.stdout
        assert not file.exists()
    finally:
        file.unlink(missing_ok=True)
        folder.rmdir()


def test_its_author_tests_it_in_the_same_way(python: Path) -> None:
    tests = EXAMPLE / "test_oomd_tmpfs_sweep.py"
    ran = call(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, tests)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "passed" in ran.stdout
