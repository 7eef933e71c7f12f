"""The command line as a test calls it: in this process, or as a process of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from oomd.cli import main

__all__ = ["Json", "Oomd", "Ran", "TREE", "spawn"]

TREE = Path(__file__).resolve().parents[2]

Json = dict[str, Any]


class Ran(NamedTuple):
    """How a command line ended."""

    status: int
    out: str
    err: str


class Oomd:
    """``oomd`` in this process, with no configuration but the defaults."""

    def __init__(self, capsys: pytest.CaptureFixture[str], config: Path) -> None:
        self._capsys = capsys
        self.config = config

    def __call__(self, *args: str | Path) -> Ran:
        status = main([str(arg) for arg in args])
        return Ran(status, *self._capsys.readouterr())

    def audit(self, *args: str | Path) -> Ran:
        return self("--dry-run", "--config", self.config, *args)

    def json(self, root: Path, *args: str | Path) -> Json:
        """The audit of a tree as JSON."""
        ran = self.audit("--root", root, "--json", *args)
        assert ran.status in (0, 1), ran.err
        found: Json = json.loads(ran.out)
        return found


def spawn(
    *args: str | Path, env: Mapping[str, str] | None = None, **how: Any
) -> "subprocess.CompletedProcess[str]":
    """``python -m oomd`` as a process of its own."""
    command: Sequence[str | Path] = [sys.executable, "-m", "oomd", *args]
    return subprocess.run(
        command, cwd=TREE, stdin=subprocess.DEVNULL, env=env, text=True, check=False, **how
    )
