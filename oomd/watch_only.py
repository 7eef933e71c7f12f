"""``oomd --dry-run --watch``: the daemon's loop, which only says what it would do."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable
from types import FrameType

from oomd.clock import monotonic_ms
from oomd.config_plan import not_called
from oomd.event import Event, Look
from oomd.guard import Guard
from oomd.kill_plan import full_plan
from oomd.mm.policy import policy_for
from oomd.mm_types import MemInfo, TaskId
from oomd.oom import Companion, Kill, NotifierChain, OomControl
from oomd.proc.root import Root
from oomd.proc.snapshot import take_snapshot
from oomd.proc.task import read_task
from oomd.report.record import Record, decision_record
from oomd.report.words import threshold_words
from oomd.settings import Settings
from oomd.watch import Watch

__all__ = ["WatchOnly", "watch"]

# A threshold that stays crossed is told of this often.
REPEAT_MS = 60_000
# And until then it is looked at this often, to see whether it has recovered.
LOOK_MS = 1000
RECOVERED_MS = 5000


class WatchOnly:
    """``Act`` without effects: tells, at each crossing, what would be done about it."""

    def __init__(
        self, root: Root, tell: Callable[[Record], None], notifiers: NotifierChain
    ) -> None:
        """``notifiers``: those that the daemon would call."""
        self._root = root
        self._notifiers = notifiers
        self._tell = tell
        own = read_task(root, os.getpid(), root.page_size_bytes())
        self._spared = frozenset((own.ident,)) if own is not None else frozenset[TaskId]()
        self._quiet_until_ms = 0
        self._in_order_since_ms = 0

    def control(self) -> OomControl:
        """Nobody was killed, so nobody is waited for."""
        return OomControl(spared=self._spared)

    def notify(self, trigger: str, look: Look) -> NotifierChain:
        """Notifiers act on the machine, so none is called."""
        return self._notifiers

    def decided(self, event: Event) -> None:
        """Say it, and then no more until memory has recovered, or for a minute."""
        self._quiet_until_ms = event.look.now_ms + REPEAT_MS
        plan, companions = None, tuple[Companion, ...]()
        if isinstance(event.decision, Kill):
            # Nobody is about to die: there is time to look at everybody again.
            snapshot = take_snapshot(self._root, memcg=event.snapshot.memcg)
            plan, companions, _ = full_plan(self._root, event.decision, snapshot, event.case)
        self._tell(decision_record(event, plan, companions, ()))

    def settle(self, memory: MemInfo | None) -> None:
        """Nothing was begun."""

    def hold_ms(self, now_ms: int) -> int | None:
        """What was said is said, for a minute or until memory has recovered."""
        left_ms = self._quiet_until_ms - now_ms
        return min(left_ms, LOOK_MS) if left_ms > 0 else None

    def rests(self, look: Look) -> bool:
        """Nobody was killed in vain."""
        return False

    def pidfds(self) -> Iterable[int]:
        """Nobody's end is waited for."""
        return ()

    def seen(self, crossed: bool, now_ms: int) -> None:
        """Memory that has been in order for a while makes the next crossing another event."""
        if crossed:
            self._in_order_since_ms = now_ms
        elif now_ms - self._in_order_since_ms >= RECOVERED_MS:
            self._quiet_until_ms = 0

    def calm(self, look: Look) -> None:
        """Nothing to do."""


def text_of(record: Record) -> str:
    """The record in one line."""
    words = f"{record['trigger']} crossed: would {record['verdict'].replace('_', ' ')}"
    names = ", ".join(f"{one['pid']} ({one['comm']}, {one['why']})" for one in record["victims"])
    if names:
        words += f" {names}, score {record['score']}"
    return words


def watch(root: Root, settings: Settings, *, policy: str = "", as_json: bool = False) -> int:
    """Stay until told to stop. Exit status 0."""
    stop = False

    def tell(record: Record) -> None:
        if as_json:
            print(json.dumps(record), flush=True)
            return
        print(text_of(record), flush=True)
        for step in record["trace"]:
            print(f"  step {step['step']} {step['name']}: {step['verdict']}", flush=True)

    def on_signal(signum: int, frame: FrameType | None) -> None:
        nonlocal stop
        stop = True

    read_fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(write_fd)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, on_signal)

    chosen = policy_for(policy or settings.policy, root.kernel_release())
    waiting = Watch(root, settings, os.cpu_count() or 1)
    waiting.register(read_fd)
    act = WatchOnly(root, tell, not_called(settings.notifiers.plan))
    guard = Guard(root, settings, chosen, waiting, act)
    for words in (threshold_words(settings), *waiting.notes):
        print(f"oomd: {words}", file=sys.stderr)
    print("oomd: watching, nothing is killed", file=sys.stderr, flush=True)
    while not stop:
        guard.turn()
        act.seen(guard.crossed, monotonic_ms())
        for error in guard.errors:
            print(f"oomd: {error}", file=sys.stderr, flush=True)
        guard.errors.clear()
    return 0
