"""The socket at which programs register to be asked for memory, or ask who has.

A client that is silent, floods, sends junk or vanishes costs nobody but itself: everything here
is bounded, and nothing waits.
"""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Final

from oomd import wire
from oomd.log import INFO, WARNING
from oomd.notifier.chain import VERDICT_LIMIT, OomNotifier, Result
from oomd.notifier.client_peer import Client, Credentials, Refusal, credentials
from oomd.notifier.ledger import MEMORY_S, Ledger
from oomd.notifier.patience import Patience
from oomd.notifier.plan import PRIORITY
from oomd.notifier.workshop import Workshop
from oomd.notifier_options import COMMAND, builtin_named
from oomd.wire import FAULTS

__all__ = ["Server"]

# Connections that are let in within a second, and lines about clients within ten: whoever
# hammers at the door keeps neither a processor nor the journal busy.
ACCEPTS_PER_S: Final = 64
LINES: Final = 20
LINES_S: Final = 10.0
# Room that is kept for root beyond max_clients, so that an admin can always look.
ROOTS_OWN: Final = 4
# What a manual run asks for, if it does not say.
WANTED_BYTES: Final = 64 << 20

Run = Callable[[OomNotifier, int], Result]


def described(result: Result) -> dict[str, object]:
    """A result's fields as messages have them, without whose it is."""
    return {
        "claimed_bytes": result.claimed_bytes,
        "verdict": result.verdict,
        "fault": result.fault,
        "took_ms": result.took_ms,
        "mem_free_change_kib": result.mem_free_change_kib,
        "mem_available_change_kib": result.mem_available_change_kib,
    }


def told(one: OomNotifier, last: tuple[float, Result] | None) -> wire.Message:
    """What ``list`` says about a notifier: as much of each text as fits into a message."""
    limit = VERDICT_LIMIT
    while True:
        result = None
        if last is not None:
            result = {**described(last[1]), "ago_s": round(time.monotonic() - last[0])}
            result["verdict"] = last[1].verdict[:limit]
        message = {
            "op": "notifier",
            "name": one.name,
            "source": one.source[:limit],
            "priority": one.priority,
            "deadline_ms": one.deadline_ms,
            "state": one.state()[:limit],
            "faults": one.faults,
            "last": result,
        }
        try:
            wire.encode(message)
            return message
        except wire.WireError:
            limit //= 2


class Server:
    """The clients, and the door that they come in by."""

    def __init__(
        self,
        shop: Workshop,
        listen_fd: int,
        run: Run,
        unnamed: Callable[[], Iterator[OomNotifier]],
    ) -> None:
        """``listen_fd``: -1, nobody can connect. ``run`` calls one notifier for a person.

        ``unnamed``: plugins that never registered, which an admin wants to see too.
        """
        self.shop = shop
        self.patience = Patience()
        self._run = run
        self._unnamed = unnamed
        self._door = socket.socket(fileno=listen_fd) if listen_fd >= 0 else None
        if self._door is not None:
            self._door.setblocking(False)
        self._open = False
        self._reopens: float | None = None
        self._accepted = 0
        self._accepted_since = 0.0
        self._clients: set[Client] = set()
        self._ledger = Ledger()
        self._lines = 0
        self._lines_since = 0.0

    def __len__(self) -> int:
        return len(self._clients)

    # --- the door

    def open(self) -> None:
        """Let clients in from now on, unless the door is shut for a moment."""
        if self._door is not None and not self._open and self._reopens is None:
            self._open = True
            self.shop.selector.register(self._door.fileno(), selectors.EVENT_READ, self._accept)

    def _shut_until(self, when: float) -> None:
        assert self._door is not None
        self.shop.selector.unregister(self._door.fileno())
        self._open = False
        self._reopens = when

    def _accept(self) -> None:
        """Let one in."""
        assert self._door is not None
        now = time.monotonic()
        if now - self._accepted_since >= 1.0:
            self._accepted, self._accepted_since = 0, now
        self._accepted += 1
        if self._accepted > ACCEPTS_PER_S:
            self._shut_until(self._accepted_since + 1.0)
            return
        try:
            sock, _ = self._door.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            # No descriptor or no memory left: it would be so in the next turn as well.
            self._say(WARNING, f"no client can be let in now: {error.strerror}")
            self._shut_until(now + 1.0)
            return
        try:
            who = credentials(sock)
        except OSError:
            sock.close()
            return
        client = Client(self, sock, who)
        self._clients.add(client)
        self.shop.selector.register(sock.fileno(), selectors.EVENT_READ, self._ready(client))
        why = self._no_room(who)
        if why:
            client.refuse(why)

    def _no_room(self, who: Credentials) -> str:
        most = self.shop.plan.max_clients
        if who.uid == 0:
            full = len(self._clients) > most + ROOTS_OWN
            return f"{most} programs are connected, and no more may be" if full else ""
        # One user's programs shall not keep everybody else's out.
        own = max(1, most // 4)
        by_uid = Counter(one.who.uid for one in self._clients)
        if by_uid[who.uid] > own:
            return f"{own} programs of uid {who.uid} are connected, and no more may be"
        if len(self._clients) > most:
            return f"{most} programs are connected, and no more may be (notifiers.max_clients)"
        return ""

    def _ready(self, client: Client) -> Callable[[], None]:
        def on_ready() -> None:
            client.on_ready()
            if client in self._clients:
                events = selectors.EVENT_READ
                if client.wants_to_write:
                    events = selectors.EVENT_WRITE
                self.shop.selector.modify(client.peer.fileno(), events, on_ready)

        return on_ready

    # --- what clients want

    def register(self, client: Client, message: wire.Message) -> None:
        """``register``: check all of it. Raises Refusal or Broken."""
        plan, uid = self.shop.plan, client.who.uid
        try:
            wire.integer(message, "api", wire.API, wire.API)
        except wire.WireError:
            raise Refusal(f'"api" is not {wire.API}: this oomd speaks no other version') from None
        try:
            name = wire.name(message)
            priority = wire.integer(message, "priority", *PRIORITY)
        except wire.WireError as error:
            raise Refusal(f"cannot register: {error}") from None
        self._may_register(client, name)
        client.priority = priority if uid == 0 else min(priority, plan.user_priority_max)
        client.name = name
        try:
            self.shop.notifiers.register(client)
        except ValueError as error:
            raise Refusal(f"{error}: choose another name") from None
        client.faults = self._ledger.faults(uid, name, time.monotonic())
        # A new connection is no new start.
        client.faulty = self._ledger.since(uid, name, self.patience.storm_since)
        client.expires = None
        granted = {"name": name, "priority": client.priority, "deadline_ms": client.deadline_ms}
        client.peer.send({"op": "registered", "api": wire.API, **granted})
        self._say(INFO, f"client {name} ({client.source}) has registered")

    def _may_register(self, client: Client, name: str) -> None:
        uid = client.who.uid
        allowed = self.shop.plan.clients
        if allowed == "off" or (allowed == "root" and uid != 0):
            raise Refusal(
                f'uid {uid} may not register: the administrator has set notifiers.clients = "'
                f'{allowed}"'
            )
        if name == COMMAND or builtin_named(name) is not None:
            raise Refusal(f"{name} is a built-in notifier's name: choose another name")
        if self._ledger.banned(uid, name, time.monotonic()):
            raise Refusal(
                f"{name} of uid {uid} has had {FAULTS} faults: try again after"
                f" {MEMORY_S / 60:g} minutes without one"
            )
        other = self.shop.notifiers.get(name)
        if isinstance(other, Client):
            # It may have gone and come back faster than we have looked.
            other.on_ready()
            other = self.shop.notifiers.get(name)
        if isinstance(other, Client) and other.who.uid != 0 and uid == 0:
            # Nobody's name can be taken from root in advance.
            other.refuse(f"a program of root's wants the name {name}")

    def listing(self) -> Iterator[wire.Message]:
        """``list``: everybody, in the order of the chain."""
        notifiers = self.shop.notifiers
        for one in (*notifiers, *self._unnamed()):
            yield told(one, notifiers.last.get(one.name))

    def run(self, client: Client, message: wire.Message) -> wire.Message:
        """``run``: call one notifier for a person. Raises Refusal."""
        if client.who.uid != 0:
            raise Refusal("only root may run a notifier")
        wanted_bytes = WANTED_BYTES
        try:
            name = wire.name(message)
            if "wanted_bytes" in message:
                wanted_bytes = wire.integer(message, "wanted_bytes")
        except wire.WireError as error:
            raise Refusal(f"cannot run: {error}") from None
        one = self.shop.notifiers.get(name)
        if one is None:
            raise Refusal(f"no notifier is named {name}: oomd notifiers lists them")
        result = self._run(one, wanted_bytes)
        return {
            "op": "result",
            "seq": 0,
            "name": result.name,
            "priority": result.priority,
            **described(result),
        }

    # --- their faults, and their end

    def fault(self, client: Client, what: str, *, at_once: bool) -> None:
        """Count it against a client that has registered; the third is its last."""
        shown = f"client {client.name or 'without a name'} ({client.source}): {what}"
        if not client.name:
            self._say(WARNING, f"{shown}; disconnected")
            client.refuse(f"this connection {what}: see the protocol in oomd's documentation")
            return
        now = time.monotonic()
        client.faults = self._ledger.add(client.who.uid, client.name, now, at_once=at_once)
        if self.patience.storm_since is None:
            # Run by hand: no end of a storm will forgive it.
            client.peer.forgive()
        else:
            client.faulty = True
        if client.faults < FAULTS:
            self._say(WARNING, f"{shown}; fault {client.faults} of {FAULTS}")
            return
        minutes = f"{MEMORY_S / 60:g} minutes"
        self._say(WARNING, f"{shown}; disconnected, and may not come back for {minutes}")
        client.refuse(f"{client.name}: {what}; that was its last chance, come back in {minutes}")

    def leave(self, client: Client) -> None:
        """Forget a client."""
        if client not in self._clients:
            return
        self._clients.discard(client)
        self.shop.selector.unregister(client.peer.fileno())
        client.peer.close()
        if client.name:
            # Its name stays with it: the chain may be about to say how its turn went.
            self.shop.notifiers.unregister(client.name)
            self._say(INFO, f"client {client.name} ({client.source}) has gone")

    def _say(self, priority: int, text: str) -> None:
        now = time.monotonic()
        if now - self._lines_since >= LINES_S:
            if self._lines > LINES:
                self.shop.say(INFO, f"{self._lines - LINES} more lines about clients left out")
            self._lines, self._lines_since = 0, now
        self._lines += 1
        if self._lines <= LINES:
            self.shop.say(priority, text)

    def begin_chain(self) -> None:
        """A chain is about to run."""
        self.patience.begin_chain(time.monotonic())

    def end_storm(self) -> None:
        """It is calm again: whoever had a fault has another chance."""
        self.patience.calm()
        for client in self._clients:
            client.faulty = False
            client.peer.forgive()

    # --- in time

    def next_due(self) -> float | None:
        """``time.monotonic()`` at which :meth:`tick` has something to do; None: never."""
        due = [one.expires for one in self._clients if one.expires is not None]
        if self._reopens is not None:
            due.append(self._reopens)
        return min(due, default=None)

    def tick(self, now: float) -> None:
        """What is due by then."""
        if self._reopens is not None and now >= self._reopens:
            self._reopens = None
            self.open()
        for client in tuple(self._clients):
            if client.expires is not None and now >= client.expires:
                client.refuse("you have connected and not registered")
