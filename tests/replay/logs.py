"""Small logs, and the command that reads them, as a test calls it."""

from collections.abc import Callable
from pathlib import Path

from tests.audit.commands import Ran
from tests.replay.synthetic import Process, report

__all__ = ["AGREES", "BIG", "CUT", "DIFFERS", "OWN", "WRONG_SCORE", "Replay", "log"]

BIG = Process(200, 500_000, "big", pgtables=1000)
SMALL = Process(100, 2_000, "small")
AGREES = report("el7", [SMALL, BIG], 200, 501)
DIFFERS = report("el7", [SMALL, BIG], 100, 2)
WRONG_SCORE = report("el7", [SMALL, BIG], 200, 7)
CUT = AGREES[:-2]
OWN = [
    "11,1,1,-;oomd invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=-1000",
    "11,2,1,-;Out of memory: Killed process 9 (x) total-vm:8kB, anon-rss:4kB, file-rss:0kB",
]

Replay = Callable[..., Ran]


def log(path: Path, *parts: list[str]) -> Path:
    text = "".join(f"{line}\n" for part in parts for line in part)
    path.write_text(text, errors="surrogateescape")
    return path
