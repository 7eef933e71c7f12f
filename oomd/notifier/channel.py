"""One end of a socket pair, as the sentinel talks over it: never waits, never raises OSError."""

# The C half of ``socket``: importing the other half costs the sentinel 400 kB of locked memory.
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair
from collections.abc import Iterator
from typing import Any

from oomd import wire

__all__ = ["Channel", "channel_pair"]

# Messages that are read in one go, whatever there may be.
MESSAGES = 64


class Channel:
    """Datagrams of :mod:`oomd.wire` to and from one process."""

    def __init__(self, sock: socket) -> None:
        self._socket = sock
        self.open = True
        """The other end is there, as far as we have heard."""

    def fileno(self) -> int:
        """For poll()."""
        return self._socket.fileno()

    def send(self, message: wire.Message) -> bool:
        """False: it does not listen (full), or is gone."""
        try:
            self._socket.send(wire.encode(message), MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def messages(self) -> Iterator[dict[str, Any]]:
        """What was said so far, a bounded number. Raises WireError."""
        for _ in range(MESSAGES):
            try:
                data = self._socket.recv(wire.MAX_BYTES + 1, MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self.open = False
                return
            yield wire.decode(data)

    def close(self) -> None:
        """The other end reads its end."""
        self.open = False
        self._socket.close()


def channel_pair() -> tuple[Channel, socket]:
    """Our end, and the one to hand to a child. Raises OSError."""
    ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    return Channel(ours), theirs
