"""One conversation with somebody who can free memory: a plugin's process, or a client.

Both talk alike, and neither is trusted: nothing here waits beyond a deadline, reads without a
bound, or raises anything but :class:`Broken`.
"""

import socket
from collections.abc import Callable
from typing import Any, Final, NoReturn

from oomd import wire
from oomd.config import one_line
from oomd.notifier import OomEvent
from oomd.notifier.chain import Outcome, left_ms
from oomd.notifier.waiting import Waited, Waiter

__all__ = ["EXIT_CUT_OFF", "GONE", "MESSAGES", "Broken", "Peer", "cut", "failure", "shown_op"]

MESSAGES: Final = 4
"""So many messages of one peer are read in one turn of the loop."""

GONE: Final = "has gone away"
"""Why a conversation is over that the other side has ended."""

EXIT_CUT_OFF: Final = 71
"""EX_OSERR: a plugin's process ends so whose connection was closed under it."""

# What is said about an error, in characters. JSON takes up to twelve bytes for one of them.
ERROR_LIMIT: Final = 480
_FOREIGN_LIMIT: Final = 250

# While an answer is awaited: so many answers to older questions may come first.
STALE: Final = 8


class Broken(Exception):
    """The conversation is over. ``str()`` is one line that says why, without a subject."""


def shown_op(message: wire.Message) -> str:
    """The kind of a message, fit for a log whatever it is."""
    return one_line(message["op"][:40])


def cut(text: str) -> str:
    """As much of a text as fits into a message together with the rest of it."""
    return text[: ERROR_LIMIT if text.isascii() else _FOREIGN_LIMIT]


def failure(message: wire.Message) -> str:
    """What a ``failed`` says, in one line."""
    said = message.get("error")
    # Cut before it is looked at: whoever fails may say a lot about it.
    return (cut(one_line(cut(said))) if isinstance(said, str) else "") or "it does not say why"


class Peer:
    """One SEQPACKET conversation, from our side."""

    def __init__(self, sock: socket.socket, waiter: Waiter, most_bytes: Callable[[], int]) -> None:
        """``most_bytes``: how much memory the machine has, which nobody can free more of."""
        sock.setblocking(False)
        self._socket = sock
        self._waiter = waiter
        self._most_bytes = most_bytes
        self._seq = 0
        self._owes: set[int] = set()
        self.broken = ""
        """Why the conversation is over. Empty: it is not."""
        self.left_behind = False
        """It did not answer in time in this storm."""

    def fileno(self) -> int:
        """For the selector."""
        return self._socket.fileno()

    def send(self, message: wire.Message) -> None:
        """Raises Broken if it is gone, or does not read what it is sent."""
        try:
            self._socket.send(wire.encode(message))
        except BlockingIOError:
            self.give_up("does not read what it is sent")
        except OSError:
            self.give_up(GONE)

    def may_send(self, message: wire.Message) -> bool:
        """Send it if there is room. Raises Broken if the peer is gone."""
        try:
            self._socket.send(wire.encode(message))
        except BlockingIOError:
            return False
        except OSError:
            self.give_up(GONE)
        return True

    def receive(self) -> dict[str, Any] | None:
        """The next message, None if there is none now. Raises Broken: its end, or junk."""
        try:
            # One byte more than there may be, to see that there is. No ancillary buffer: what
            # descriptors come along the kernel closes.
            data = self._socket.recv(wire.MAX_BYTES + 1)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            # An empty datagram looks the same, and is no message either.
            self.give_up(GONE)
        try:
            return wire.decode(data)
        except wire.WireError as error:
            self.give_up(f"has sent {error}")

    def late_answer(self, message: wire.Message) -> bool:
        """Whether this is the answer to an older question, which it had been left behind with."""
        seq = message.get("seq")
        if message["op"] not in ("freed", "failed") or type(seq) is not int:
            return False
        if seq not in self._owes:
            return False
        self._owes.discard(seq)
        return True

    def ask(self, event: OomEvent) -> Outcome:
        """Ask it for memory and wait for the answer, until ``event.deadline``.

        After an outcome with a fault ``broken`` says whether one can go on talking. Raises
        SentinelGone and nothing else.
        """
        try:
            return self._ask(event)
        except Broken as error:
            return Outcome(fault=str(error))

    def _ask(self, event: OomEvent) -> Outcome:
        self._seq += 1
        given_ms = left_ms(event.deadline)
        question = {
            "op": "oom",
            "seq": self._seq,
            "wanted_bytes": event.wanted_bytes,
            "deadline_ms": given_ms,
            "reason": event.reason,
            "constraint": event.constraint,
        }
        self.send(question)
        self._owes.add(self._seq)
        for _ in range(STALE):
            match self._waiter.wait(self.fileno(), event.deadline):
                case Waited.LATE:
                    self.left_behind = True
                    return Outcome(fault=f"left behind: no answer within {given_ms} ms")
                case Waited.INTERRUPTED:
                    return Outcome(skipped="oomd itself needed memory, and that comes first")
            message = self.receive()
            if message is None:
                continue
            current = message.get("seq") == self._seq
            if not self.late_answer(message):
                self.give_up(f'has sent "{shown_op(message)}" in place of an answer')
            if current:
                return self._outcome(message)
        self.give_up("answers everything but what it was asked")

    def _outcome(self, message: wire.Message) -> Outcome:
        if message["op"] == "failed":
            return Outcome(fault=f"failed: {failure(message)}")
        try:
            freed_bytes = wire.integer(message, "bytes")
        except wire.WireError as error:
            self.give_up(f"has sent an answer in which {error}")
        stop = message.get("stop", False)
        if not isinstance(stop, bool):
            self.give_up('has sent an answer in which "stop" is not true or false')
        if freed_bytes > self._most_bytes():
            return Outcome(fault=f"claims {freed_bytes} bytes, more than this machine has")
        return Outcome(freed_bytes, stop)

    def forgive(self) -> None:
        """The storm is over. What it was left behind with may be answered late, or never."""
        self.left_behind = False
        self._owes = set(sorted(self._owes)[-STALE:])

    def give_up(self, why: str) -> NoReturn:
        """Raises Broken: ``why``, without a subject."""
        self.broken = why
        raise Broken(why)

    def close(self) -> None:
        """The conversation is over. Whoever watches ``fileno()`` has stopped to."""
        self.broken = self.broken or "is closed"
        self._socket.close()
