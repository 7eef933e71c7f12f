"""``oomd replay`` in this process."""

from pathlib import Path

import pytest

from oomd.cli import main
from tests.audit.commands import Ran
from tests.replay.logs import Replay


@pytest.fixture
def replay(capsys: pytest.CaptureFixture[str]) -> Replay:
    def run(*args: str | Path) -> Ran:
        status = main(["replay", *map(str, args)])
        return Ran(status, *capsys.readouterr())

    return run
