"""Fixtures of this room."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemon.sentinel import SAFE, Sentinel, argv, sentinel


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration that acts on no machine on which a test can run."""
    path = tmp_path / "oomd.toml"
    path.write_text(SAFE)
    return path


@pytest.fixture
def running(config: Path, tmp_path: Path) -> Iterator[Sentinel]:
    """A daemon that guards."""
    with sentinel(argv(config), tmp_path) as one:
        one.wait_for("READY=1")
        yield one
