"""The socket at which the daemon answers: one question for each connection, and then it hangs up.

Whoever connects may be hostile. Nothing here waits for anybody, and what a client can make the
daemon do is bounded: so many connections at once, so many in a second, a question of so many
bytes, and answers only as far as they fit into the socket's buffer.
"""

import os
import sys

# The C half of ``socket``: importing the other half costs the sentinel 400 kB of locked memory.
from _socket import SO_PEERCRED, SOL_SOCKET, socket

from oomd import wire
from oomd.log import WARNING
from oomd.notifier.listener import listen, stop_listening
from oomd.typed import Callable, Iterable, Iterator

__all__ = ["ControlSocket", "Peer"]

# As many may be connected at once; one more, and the oldest is hung up on.
CONNECTIONS = 4
# And as many are taken in a second. The others wait in the kernel until the next.
ACCEPTED = 10
WINDOW_MS = 1000
# A question is short.
QUESTION_BYTES = 256

Say = Callable[[int, str], None]
Answer = Callable[[wire.Message, "Peer"], Iterable[wire.Message]]


class Peer:
    """Who asks, by SO_PEERCRED: as it was when it connected."""

    __slots__ = ("pid", "uid")

    def __init__(self, connection: socket) -> None:
        # struct ucred: three ints.
        credentials = connection.getsockopt(SOL_SOCKET, SO_PEERCRED, 12)
        self.pid = int.from_bytes(credentials[:4], sys.byteorder)
        self.uid = int.from_bytes(credentials[4:8], sys.byteorder)


def _acl(gid: int) -> bytes:
    """An ACL for the owner and one more group, acl(5), as linux/posix_acl_xattr.h has it.

    The owner of a file may set one; to give the file to the group would take CAP_CHOWN.
    """
    nobody = 0xFFFFFFFF
    # (tag, permissions, id): ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER.
    entries = ((1, 6, nobody), (4, 0, nobody), (8, 6, gid), (16, 6, nobody), (32, 0, nobody))
    acl = b"\2\0\0\0"
    for tag, permissions, id_ in entries:
        acl += bytes((tag, 0, permissions, 0)) + id_.to_bytes(4, "little")
    return acl


class ControlSocket:
    """Held by the daemon itself, so that nothing else has to run for it to answer."""

    def __init__(self, path: str, say: Say, now_ms: Callable[[], int]) -> None:
        """``path``: where it is. Empty: nowhere."""
        self._path = path
        self._say = say
        self._now_ms = now_ms
        self._listener: socket | None = None
        self._gid = 0
        self._taken = 0
        self._since_ms = now_ms()
        self._waiting: dict[int, socket] = {}
        if not path:
            return
        try:
            self._listener = listen(path, everybody=False)
        except OSError as error:
            say(WARNING, f"{path}: {error.strerror}: oomd status gets no answer")

    def grant(self, gid: int) -> None:
        """Let this group ask, too; 0: only root."""
        if self._listener is None or gid == self._gid:
            return
        try:
            if gid:
                os.setxattr(self._path, "system.posix_acl_access", _acl(gid))
            else:
                # Of an ACL this is the mask, which lets nobody through.
                os.chmod(self._path, 0o600)
            self._gid = gid
        except OSError as error:
            self._say(WARNING, f"{self._path}: {error.strerror}: it stays root's alone")

    def close(self) -> None:
        """Hang up on everybody."""
        if self._listener is not None:
            stop_listening(self._listener, self._path)
            self._listener = None
        for fd in tuple(self._waiting):
            self._hang_up(fd)

    # --- waiting

    def _refill(self) -> None:
        now_ms = self._now_ms()
        if now_ms - self._since_ms >= WINDOW_MS:
            self._since_ms, self._taken = now_ms, 0

    def fds(self) -> tuple[int, ...]:
        """What ends the sleep: a client, or a question of one that is connected."""
        if self._listener is None:
            return ()
        self._refill()
        if self._taken < ACCEPTED:
            return (self._listener.fileno(), *self._waiting)
        return tuple(self._waiting)

    def wait_ms(self) -> int | None:
        """How soon a client may be taken again. None: at once."""
        if self._listener is None or self._taken < ACCEPTED:
            return None
        return max(self._since_ms + WINDOW_MS - self._now_ms(), 1)

    # --- talking

    def _hang_up(self, fd: int) -> None:
        connection = self._waiting.pop(fd, None)
        if connection is not None:
            connection.close()

    def _accept(self, listener: socket) -> int:
        fd: int = listener._accept()[0]  # type: ignore[attr-defined]
        connection = socket(fileno=fd)
        connection.setblocking(False)
        if len(self._waiting) >= CONNECTIONS:
            self._hang_up(next(iter(self._waiting)))
        self._waiting[fd] = connection
        return fd

    def _accept_until_asked(self, answer: Answer) -> None:
        """Whoever may connect now, until one of them has asked: most of them have already."""
        while self._listener is not None and self._taken < ACCEPTED:
            # Also one that fails: its cause may stay.
            self._taken += 1
            try:
                fd = self._accept(self._listener)
            except BlockingIOError:
                self._taken -= 1
                return
            except OSError:
                return
            if self._attend(fd, answer):
                return

    def _replies(self, connection: socket, data: bytes, answer: Answer) -> Iterator[wire.Message]:
        if len(data) > QUESTION_BYTES:
            yield {"op": "refused", "error": f"a question of more than {QUESTION_BYTES} bytes"}
            return
        try:
            yield from answer(wire.decode(data), Peer(connection))
        except wire.WireError as error:
            yield {"op": "refused", "error": str(error)}

    def _reply(self, connection: socket, data: bytes, answer: Answer) -> None:
        for reply in self._replies(connection, data, answer):
            try:
                datagram = wire.encode(reply)
            except wire.WireError as error:
                left_out = {"op": "left_out", "what": reply["op"], "why": str(error)}
                datagram = wire.encode(left_out)
            try:
                connection.send(datagram)
            except OSError:
                # It does not read, or has gone.
                return

    def _attend(self, fd: int, answer: Answer) -> bool:
        """False: it has not asked anything."""
        connection = self._waiting[fd]
        try:
            data = connection.recv(QUESTION_BYTES + 1)
        except BlockingIOError:
            # It has not asked yet, and may take its time until others come.
            return False
        except OSError:
            data = b""
        try:
            if data:
                self._reply(connection, data, answer)
        finally:
            self._hang_up(fd)
        return bool(data)

    def attend(self, readable: tuple[int, ...], answer: Answer) -> None:
        """After a turn of the loop: answer one who has asked. Never waits.

        The others are answered after the next: memory is looked at between two answers.
        """
        for fd in readable:
            if fd in self._waiting and self._attend(fd, answer):
                return
        if self._listener is not None and self._listener.fileno() in readable:
            self._accept_until_asked(answer)

    def wants(self, readable: tuple[int, ...]) -> bool:
        """One of these is ours."""
        listener = self._listener
        return listener is not None and (
            listener.fileno() in readable or any(fd in self._waiting for fd in readable)
        )
