"""``oomd --dry-run --watch``: the daemon's loop, which only says what it would do."""

import json
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

from oomd.event import Event, Look
from oomd.guard import Guard
from oomd.mm.policy import policy_for
from oomd.oom import NotifierChain, OomControl
from oomd.proc.root import Root
from oomd.report.kernel_log import printable
from oomd.report.record import decision_record
from oomd.report.words import threshold_words
from oomd.settings import Settings
from oomd.watch import Watch

__all__ = ["WatchOnly", "watch"]

# A threshold that stays crossed is told of this often.
REPEAT_MS = 60_000


class WatchOnly:
    """``Act`` without effects: tells, at each crossing, what would be done about it."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self._quiet_until_ms = 0
        self._crossed = False

    def control(self) -> OomControl:
        """Nobody was killed, so nobody is waited for."""
        return OomControl()

    def notify(self, trigger: str, look: Look) -> NotifierChain:
        """Notifiers act on the machine, so none is called."""
        return NotifierChain()

    def decided(self, event: Event) -> None:
        """Say it, and then no more until memory has recovered, or for a minute."""
        self._tell(event)
        self._quiet_until_ms = event.look.now_ms + REPEAT_MS

    def settle(self, look: Look) -> int | None:
        """Nothing is under way; but what was said is said."""
        left_ms = self._quiet_until_ms - look.now_ms
        if left_ms <= 0:
            return None
        if look.crossed is None:
            # Recovered. The next crossing is another event.
            self._quiet_until_ms = 0
            return None
        return min(left_ms, 1000)

    def calm(self, look: Look) -> None:
        """Nothing to do."""


def _text(event: Event) -> str:
    record = decision_record(event, None, (), ())
    words = f"{event.trigger} crossed: would {record['verdict']}"
    if record["victims"]:
        chosen = record["victims"][0]
        words += f" {chosen['pid']} ({chosen['comm']}), score {record['score']}"
    else:
        task = getattr(event.decision, "chosen", None) or getattr(event.decision, "comm", None)
        words += f" ({printable(task if isinstance(task, str) else task.comm)})" if task else ""
    return words


def watch(root: Root, settings: Settings, *, policy: str = "", as_json: bool = False) -> int:
    """Stay until told to stop. Exit status 0."""
    stop = False

    def tell(event: Event) -> None:
        if as_json:
            print(json.dumps(decision_record(event, None, (), ())), flush=True)
            return
        print(_text(event), flush=True)
        for step in event.decision.trace:
            print(f"  step {step.step} {step.name}: {step.verdict}", flush=True)

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
    guard = Guard(root, settings, chosen, waiting, WatchOnly(tell))
    for words in (threshold_words(settings), *waiting.notes):
        print(f"oomd: {words}", file=sys.stderr)
    print("oomd: watching, nothing is killed", file=sys.stderr, flush=True)
    while not stop:
        guard.turn()
        for error in guard.errors:
            print(f"oomd: {error}", file=sys.stderr, flush=True)
        guard.errors.clear()
    return 0
