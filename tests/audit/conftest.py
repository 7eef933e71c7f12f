"""Fixtures of this room."""

from pathlib import Path

import pytest

from tests.audit.commands import Oomd


@pytest.fixture
def oomd(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Oomd:
    """``oomd`` with an empty configuration, whatever this machine has in /etc."""
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    config = tmp_path / "empty.toml"
    config.write_text("")
    return Oomd(capsys, config)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Where a test makes its fake machine."""
    return tmp_path / "tree"
