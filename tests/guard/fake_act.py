"""An ``Act`` that remembers, and a machine whose memory the test changes under the loop."""

from collections.abc import Callable, Iterable
from pathlib import Path

from oomd.event import Event, Look
from oomd.guard import Guard
from oomd.mm.policy import EL7, Policy
from oomd.mm_types import MemInfo
from oomd.oom import NotifierChain, OomControl
from oomd.settings import Settings
from oomd.watch import Watch
from tests.audit.machines import AMPLE, TASKS
from tests.proc.formats import meminfo_text
from tests.roots import make_root

__all__ = ["FakeAct", "Guarded"]


class FakeAct:
    """Does nothing, and says what it was asked to do."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.notified: list[str] = []
        self.settled: list[MemInfo | None] = []
        self.calms = 0
        self.holds: int | None = None
        """What ``hold_ms()`` answers."""
        self.holds_after = False
        """Whether a decision begins something that is waited for."""
        self.freed = NotifierChain()
        self.while_notifying: Callable[[], None] = lambda: None
        self.control_is = OomControl()
        self.rests_now = False

    def control(self) -> OomControl:
        return self.control_is

    def notify(self, trigger: str, look: Look) -> NotifierChain:
        self.notified.append(trigger)
        self.while_notifying()
        return self.freed

    def decided(self, event: Event) -> None:
        self.events.append(event)
        if self.holds_after:
            self.holds = 50

    def settle(self, memory: MemInfo | None) -> None:
        self.settled.append(memory)

    def hold_ms(self, now_ms: int) -> int | None:
        return self.holds

    def rests(self, look: Look) -> bool:
        return self.rests_now

    def pidfds(self) -> Iterable[int]:
        return ()

    def calm(self, look: Look) -> None:
        self.calms += 1


class Guarded:
    """A fake machine with the loop on it. A turn does not sleep."""

    def __init__(
        self,
        path: Path,
        settings: Settings = Settings(),  # noqa: B008 - a frozen record
        policy: Policy = EL7,
        **how: object,
    ) -> None:
        self.path = path
        self.root = make_root(path, **{"tasks": TASKS, "meminfo": AMPLE, **how})  # type: ignore[arg-type]
        self.act = FakeAct()
        self.watch = Watch(self.root, settings, cpus=1)
        self.guard = Guard(self.root, settings, policy, self.watch, self.act)
        self.guard.longest_ms = 0

    def memory(self, meminfo: MemInfo) -> None:
        (self.path / "proc/meminfo").write_text(meminfo_text(meminfo))

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            assert self.guard.turn() == ()

    def verdicts(self) -> list[tuple[str, str]]:
        """Trigger and kind of each decision that was handed over."""
        return [(event.trigger, type(event.decision).__name__) for event in self.act.events]
