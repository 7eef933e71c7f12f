"""A tree whose memory and pressure a test changes, and what watches it."""

from pathlib import Path

from oomd.mm_types import MemInfo
from oomd.settings import Settings
from oomd.watch import Watch
from tests.audit.machines import AMPLE
from tests.proc.formats import meminfo_text
from tests.roots import make_root

__all__ = ["LOW", "PRESSURE", "Machine"]

PRESSURE = "proc/pressure/memory"
# 12.5 % of the memory are 500,000 KiB: below the guard of a stall, and not used up.
LOW = AMPLE._replace(mem_available_kib=400_000)


class Machine:
    """A tree whose memory and pressure the test changes, and what watches it."""

    def __init__(self, path: Path, settings: Settings = Settings(), **how: object) -> None:  # noqa: B008
        self.path = path
        self.root = make_root(path, [{"pid": 1}], meminfo=AMPLE, **how)  # type: ignore[arg-type]
        self.watch = Watch(self.root, settings, cpus=1)

    def memory(self, meminfo: MemInfo) -> None:
        (self.path / "proc/meminfo").write_text(meminfo_text(meminfo))

    def stalled(self, total_ms: int) -> None:
        """All tasks have stalled for so long since the machine was booted."""
        zeros = "avg10=0.00 avg60=0.00 avg300=0.00"
        text = f"some {zeros} total={total_ms * 1000}\nfull {zeros} total={total_ms * 1000}\n"
        (self.path / PRESSURE).write_text(text)

    def percent(self, now_ms: int) -> float | None:
        return self.watch.look(now_ms).thresholds[1].value
