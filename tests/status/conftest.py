"""A daemon to ask, and the commands that ask it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oomd.cli import main
from tests.daemon.sentinel import SAFE, Sentinel, argv, sentinel

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "oomd.toml"
    path.write_text(SAFE)
    return path


@pytest.fixture
def asked(config: Path, tmp_path: Path) -> Iterator[Sentinel]:
    """A daemon that guards, with folders of its own."""
    folders = {"RUNTIME_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": str(tmp_path / "state")}
    with sentinel(argv(config), tmp_path, env=folders) as one:
        one.wait_for("READY=1")
        yield one


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """A command, asking at the daemon's socket: its status, output and errors."""

    def run(*words: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([*words, "--socket", str(tmp_path / "control.sock")])
        return (status, *capsys.readouterr())

    return run
