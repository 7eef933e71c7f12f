"""One look at the machine, one decision with everything that it was made from, and who acts."""

from oomd.mm.oom_badness import Case
from oomd.mm_types import MemInfo, Pressure, Snapshot, Sysctls
from oomd.oom import Decision, NotifierChain, OomControl
from oomd.thresholds import Threshold
from oomd.typed import Iterable, NamedTuple, Protocol

__all__ = ["MANUAL", "Act", "Event", "Look"]

MANUAL = "manual"
"""The trigger's name when somebody asked for a decision by hand."""


class Look(NamedTuple):
    """What memory is like, and what that means."""

    now_ms: int
    """``monotonic_ms()``."""
    meminfo: MemInfo
    pressure: Pressure | None
    thresholds: tuple[Threshold, ...]
    crossed: str | None
    """The first threshold that is crossed, by name."""
    pcp_kib: int
    """In per-CPU lists; counted with MemAvailable where a threshold seemed to be crossed."""
    headroom_kib: int
    """What can be allocated before exhaustion is crossed."""
    limit_kib: int
    """Exhaustion asks for MemAvailable at or below this."""
    guard_kib: int
    """A stall counts only while MemAvailable is at or below this."""

    def shortfall_kib(self, trigger: str) -> int:
        """How far MemAvailable is below what ``trigger`` asks for; 0 when it is not."""
        limit_kib = self.guard_kib if trigger == "stall" else self.limit_kib
        return max(0, limit_kib - self.meminfo.mem_available_kib - self.pcp_kib)

    def wanted_kib(self, trigger: str) -> int:
        """What notifiers are asked for: as much again as exhaustion's limit above the threshold."""
        return self.shortfall_kib(trigger) + self.limit_kib


class Event(NamedTuple):
    """A decision, and everything that it was made from."""

    trigger: str
    """The threshold that was crossed, or ``manual``."""
    look: Look
    snapshot: Snapshot
    sysctls: Sysctls
    case: Case
    decision: Decision
    freed: NotifierChain = NotifierChain()
    """How the notifiers did, whom nobody asks in an audit or for a cgroup."""
    crossed_ms: int = 0
    """``monotonic_ms()`` when the threshold was seen crossed; notifiers take their time after."""


class Act(Protocol):
    """What the loop hands its decisions to."""

    def control(self) -> OomControl:
        """Who is dying, who is passed over, who is spared."""

    def notify(self, trigger: str, look: Look) -> NotifierChain:
        """Step 1: ask the notifiers for memory."""

    def decided(self, event: Event) -> None:
        """Do what was decided, or say what would be done."""

    def settle(self, memory: MemInfo | None) -> None:
        """See to what was begun. ``memory`` as just read; None: it could not be."""

    def hold_ms(self, now_ms: int) -> int | None:
        """How long to leave the machine alone, in ms; None: not at all."""

    def rests(self, look: Look) -> bool:
        """The threshold is crossed and yet nobody has to die for now."""

    def pidfds(self) -> Iterable[int]:
        """Whose end is waited for."""

    def calm(self, look: Look) -> None:
        """No threshold is crossed and nothing is under way."""
