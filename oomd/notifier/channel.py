"""One end of a socket pair, as the sentinel talks over it: never waits, never raises OSError."""

# The C half of ``socket``: importing the other half costs the sentinel 400 kB of locked memory.
from _socket import AF_UNIX, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_SEQPACKET, socket, socketpair

from oomd import wire
from oomd.typed import Any, Iterator

__all__ = ["Channel", "Words", "channel_pair"]

# Messages that are read in one go, whatever there may be.
MESSAGES = 64
# In the calm a worker has little to say: so many messages within so long are a fault.
CALM_MESSAGES = 200
CALM_MS = 10_000


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


class Words:
    """How much a worker says outside a chain."""

    def __init__(self) -> None:
        self._count = 0
        self._since_ms = 0

    def count(self, now_ms: int) -> None:
        """One more message. Raises WireError: too many."""
        if now_ms - self._since_ms > CALM_MS:
            self._since_ms, self._count = now_ms, 0
        self._count += 1
        if self._count > CALM_MESSAGES:
            raise wire.WireError(f"{self._count} messages within {CALM_MS // 1000} s, unasked")
