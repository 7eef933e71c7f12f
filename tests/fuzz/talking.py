"""Targets that hold a conversation: a datagram for each line of the bytes."""

import selectors
import socket
import time
from collections.abc import Iterator
from typing import Final

from oomd import wire
from oomd.client.protocol import Protocol
from oomd.event import Look
from oomd.mm_types import MemInfo
from oomd.notifier import OomEvent
from oomd.notifier.chain import OomNotifier, OomNotifyList, Result
from oomd.notifier.channel import channel_pair
from oomd.notifier.client_peer import Client, Credentials
from oomd.notifier.plan import Plan
from oomd.notifier.server import Server
from oomd.notifier.waiting import Waited, Waiter
from oomd.notifier.worker_process import WorkerProcess
from oomd.notifier.workshop import Workshop
from oomd.proc.root import Root

__all__ = ["client", "guard", "server", "words"]

# A datagram that is not sent whole would not be the one that was meant.
_SENT: Final = 16384
_DATAGRAMS: Final = 40
# More than so many unread ones, and the kernel makes their sender wait.
_IN_A_BUFFER: Final = 8

_MEMINFO: Final = MemInfo(1 << 20, 1 << 19, 1 << 19)
_LOOK: Final = Look(0, _MEMINFO, None, (), "exhaustion", 0, 0, 1024, 1024)


def _datagrams(data: bytes) -> list[bytes]:
    return [line[:_SENT] for line in data.split(b"\n") if line][:_DATAGRAMS]


def words(data: bytes) -> object:
    """One message, and each kind of value that anybody asks of one."""
    message = wire.decode(data)
    told: list[object] = [message["op"][:40]]
    for ask in (
        lambda: wire.name(message),
        lambda: wire.text(message, "verdict"),
        lambda: wire.integer(message, "seq"),
        lambda: wire.integer(message, "mem_free_change_kib", -(2**40), 2**40),
    ):
        try:
            told.append(ask())
        except wire.WireError as error:
            told.append(str(error))
    return told


class _Client(Protocol):
    """Both clients without a socket."""

    def hear(self, data: bytes) -> list[object]:
        told: list[object] = []
        for datagram in _datagrams(data):
            heard = self._read(datagram)
            told.append(heard)
            if isinstance(heard, OomEvent):
                told.append(self._freed(1, False))
        return told


def client(data: bytes) -> object:
    """What oomd, or whoever has taken its place, tells a client."""
    return _Client("cache", 0, "/nowhere").hear(data)


class _DeafTo(WorkerProcess):
    """A worker that has said all it is ever going to say, and has gone."""

    def __init__(self, datagrams: list[bytes]) -> None:
        self.said: list[str] = []
        super().__init__(
            Root("/nowhere"), lambda priority, text: self.said.append(text), lambda: 0, ""
        )
        self._channel, worker = channel_pair()
        self.count = 1
        for datagram in datagrams:
            worker.send(datagram)
        worker.shutdown(socket.SHUT_WR)
        self.chain = self.call("exhaustion", _LOOK)
        # What it says without being asked.
        self.attend(calm=False)
        self.close()
        worker.close()


def guard(data: bytes) -> object:
    """What the worker tells the guard in a chain."""
    worker = _DeafTo(_datagrams(data)[:_IN_A_BUFFER])
    return worker.chain, worker.said, worker.changed, worker.count


class _NeverLate(Waiter):
    """Waits for nothing: what a peer has to say is there already."""

    def __init__(self) -> None:
        super().__init__(-1)

    def hears(self) -> bool:
        return False

    def wait(self, fd: int, deadline: float) -> Waited:
        return Waited.READY


class _Door:
    """The server with one connection, whose other end says what it is told to."""

    def __init__(self) -> None:
        self.said: list[str] = []
        plan = Plan(200, 1000, "all", 100, 8, 64, False)
        shop = Workshop(
            plan,
            OomNotifyList(lambda: _MEMINFO),
            selectors.SelectSelector(),
            _NeverLate(),
            lambda priority, text: self.said.append(text),
            lambda: 1 << 30,
        )
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._server = Server(shop, -1, self._run, self._unnamed)
        self._client = Client(self._server, self._theirs, Credentials(1, 0, 0))
        self._server._clients.add(self._client)
        ready = self._server._ready(self._client)
        shop.selector.register(self._theirs.fileno(), selectors.EVENT_READ, ready)
        self._ready = ready

    def _run(self, one: OomNotifier, wanted_bytes: int) -> Result:
        return Result(one.name, one.priority, 0, "ran")

    def _unnamed(self) -> Iterator[OomNotifier]:
        return iter(())

    def talk(self, datagrams: list[bytes]) -> list[bytes]:
        """Send each, let the server look, and hear what it answers."""
        heard: list[bytes] = []
        for number, datagram in enumerate(datagrams):
            if self._client not in self._server._clients:
                break
            self._ours.send(datagram)
            if self._client.name and number % 2:
                # Also as an answer to a question.
                event = OomEvent(1 << 20, time.monotonic() + 1, "exhaustion", "CONSTRAINT_NONE")
                self._client.release(event)
            else:
                self._ready()
            heard += self._hear()
        return heard

    def _hear(self) -> Iterator[bytes]:
        while True:
            try:
                data = self._ours.recv(wire.MAX_BYTES + 1)
            except (BlockingIOError, ConnectionError):
                return
            if not data:
                return
            # Nobody but the server speaks here: all of it is as it should be.
            wire.decode(data)
            yield data

    def close(self) -> None:
        self._server.leave(self._client)
        self._ours.close()
        self._theirs.close()


def server(data: bytes) -> object:
    """What a program says to the socket."""
    door = _Door()
    try:
        return door.talk(_datagrams(data)), door.said
    finally:
        door.close()
