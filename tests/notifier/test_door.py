"""The door of the socket: shut for a moment, it keeps no processor busy."""

import os
import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oomd.notifier.chain import OomNotifyList
from oomd.notifier.plan import Plan
from oomd.notifier.server import ACCEPTS_PER_S, Server
from oomd.notifier.waiting import Waiter
from oomd.notifier.workshop import Workshop

PATIENCE_S = 60.0
# A loop that sleeps turns once for each of those that it lets in or sees go, and a few times more
# for what is due; one that spins turns a thousand times in a second.
TURNS = 4 * ACCEPTS_PER_S


class Doorway:
    """A server in a loop like the worker's, which counts its turns."""

    def __init__(self, folder: Path) -> None:
        self.lines: list[str] = []
        self.turns = 0
        self.path = str(folder / "notify.sock")
        self._channels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(self.path)
        listener.listen(2 * ACCEPTS_PER_S)
        self.selector = selectors.DefaultSelector()
        notifiers = OomNotifyList(lambda: None)
        shop = Workshop(
            Plan(200, 1000, "all", 0, 1000, 64, False),
            notifiers,
            self.selector,
            Waiter(self._channels[0].fileno()),
            lambda priority, text: self.lines.append(text),
            lambda: 1 << 40,
        )

        def run(*_: object) -> None:
            raise AssertionError("nobody has asked for it")

        self.server = Server(shop, listener.detach(), run, lambda: iter(()))  # type: ignore[arg-type]
        self.server.open()
        self._clients: list[socket.socket] = []

    def knock(self, times: int = 1) -> None:
        for _ in range(times):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            client.connect(self.path)
            self._clients.append(client)

    def until(self, done: Callable[[], bool]) -> None:
        """Turn as the worker does: sleep, do what is ready and what is due, open the door."""
        end = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end
            assert self.turns < TURNS
            due = self.server.next_due()
            wait_s = PATIENCE_S if due is None else max(0.0, due - time.monotonic())
            self.turns += 1
            for key, _ in self.selector.select(wait_s):
                key.data()
            self.server.tick(time.monotonic())
            self.server.open()

    def end(self) -> None:
        for client in self._clients:
            client.close()
        while len(self.server):
            for key, _ in self.selector.select(PATIENCE_S):
                key.data()
        self.selector.close()
        assert self.server._door is not None
        self.server._door.close()
        for one in self._channels:
            one.close()


@pytest.fixture
def doorway(tmp_path: Path) -> Iterator[Doorway]:
    one = Doorway(tmp_path)
    yield one
    one.end()


def test_shut_against_whoever_hammers_it_sleeps(doorway: Doorway) -> None:
    doorway.knock(ACCEPTS_PER_S + 1)
    doorway.until(lambda: len(doorway.server) == ACCEPTS_PER_S + 1)


def test_with_no_descriptor_left_it_sleeps_and_says_it(doorway: Doorway) -> None:
    doorway.knock()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The next number that is free: as many files as are open already, and no more.
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        # It looks again each second.
        some_looks = time.monotonic() + 2.5
        doorway.until(lambda: time.monotonic() >= some_looks)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert doorway.lines[0] == "no client can be let in now: Too many open files"
    doorway.until(lambda: len(doorway.server) == 1)
