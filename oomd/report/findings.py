"""Everything an audit found, in one record: what the text and the JSON report are made from."""

from typing import NamedTuple

from oomd.mm_types import Pressure, Snapshot, Sysctls, Task
from oomd.oom import Companion, Decision, KillPlan
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
    machine: Probe
    """What the kernel has and lacks."""
    notes: tuple[str, ...]
    """What could not be seen, what stands in, what else runs here. One sentence each."""
