"""One look at the machine, and one decision with everything that it was made from."""

from typing import NamedTuple

from oomd.mm.oom_badness import Case
from oomd.mm_types import MemInfo, Pressure, Snapshot, Sysctls
from oomd.oom import Decision
from oomd.thresholds import Threshold

__all__ = ["MANUAL", "Event", "Look"]

MANUAL = "manual"
"""The trigger's name when somebody asked for a decision by hand."""


class Look(NamedTuple):
    """What memory is like, and what that means."""

    now_ms: int
    """CLOCK_MONOTONIC."""
    meminfo: MemInfo
    pressure: Pressure | None
    thresholds: tuple[Threshold, ...]
    crossed: str | None
    """The first threshold that is crossed, by name."""
    headroom_kib: int
    """What can be allocated before exhaustion is crossed."""

    @property
    def free_kib(self) -> int:
        """MemAvailable + SwapFree: what a kill is measured by."""
        return self.meminfo.mem_available_kib + self.meminfo.swap_free_kib

    @property
    def shortfall_kib(self) -> int:
        """How far MemAvailable is below its limit; 0 when it is not."""
        exhaustion = self.thresholds[0]
        return max(0, int(exhaustion.limit - (exhaustion.value or 0)))


class Event(NamedTuple):
    """A decision, and everything that it was made from."""

    trigger: str
    """The threshold that was crossed, or ``manual``."""
    look: Look
    snapshot: Snapshot
    sysctls: Sysctls
    case: Case
    decision: Decision
