"""The sentinel's one wait: for the answers to one question, and no longer than its deadline."""

import select

from oomd import wire
from oomd.event import Look
from oomd.notifier.channel import Channel
from oomd.oom import Notified
from oomd.proc.meminfo import read_meminfo
from oomd.proc.root import ReadError, Root
from oomd.typed import Any, Callable, Final

__all__ = ["NOTIFIERS_MAX", "Asked", "question"]

# The worker is to be done a little before we stop listening.
MARGIN_MS = 25
# How often to look whether there is still time to wait.
LOOK_MS = 20

# As in oomd.notifier_options, whose texts the sentinel has no use for.
PRIORITY_MAX: Final = 1000

NOTIFIERS_MAX: Final = 128
"""Results that one chain may have."""


def question(seq: int, trigger: str, look: Look, deadline_ms: int) -> wire.Message:
    """What the worker is asked: for how much, and until when."""
    return {
        "op": "oom",
        "seq": seq,
        "wanted_bytes": look.wanted_kib(trigger) * 1024,
        "deadline_ms": max(deadline_ms - MARGIN_MS, 1),
        "reason": trigger,
        "constraint": "CONSTRAINT_NONE",
    }


class Asked:
    """A question that was sent, and what comes back."""

    def __init__(
        self, root: Root, channel: Channel, seq: int, other: Callable[[dict[str, Any]], None]
    ) -> None:
        """``other`` takes the messages that are no answer."""
        self._root = root
        self._channel = channel
        self._seq = seq
        self._other = other
        self.results: list[Notified] = []

    def wait(self, end_ms: int, now_ms: Callable[[], int], least_kib: int) -> str:
        """Listen until the chain is done; why it was left, or an empty string.

        ``least_kib``: with less MemAvailable nobody is waited for. Raises WireError.
        """
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        while (left_ms := end_ms - now_ms()) > 0:
            poll.poll(min(LOOK_MS, left_ms))
            if any(self._take(message) for message in self._channel.messages()):
                return ""
            if not self._channel.open:
                return "has ended"
            if self._available_kib() < least_kib:
                # Whoever fills memory this fast is not waited for: the kernel would be first.
                return "left behind: half of what was left is gone"
        return "left behind: the deadline of the chain has passed"

    def _available_kib(self) -> int:
        try:
            return read_meminfo(self._root).mem_available_kib
        except ReadError:
            return 0

    def _take(self, message: dict[str, Any]) -> bool:
        """Take one message. True: it is the end of this chain. Raises WireError."""
        if message["op"] not in ("result", "done"):
            self._other(message)
            return False
        if wire.integer(message, "seq") != self._seq:
            return False
        if message["op"] == "done":
            return True
        if len(self.results) < NOTIFIERS_MAX:
            self.results.append(_notified(message, self._root.page_size_bytes()))
        return False


def _notified(message: dict[str, Any], page_size_bytes: int) -> Notified:
    """A ``result``. Raises WireError."""
    change_kib = -(2**40), 2**40
    return Notified(
        name=wire.name(message),
        priority=wire.integer(message, "priority", -PRIORITY_MAX, PRIORITY_MAX),
        claimed_pages=wire.integer(message, "claimed_bytes") // page_size_bytes,
        verdict=wire.text(message, "verdict"),
        took_ms=wire.integer(message, "took_ms"),
        mem_free_change_kib=wire.integer(message, "mem_free_change_kib", *change_kib),
        mem_available_change_kib=wire.integer(message, "mem_available_change_kib", *change_kib),
    )
