"""The built-in releasers, each in a parked thread of its own.

What blocks in the kernel blocks its own thread. The worker's loop waits for it until the
deadline and then leaves it behind: it is skipped until it has come back.
"""

import errno
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Final, NamedTuple

from oomd.log import ERR, INFO, WARNING
from oomd.notifier import NOTIFY_STOP, OomEvent
from oomd.notifier.builtin import Releaser
from oomd.notifier.chain import Outcome, left_ms
from oomd.notifier.peers import cut
from oomd.notifier.plan import Builtin
from oomd.notifier.waiting import Waited
from oomd.notifier.workshop import Workshop
from oomd.proc.errors import ReadError, Refused
from oomd.wire import FAULTS

__all__ = ["STACK_BYTES", "ParkedReleaser"]

STACK_BYTES: Final = 1 << 20
"""For threading.stack_size(): RLIMIT_DATA counts all of a stack, used or not."""


# Not now, says the kernel: nobody is to blame for that, and it takes no time.
_NOT_NOW: Final = frozenset({errno.EAGAIN, errno.EBUSY, errno.EINTR, errno.ENOMEM})
_NOT_NOW_NAMES: Final = frozenset(errno.errorcode[number] for number in _NOT_NOW)


class _Done(NamedTuple):
    """What a thread has to say about one job."""

    ticket: int
    outcome: Outcome
    again_s: float | None = None
    """After a step of ``calm``: when it wants the next."""
    refused: str = ""
    """Why the kernel would not do it now."""


def _said(error: BaseException) -> str:
    text = str(error) or type(error).__name__
    # These say by themselves what is wrong; anything else is a defect of ours.
    clear = isinstance(error, OSError | ReadError)
    shown = text if clear else f"{type(error).__name__}: {text}"
    return cut(shown.encode("unicode_escape").decode("ascii"))


def _not_now(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in _NOT_NOW
    return isinstance(error, Refused) and error.why in _NOT_NOW_NAMES


class ParkedReleaser:
    """A built-in releaser as an ``OomNotifier``."""

    def __init__(self, shop: Workshop, releaser: Releaser, entry: Builtin) -> None:
        self._shop = shop
        self._releaser = releaser
        self.name = entry.name
        self.priority = entry.priority
        self.deadline_ms = entry.deadline_ms
        self.source = "built in"
        self.faults = 0
        self.due: float | None = None
        """``time.monotonic()`` at which it wants its next step of calm; None: it does not."""
        self._jobs: SimpleQueue[tuple[int, Callable[[], _Done]]] = SimpleQueue()
        self._done: deque[_Done] = deque()
        self._event = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._ticket = 0
        self._open: dict[int, str] = {}
        self._since = 0.0
        self._stormy = False
        self._faulty = False
        self._out = ""
        self._closed = False

    def start(self) -> None:
        """Make the releaser ready, and park its thread. Raises OSError or ReadError."""
        self._releaser.start()
        self._shop.selector.register(self._event, selectors.EVENT_READ, self.drain)
        threading.Thread(target=self._work, name=self.name, daemon=True).start()

    # --- in the thread

    def _work(self) -> None:
        while True:
            ticket, job = self._jobs.get()
            try:
                done = job()
            except Exception as error:
                if _not_now(error):
                    done = _Done(ticket, Outcome(), refused=_said(error))
                else:
                    done = _Done(ticket, Outcome(fault=f"failed: {_said(error)}"))
            self._done.append(done)
            os.eventfd_write(self._event, 1)

    def _release(self, ticket: int, event: OomEvent) -> _Done:
        if left_ms(event.deadline) == 0:
            # A step of calm has taken all the time; nobody waits for this any more.
            return _Done(ticket, Outcome())
        answer = self._releaser.release(event)
        if isinstance(answer, NOTIFY_STOP):
            return _Done(ticket, Outcome(max(0, answer.freed_bytes), stop=True))
        return _Done(ticket, Outcome(max(0, answer)))

    def _calm(self, ticket: int) -> _Done:
        return _Done(ticket, Outcome(), self._releaser.calm(time.monotonic()))

    def _close(self, ticket: int) -> _Done:
        self._releaser.close()
        return _Done(ticket, Outcome())

    # --- in the loop

    def _begin(self, kind: str, job: Callable[..., _Done], *args: Any) -> int:
        self._ticket += 1
        ticket = self._ticket
        self._open[ticket] = kind
        self._jobs.put((ticket, lambda: job(ticket, *args)))
        return ticket

    def drain(self) -> dict[int, _Done]:
        """Take note of what the thread has done meanwhile."""
        try:
            os.eventfd_read(self._event)
        except BlockingIOError:
            return {}
        seen = {}
        while self._done:
            done = self._done.popleft()
            seen[done.ticket] = done
            kind = self._open.pop(done.ticket, "")
            if done.refused:
                self._shop.say(INFO, f"{self.name}: not now: {done.refused}")
            if kind == "calm":
                again_s = done.again_s
                wants_more = again_s is not None and not self._stormy and not self._out
                self.due = time.monotonic() + max(0.0, again_s or 0.0) if wants_more else None
                if done.outcome.fault:
                    self._fault(f"a step of calm {done.outcome.fault}")
            elif kind == "left behind":
                took_s = time.monotonic() - self._since
                self._shop.say(INFO, f"{self.name}: has come back after {took_s:.1f} s")
        return seen

    def _fault(self, what: str) -> None:
        self.faults += 1
        # As hosts are: it costs its deadline once in a storm.
        self._faulty = self._stormy
        if self.faults < FAULTS:
            self._shop.say(WARNING, f"{self.name}: {what}; fault {self.faults} of {FAULTS}")
        elif not self._out:
            self._out = f"quarantined ({FAULTS} faults): {what}"
            self.due = None
            self._shop.say(
                ERR, f"{self.name}: {what}; quarantined ({FAULTS} faults) until oomd is reloaded"
            )

    def _busy(self) -> bool:
        self.drain()
        return "left behind" in self._open.values()

    def state(self) -> str:
        """``ready``, or why it would not be called."""
        busy = self._busy()
        if self._out:
            return self._out
        if busy:
            return "still busy"
        return "at fault earlier in this storm" if self._faulty else "ready"

    def release(self, event: OomEvent) -> Outcome:
        """Have the thread do it, and wait until the deadline. Raises SentinelGone."""
        state = self.state()
        if state != "ready":
            return Outcome(skipped=state)
        given_ms = left_ms(event.deadline)
        self._since = time.monotonic()
        ticket = self._begin("release", self._release, event)
        while (waited := self._shop.waiter.wait(self._event, event.deadline)) is Waited.READY:
            # A step of calm may have ended first.
            done = self.drain().get(ticket)
            if done is not None:
                if done.outcome.fault:
                    self._fault(done.outcome.fault)
                return done.outcome
        self._open[ticket] = "left behind"
        if waited is Waited.INTERRUPTED:
            return Outcome(skipped="oomd itself needed memory, and that comes first")
        fault = f"left behind: not done within {given_ms} ms"
        self._fault(fault)
        return Outcome(fault=fault)

    def storm(self) -> None:
        """The chain is called: no step of calm from now on."""
        self._stormy = True
        self.due = None
        self._releaser.storm()

    def calm(self) -> None:
        """The storm is over, or has not begun: it may take its steps."""
        self._stormy = self._faulty = False
        if not self._out:
            self.due = time.monotonic()
        elif not self._closed:
            # It takes nothing any more that it would not give back, and puts right what it can.
            self._closed = True
            self._begin("close", self._close)

    def tick(self, now: float) -> None:
        """Take a step of calm, if it is due by ``now``."""
        if self.due is not None and now >= self.due:
            self.due = None
            # Behind what is still running, if anything is.
            self._begin("calm", self._calm)

    def close(self, deadline: float) -> None:
        """Put right what can be put right by then, ``time.monotonic()``."""
        if self._busy() or self._closed:
            return
        self._releaser.storm()
        ticket = self._begin("close", self._close)
        poll = selectors.PollSelector()
        poll.register(self._event, selectors.EVENT_READ)
        while poll.select(left_ms(deadline) / 1000):
            if ticket in self.drain():
                break
        poll.close()
