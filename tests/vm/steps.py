"""What every step of the image's build has in common: its words, its log, its failure."""

import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["ImageError", "progress", "run_step"]


class ImageError(Exception):
    """The image cannot be built; the message is one line that says what to do."""


def progress(text: str) -> None:
    """Says on stderr what takes so long."""
    print(f"vm image: {text}", file=sys.stderr, flush=True)


def run_step(
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> None:
    with log.open("ab") as output:
        output.write(f"$ {shlex.join(command)}\n".encode())
        output.flush()
        result = subprocess.run(
            command, check=False, cwd=cwd, env=environment, stdout=output, stderr=output
        )
    if result.returncode != 0:
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise ImageError(f"{command[0]} failed ({result.returncode}), its last words: {lines[-1]}")
