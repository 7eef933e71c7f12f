"""A killer with what it is handed, that may kill a test's own children and nobody else."""

from collections.abc import Iterable

from oomd.effects.killer import Killer
from oomd.effects.oom_kill_process import Missed
from oomd.effects.oom_reaper import OomReaper
from oomd.effects.victims import VictimsInFlight
from oomd.event import Event, Look
from oomd.mm.policy import Policy
from oomd.mm_types import MemInfo, Snapshot, Sysctls, Task
from oomd.oom import Constraint, Kill, KillPlan, Step
from oomd.proc.root import WritableRoot
from oomd.report.record import Record
from oomd.settings import Settings
from tests.mm.machine import TOTALPAGES, case

__all__ = ["BACK", "BEFORE", "LOOK", "MS", "Bench"]

MS = 1_000_000
BEFORE = MemInfo(1 << 40, 0, 500)
BACK = BEFORE._replace(mem_available_kib=1 << 30)
LOOK = Look(0, BEFORE, None, (), "exhaustion", 0, 0, limit_kib=1500, guard_kib=0)


class Bench:
    """A killer that may kill ``own`` and no other process."""

    def __init__(
        self,
        root: WritableRoot,
        policy: Policy,
        own: Iterable[int],
        reaper: OomReaper | None = None,
        steps: list[str] | None = None,
    ) -> None:
        self.flights = VictimsInFlight(root, 60_000)
        self.lines: list[str] = []
        self.said: list[str] = []
        self._steps = [] if steps is None else steps
        self.policy = policy
        self.killer = Killer(
            root,
            Settings(),
            self.flights,
            self._publish,
            self._say,
            reaper=reaper,
            restrict_to=frozenset(own),
        )

    def _publish(self, lines: tuple[str, ...]) -> None:
        self._steps.append("publish")
        self.lines += lines

    def _say(self, line: str) -> None:
        self._steps.append("say")
        self.said.append(line)

    def event(self, chosen: Task, *others: Task) -> tuple[Event, Kill]:
        decision = Kill(chosen, 1, "Out of memory", Constraint.NONE, TOTALPAGES, ())
        snapshot = Snapshot((chosen, *others), BEFORE)
        event = Event("exhaustion", LOOK, snapshot, Sysctls(), case(self.policy), decision)
        return event, decision

    def plan(self, chosen: Task) -> KillPlan:
        return self.killer.plan(*self.event(chosen))

    def kill(self, chosen: Task, *others: Task) -> Missed | Record:
        """The decision fell on ``chosen``; ``others`` were in the same snapshot."""
        event, decision = self.event(chosen, *others)
        # Step 7 has tests of its own; here the chosen one is the victim.
        plan = KillPlan(chosen, chosen, 1, False, Step(7, "oom_kill_process", "SIGKILL"))
        return self.killer.kill(event, decision, plan)
