"""The daemon's end of notify.sock, played by the test: a real socket, every message by hand."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from oomd import wire

# Only a hang is longer.
PATIENCE_S = 30.0


class Talk:
    """One accepted connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        connection.settimeout(PATIENCE_S)

    def hear(self) -> dict[str, Any]:
        return wire.decode(self._connection.recv(wire.MAX_BYTES + 1))

    def await_message(self) -> None:
        """Until there is one to be heard. It stays unheard."""
        self._connection.recv(1, socket.MSG_PEEK)

    def heard_end(self) -> bool:
        return self._connection.recv(wire.MAX_BYTES + 1) == b""

    def say(self, **message: object) -> None:
        self._connection.send(wire.encode(message))

    def say_bytes(self, data: bytes) -> None:
        self._connection.send(data)

    def grant(self, priority: int | None = None) -> dict[str, Any]:
        """Hear the registration, and grant it."""
        asked = self.hear()
        granted = asked["priority"] if priority is None else priority
        self.say(op="registered", api=1, name=asked["name"], priority=granted, deadline_ms=200)
        return asked

    def ask(self, seq: int, wanted_bytes: int = 1 << 20, deadline_ms: int = 20_000) -> None:
        self.say(
            op="oom",
            seq=seq,
            wanted_bytes=wanted_bytes,
            deadline_ms=deadline_ms,
            reason="exhaustion",
            constraint="CONSTRAINT_NONE",
        )

    def close(self) -> None:
        self._connection.close()


class Listening:
    """notify.sock, with the test behind it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(PATIENCE_S)
        self._socket.bind(self.path)
        self._socket.listen(8)

    @contextmanager
    def accept(self) -> Iterator[Talk]:
        connection, _ = self._socket.accept()
        talk = Talk(connection)
        try:
            yield talk
        finally:
            talk.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        Path(self.path).unlink(missing_ok=True)
