"""``command.NAME``: any program that can give memory back, with the deadline."""

import errno
import os
import re
import time
from collections.abc import Sequence
from typing import Final

from oomd.notifier import Answer, OomEvent
from oomd.notifier.builtin.program import Runner
from oomd.notifier.builtin.releaser import Quiet
from oomd.proc.root import ReadError, WritableRoot

__all__ = ["Command", "parse_freed_bytes"]

# We answer a little before the deadline, not a little after it.
MARGIN_S = 0.01
# How soon to look again after what would not die.
REAP_AGAIN_S = 1.0

_FREED: Final = re.compile(r"(\d{1,15}) ?(B|bytes|KiB|MiB|GiB)?", re.ASCII)
_UNITS: Final = {"B": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}


def parse_freed_bytes(output: bytes) -> int | None:
    """What the last line that is not empty says: ``123``, ``64 MiB``. None: it says nothing."""
    lines = output.decode("utf-8", "replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    found = _FREED.fullmatch(last)
    return int(found[1]) * _UNITS[found[2] or "B"] if found else None


class Command(Quiet):
    """Runs a program and believes its last line; the worker measures whether it is true."""

    def __init__(self, root: WritableRoot, name: str, *, argv: Sequence[str]) -> None:
        self.name = name
        self._runner = Runner(root, name)
        self._argv = list(argv)

    def start(self) -> None:
        """Raises OSError: there is no such program, or it cannot be run."""
        program = self._argv[0]
        if not os.path.isabs(program):
            raise OSError(errno.EINVAL, f"{self.name}: {program!r} is not an absolute path")
        if not os.path.isfile(program):
            raise FileNotFoundError(errno.ENOENT, f"{self.name}: there is no program {program!r}")
        if not os.access(program, os.X_OK):
            raise PermissionError(errno.EACCES, f"{self.name}: {program!r} is not executable")
        self._runner.open()

    def release(self, event: OomEvent) -> Answer:
        """What it says to have freed.

        Raises OSError (it cannot be started, or was killed at the deadline) or ReadError (it
        failed, or its last line says no number).
        """
        left_s = max(0.0, event.deadline - time.monotonic())
        environment = {
            "OOMD_WANTED_BYTES": str(event.wanted_bytes),
            "OOMD_DEADLINE_MS": str(int(left_s * 1000)),
            "OOMD_REASON": event.reason,
            "OOMD_CONSTRAINT": event.constraint,
        }
        status, output = self._runner.run(self._argv, environment, event.deadline - MARGIN_S)
        if status is None:
            raise TimeoutError(f"{self._argv[0]} was still running at its deadline, and was killed")
        return self._judge(status, output)

    def _judge(self, status: int, output: bytes) -> int:
        if status != 0:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            raise ReadError(self._argv[0], how)
        freed_bytes = parse_freed_bytes(output)
        if freed_bytes is None:
            wanted = 'a number of bytes such as "1048576" or "64 MiB"'
            raise ReadError(self._argv[0], f"the last line of its output is not {wanted}")
        return freed_bytes

    def calm(self, now: float) -> float | None:
        """Collect what was killed."""
        self._runner.reap()
        return REAP_AGAIN_S if self._runner.busy else None

    def close(self) -> None:
        """What was killed belongs to init from now on."""
        self._runner.close()
