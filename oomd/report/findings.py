"""Everything an audit found, in one record: what the text and the JSON report are made from."""

from typing import NamedTuple

from oomd.mm_types import Pressure, Snapshot, Sysctls, Task
from oomd.oom import Companion, Decision, KillPlan, Ruling
from oomd.proc.probe import Probe
from oomd.settings import Settings
from oomd.thresholds import Threshold

__all__ = ["Findings", "Ranked"]


class Ranked(NamedTuple):
    """A task's place in the ranking."""

    task: Task
    points: int | None
    """Pages; None: never chosen."""
    reason: str
    """Why it is never chosen; empty for an eligible task."""
    ruling: Ruling | None = None
    """What the admin's rules say of it."""
    points_without_rules: int | None = None
    """What the kernel alone would give it; None: the kernel never chooses it."""


class Findings(NamedTuple):
    """One audit."""

    policy: str
    kernel: str
    snapshot: Snapshot
    sysctls: Sysctls
    settings: Settings
    pressure: Pressure | None
    thresholds: tuple[Threshold, ...]
    would_act: str | None
    """The threshold that is crossed, by name."""
    decision: Decision
    plan: KillPlan | None
    companions: tuple[Companion, ...]
    ranking: tuple[Ranked, ...]
    """Eligible tasks, worst first, then the others in fork order."""
    without_rules: Ranked | None
    """Whom the kernel alone would choose. None: nobody, or there are no rules."""
    machine: Probe
    """What the kernel has and lacks."""
    notes: tuple[str, ...]
    """What could not be seen, what stands in, what else runs here. One sentence each."""

    @property
    def ruled(self) -> bool:
        """There are rules on top of the kernel's."""
        return self.settings.has_rules
