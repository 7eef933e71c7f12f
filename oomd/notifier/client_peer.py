"""One connection to the socket: a program that can free memory, or one that only asks."""

import socket
import struct
import time
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from oomd import wire
from oomd.config import one_line
from oomd.notifier import OomEvent
from oomd.notifier.chain import Outcome
from oomd.notifier.patience import Patience
from oomd.notifier.peers import GONE, MESSAGES, Broken, Peer, cut, failure, shown_op
from oomd.notifier.workshop import Workshop

__all__ = ["Client", "Credentials", "Office", "credentials"]

# Whoever has not registered by then, and asks nothing either, has no business here.
HALF_OPEN_S = 10.0
# Questions of a connection that does not register.
QUESTIONS: Final = 16

_UCRED: Final = struct.Struct("iII")


class Credentials(NamedTuple):
    """Who is at the other end, as the kernel knows it (SO_PEERCRED)."""

    pid: int
    uid: int
    gid: int


def credentials(sock: socket.socket) -> Credentials:
    """Those of the process that connected. Raises OSError."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return Credentials(*_UCRED.unpack(data))


class Office(Protocol):
    """Whoever the clients come to."""

    shop: Workshop
    patience: Patience

    def register(self, client: "Client", message: wire.Message) -> None:
        """Raises Refusal or Broken."""

    def listing(self) -> Iterator[wire.Message]:
        """The answer to ``list``, without its end."""

    def run(self, client: "Client", message: wire.Message) -> wire.Message:
        """The answer to ``run``, without its end. Raises Refusal."""

    def fault(self, client: "Client", what: str, *, at_once: bool) -> None:
        """It has misbehaved: count it, say it, and let the client go if that was too much."""

    def leave(self, client: "Client") -> None:
        """It has gone, or is to go."""


class Refusal(Exception):
    """``str()`` is one line: what, why, what to do."""


class Client:
    """One connection. An ``OomNotifier`` once it has registered."""

    def __init__(self, office: Office, sock: socket.socket, who: Credentials) -> None:
        shop = office.shop
        self._office = office
        self.peer = Peer(sock, shop.waiter, shop.most_bytes)
        self.who = who
        self.name = ""
        """Empty until it has registered."""
        self.priority = 0
        self.deadline_ms = shop.plan.deadline_ms
        self.faults = 0
        self.faulty = False
        """It has had a fault in this storm."""
        self.expires: float | None = time.monotonic() + HALF_OPEN_S
        """``time.monotonic()`` by which it has to register."""
        self.wants_to_write = False
        self._answer: Iterator[wire.Message] | None = None
        self._next: wire.Message | None = None
        self._questions = 0

    @property
    def source(self) -> str:
        """Who it is, for a person."""
        return f"pid {self.who.pid}, uid {self.who.uid}"

    # --- as a notifier

    def state(self) -> str:
        """``ready``, or why it would not be called."""
        if self.peer.left_behind:
            return "left behind earlier in this storm"
        if self.faulty:
            return "at fault earlier in this storm"
        return self._office.patience.why_not(self.who.uid, self.deadline_ms / 1000) or "ready"

    def release(self, event: OomEvent) -> Outcome:
        """Ask it. Raises SentinelGone and nothing else."""
        state = self.state()
        if state != "ready":
            return Outcome(skipped=state)
        start = time.monotonic()
        outcome = self.peer.ask(event)
        took_s = time.monotonic() - start
        self._office.patience.took(self.who.uid, took_s, late=self.peer.left_behind)
        if outcome.fault:
            # Gone is no misbehaviour; whoever talks nonsense does not get a second chance.
            gone = self.peer.broken == GONE
            if gone:
                self._office.leave(self)
            else:
                self._office.fault(self, outcome.fault, at_once=bool(self.peer.broken))
        return outcome

    # --- what it says by itself

    def on_ready(self) -> None:
        """It has something to say, or room for more of our answer."""
        try:
            self._write()
            for _ in range(MESSAGES):
                if self.peer.broken or self._answer is not None:
                    return
                message = self.peer.receive()
                if message is None:
                    return
                self._heard(message)
        except Refusal as why:
            self.refuse(str(why))
        except Broken as why:
            if str(why) == GONE:
                self._office.leave(self)
            else:
                self._office.fault(self, str(why), at_once=True)

    def _heard(self, message: wire.Message) -> None:
        if self.name:
            if not self.peer.late_answer(message):
                what = f'has sent "{shown_op(message)}" unasked'
                self._office.fault(self, what, at_once=False)
            return
        self._questions += 1
        if self._questions > QUESTIONS:
            raise Refusal(f"{QUESTIONS} questions are enough for one connection")
        match message["op"]:
            case "register":
                self._office.register(self, message)
            case "list":
                self._answer = self._office.listing()
                self._write()
            case "run":
                self._answer = iter((self._office.run(self, message),))
                self._write()
            case "failed":
                raise Refusal(f"you say that you have failed: {failure(message)}")
            case _:
                self.peer.give_up(f'has sent "{shown_op(message)}" before it had registered')

    def _write(self) -> None:
        """As much of the answer as there is room for now. Raises Broken."""
        while self._answer is not None:
            if self._next is None:
                self._next = next(self._answer, {"op": "end"})
            if not self.peer.may_send(self._next):
                break
            if self._next["op"] == "end":
                self._answer = None
            self._next = None
        self.wants_to_write = self._answer is not None

    def refuse(self, why: str) -> None:
        """Say why, if it still listens, and hang up."""
        try:
            self.peer.may_send({"op": "refused", "error": cut(one_line(why))})
        except Broken:
            pass
        self._office.leave(self)
