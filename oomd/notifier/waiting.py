"""The one way in which the worker waits for a notifier: never beyond its deadline, and never
without an ear for the sentinel."""

import select
from enum import Enum, auto

from oomd.notifier.chain import left_ms

__all__ = ["SentinelGone", "Waited", "Waiter"]


class SentinelGone(Exception):
    """There is nobody left to work for."""


class Waited(Enum):
    """How a wait has ended."""

    READY = auto()
    LATE = auto()
    """The deadline has passed."""
    INTERRUPTED = auto()
    """The sentinel has something to say, and this was not done for it."""


class Waiter:
    """Waits for a descriptor, and for the sentinel's channel beside it."""

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self.by_hand = False
        """A notifier is being run for a person: the sentinel comes first."""

    def hears(self) -> bool:
        """Whether the sentinel has said something, or has gone. Never waits."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        return bool(poll.poll(0))

    def wait(self, fd: int, deadline: float) -> Waited:
        """Until ``fd`` is readable, or ``time.monotonic()`` is ``deadline``.

        Raises SentinelGone.
        """
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        # While a chain runs only the sentinel's end is of interest.
        poll.register(self._channel, select.POLLRDHUP | (select.POLLIN if self.by_hand else 0))
        ready = dict(poll.poll(left_ms(deadline)))
        heard = ready.get(self._channel, 0)
        if heard & ~select.POLLIN:
            raise SentinelGone
        if fd in ready:
            return Waited.READY
        return Waited.INTERRUPTED if heard else Waited.LATE
