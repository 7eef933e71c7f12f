"""Fixtures of this room."""

from pathlib import Path

import pytest

from tests.audit.commands import Oomd


@pytest.fixture
def oomd(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Oomd:
    """``oomd`` with an empty configuration, whatever this machine has in /etc."""
    config = tmp_path / "empty.toml"
    config.write_text("")
    return Oomd(capsys, config)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Where a test makes its fake machine."""
    return tmp_path / "tree"
