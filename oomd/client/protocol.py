"""What a client says and hears, whatever it waits with."""

import logging
import os
import socket
import time
from typing import Final, NamedTuple

from oomd import wire

__all__ = [
    "ANSWER_S",
    "REFUSED_DELAY_S",
    "SOCKET",
    "ClientError",
    "NobodyThere",
    "NotRunning",
    "OomEvent",
    "Protocol",
    "Refused",
    "Registration",
    "log",
    "receive",
    "send_first",
    "unreachable",
]

SOCKET: Final = "/run/oomd/notify.sock"
"""Where oomd listens. The environment variable OOMD_NOTIFY_SOCKET names another one, for tests."""

# A worker that is only started by our connection answers well within this.
ANSWER_S: Final = 30.0
FIRST_DELAY_S: Final = 0.25
LONGEST_DELAY_S: Final = 30.0
# A refusal has a reason that takes an admin, or ten minutes, to go away.
REFUSED_DELAY_S: Final = 60.0

log: Final = logging.getLogger("oomd.client")


class ClientError(Exception):
    """``str()`` is one line: what is wrong, and what to do."""


class NotRunning(ClientError):
    """Nobody answers at the socket."""


class NobodyThere(NotRunning):
    """There is no socket, or nobody listens at it: oomd does not run."""


class Refused(ClientError):
    """oomd does not want this program, and says why."""


class OomEvent(NamedTuple):
    """Memory is wanted, now."""

    wanted_bytes: int
    """Freeing this much ends the emergency. More is welcome."""
    deadline: float
    """``time.monotonic()`` in seconds. An answer after it is too late."""
    reason: str
    """``exhaustion`` or ``stall`` (which threshold was crossed), or ``manual``."""
    constraint: str
    """``CONSTRAINT_NONE``: the whole machine is short of memory."""


class Registration(NamedTuple):
    """What oomd has granted."""

    priority: int
    """Lower than asked for if the administrator bounds it for programs that are not root's."""
    deadline_ms: int
    """How long an event may take to answer."""


def receive(connection: socket.socket) -> bytes:
    """The next datagram; empty at the end. Raises OSError."""
    try:
        return connection.recv(wire.MAX_BYTES + 1)
    except ConnectionResetError:
        # Hung up on with our last message unread. The kernel tells of that before it hands over
        # what oomd has said to it: why.
        return connection.recv(wire.MAX_BYTES + 1)


def send_first(connection: socket.socket, data: bytes) -> None:
    """The first message of a connection. Raises OSError."""
    try:
        connection.send(data)
    except (BrokenPipeError, ConnectionResetError):
        # Turned away at the door: the reason is there to be read.
        pass


def unreachable(
    path: str,
    error: OSError,
    patience_s: float = ANSWER_S,
    setting: str = "notifiers.clients",
) -> NotRunning:
    """What an error of the socket's means to a person. ``setting`` says who may use it."""
    if isinstance(error, FileNotFoundError):
        return NobodyThere(f"{path} is not there: is oomd running?")
    if isinstance(error, ConnectionRefusedError):
        return NobodyThere(f"{path} has nobody behind it: is oomd running?")
    if isinstance(error, PermissionError):
        why = f"may not be used by this user: see oomd's setting {setting}"
    elif isinstance(error, TimeoutError):
        why = f"does not answer within {patience_s:g} s: see journalctl -u oomd"
    elif isinstance(error, BlockingIOError):
        why = "has no room for another program at the moment"
    else:
        why = f"cannot be used: {error.strerror or error}"
    return NotRunning(f"{path} {why}")


class Protocol:
    """What both clients have in common: the messages, without their transport."""

    def __init__(self, name: str, priority: int, path: str | None) -> None:
        if not wire.is_name(name):
            raise ValueError(
                f'{name!r} is no name (1 to {wire.NAME_BYTES} letters, digits, "_", "." or "-")'
            )
        if not -1000 <= priority <= 1000:
            raise ValueError(f"priority {priority} is not from -1000 to 1000")
        self.name = name
        self.path = path or os.environ.get("OOMD_NOTIFY_SOCKET") or SOCKET
        self.granted: Registration | None = None
        """None until oomd has registered us."""
        self._priority = priority
        self._unanswered: int | None = None
        self._delay_s = FIRST_DELAY_S
        self._connected_at = 0.0

    def _socket(self) -> socket.socket:
        return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)

    def _register(self) -> bytes:
        message = {"op": "register", "api": wire.API, "name": self.name}
        return wire.encode({**message, "priority": self._priority})

    def _not_running(self, error: OSError) -> NotRunning:
        return unreachable(self.path, error)

    def _disconnected(self) -> None:
        """A new connection owes nothing, and is granted nothing yet."""
        self._unanswered = None
        self.granted = None

    def _read(self, data: bytes) -> OomEvent | Registration | None:
        """A message as what it means to us; None for one of a later version. Raises ClientError."""
        if not data:
            raise NotRunning(f"{self.path} was closed by oomd")
        try:
            message = wire.decode(data)
            if message["op"] == "refused":
                raise Refused(f"{self.name}: {wire.text(message, 'error', wire.MAX_BYTES)}")
            if message["op"] == "registered":
                low, high = -(2**31), 2**31
                priority = wire.integer(message, "priority", low, high)
                self.granted = Registration(priority, wire.integer(message, "deadline_ms"))
                self._connected_at = time.monotonic()
                return self.granted
            if message["op"] == "oom":
                return self._event(message)
        except wire.WireError as error:
            raise NotRunning(f"{self.path} sent {error}: is this oomd?") from None
        return None

    def _event(self, message: wire.Message) -> OomEvent:
        self._unanswered = wire.integer(message, "seq")
        return OomEvent(
            wire.integer(message, "wanted_bytes"),
            time.monotonic() + wire.integer(message, "deadline_ms") / 1000,
            wire.text(message, "reason"),
            wire.text(message, "constraint"),
        )

    def _answer(self, **fields: object) -> bytes | None:
        """The answer to the last event; None if it has one already."""
        seq, self._unanswered = self._unanswered, None
        return None if seq is None else wire.encode({**fields, "seq": seq})

    def _freed(self, freed_bytes: int, stop: bool) -> bytes | None:
        return self._answer(op="freed", bytes=max(0, int(freed_bytes)), stop=stop)

    def _failed(self, error: BaseException) -> bytes | None:
        log.error("oomd asked for memory, and %s failed", self.name, exc_info=error)
        return self._answer(op="failed", error=f"{type(error).__name__}: {error}"[:400])

    def _next_delay_s(self) -> float:
        """How long to wait before the next attempt: doubled each time, unless the last one held."""
        if self._connected_at and time.monotonic() - self._connected_at > self._delay_s:
            self._delay_s = FIRST_DELAY_S
        self._connected_at = 0.0
        delay_s = self._delay_s
        self._delay_s = min(2 * delay_s, LONGEST_DELAY_S)
        return delay_s
