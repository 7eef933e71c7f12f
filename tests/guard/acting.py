"""An ``Executor`` that may kill the test's own children and nobody else, and writes nothing."""

import select
import time
from collections.abc import Iterable

from oomd.effects.act import Executor
from oomd.effects.reserve import Reserve
from oomd.event import Event, Look
from oomd.mm.constraint import case_of
from oomd.mm.out_of_memory import out_of_memory
from oomd.mm.policy import EL7, Policy
from oomd.mm_types import MemInfo, Snapshot, Sysctls, Task
from oomd.oom import Decision, NotifierChain
from oomd.proc.root import WritableRoot
from oomd.report.record import Record
from oomd.settings import KillSettings, LogSettings, Settings
from oomd.thresholds import evaluate, exhaustion_limit_kib, stall_guard_kib, would_act
from tests.audit.machines import AMPLE
from tests.effects.children import LyingRoot, OwnChildren, allocate_mib, task_of, wait_exit

__all__ = ["QUIET", "SHORT_BY_1_MIB", "Acting", "started", "stuck_victim", "wait_for_all"]

QUIET = Settings(log=LogSettings(kmsg=False))
# Less is missing than any process holds.
SHORT_BY_1_MIB = AMPLE._replace(mem_available_kib=198_976, shmem_kib=2_000_000)

# Far beyond what any of it takes: a test that runs into it has failed.
_PATIENCE_NS = 60 * 10**9


class Acting:
    """The executor, and all that it has said and told."""

    def __init__(
        self,
        pids: Iterable[int],
        settings: Settings = QUIET,
        root: WritableRoot | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        self.said: list[str] = []
        self.told: list[Record] = []
        self.root = LyingRoot() if root is None else root
        self.act = Executor(
            self.root,
            settings,
            self.told.append,
            self.said.append,
            restrict_to=frozenset(pids),
            reserve=reserve,
        )

    @staticmethod
    def settings(**kill: int) -> Settings:
        return QUIET._replace(kill=KillSettings(**kill))  # type: ignore[arg-type]

    def event(
        self, tasks: Iterable[Task], policy: Policy = EL7, meminfo: MemInfo = SHORT_BY_1_MIB
    ) -> Event:
        """What the loop would decide if there were only these tasks."""
        tasks = tuple(tasks)
        root = self.root
        snapshot = Snapshot(tasks, meminfo, root.page_size_bytes(), tasks_seen=len(tasks))
        thresholds = evaluate(meminfo, None, QUIET)
        look = Look(
            now_ms=time.monotonic_ns() // 1_000_000,
            meminfo=meminfo,
            pressure=None,
            thresholds=thresholds,
            crossed=would_act(thresholds),
            pcp_kib=0,
            headroom_kib=0,
            limit_kib=exhaustion_limit_kib(meminfo, QUIET.exhaustion),
            guard_kib=stall_guard_kib(meminfo, QUIET.stall),
        )
        control = self.act.control()
        case = case_of(control, snapshot, policy)
        decision = out_of_memory(control, snapshot, Sysctls(), policy)
        return Event("exhaustion", look, snapshot, Sysctls(), case, decision)

    def decide(
        self, *tasks: Task, policy: Policy = EL7, meminfo: MemInfo = SHORT_BY_1_MIB
    ) -> Event:
        """Decide among these and have it done."""
        event = self.event(tasks, policy, meminfo)
        self.act.decided(event)
        return event

    def hand_over(self, decision: Decision, freed: NotifierChain = NotifierChain()) -> None:  # noqa: B008
        """Have a decision done that no task led to."""
        self.act.decided(self.event(())._replace(decision=decision, freed=freed))

    def settle(self, memory: MemInfo | None) -> None:
        """Look after those in flight, as the loop does, until nobody is left."""
        end_ns = time.monotonic_ns() + _PATIENCE_NS
        self.act.settle(memory)
        while self.act.in_flight.busy:
            assert time.monotonic_ns() < end_ns, "somebody is still dying"
            poll = select.poll()
            for fd in self.act.pidfds():
                poll.register(fd, select.POLLIN)
            poll.poll(5)
            self.act.settle(memory)

    def hold_ms(self) -> int | None:
        return self.act.hold_ms(time.monotonic_ns() // 1_000_000)

    def ends(self) -> list[tuple[int, str]]:
        """How kills have ended: (victim's pid, end)."""
        settled = [record["fields"] for record in self.told if record["kind"] == "settled"]
        return [(fields["victim_pid"], fields["end"]) for fields in settled]

    def victims(self) -> list[tuple[int, str]]:
        """Of the last decision that was told."""
        (*_, record) = (one for one in self.told if one["kind"] == "decision")
        return [(one["pid"], one["why"]) for one in record["victims"]]


def started(children: OwnChildren, mib: int = 8) -> Task:
    """A child that holds memory."""
    return task_of(children.start_ready(allocate_mib(mib)).pid)


def stuck_victim(children: OwnChildren) -> Task:
    """It cannot die, and its record does not tell that it is about to."""
    stuck = task_of(children.start_stuck_dying(16).pid)
    return stuck._replace(sigkill_pending=False, flags=0)


def wait_for_all(acting: Acting) -> None:
    """Until they have exited: seen between the end of their mm and their own, they are "reaped"."""
    for pidfd in acting.act.pidfds():
        wait_exit(pidfd)
