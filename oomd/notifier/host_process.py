"""The worker's end of one plugin's process: started, asked, left behind, ended, started anew.

Never waited for: one that hangs is ended when the storm is over.
"""

import os
import selectors
import signal
import socket
import time
from collections.abc import Mapping
from typing import Final, Protocol

from oomd import wire
from oomd.config import one_line
from oomd.helpers import spawn
from oomd.log import ERR, WARNING
from oomd.notifier import OomEvent
from oomd.notifier.chain import Outcome
from oomd.notifier.peers import EXIT_CUT_OFF, GONE, MESSAGES, Broken, Peer, failure, shown_op
from oomd.notifier.plan import DEADLINE_MS, PRIORITY
from oomd.notifier.workshop import Workshop
from oomd.wire import FAULTS

__all__ = ["Host", "Keeper", "how_it_ended"]

# How long a plugin may take to be imported and to register, on a slow machine that starts ten.
START_S = 20.0
# What fails in the calm is tried again after this, and a little later each time.
RETRY_S = 1.0

# So long is waited, within its deadline, between the end of a process's connection and its death
# as its parent sees it: how it ended is the one thing that an admin wants to know.
LAST_MOMENT_S = 0.1
LOOK_S = 0.001

CUT_OFF: Final = "has closed its connection to oomd"

MODULE: Final = "oomd.notifier.host"


class Keeper(Protocol):
    """Whoever keeps the hosts."""

    shop: Workshop
    plan_fd: int
    """The plan, which each host reads for itself."""
    storm: bool
    """Memory is short: nobody is started now."""

    def see_off(self, pid: int, label: str) -> None:
        """End a child and all of its process group, and collect it when it has gone.

        ``label``: whose it is, to say how it ended; empty: that was said already.
        """


def how_it_ended(exit_code: int) -> str:
    """In words, for a log."""
    if exit_code == EXIT_CUT_OFF:
        return CUT_OFF
    if exit_code >= 0:
        return f"has ended with status {exit_code}"
    try:
        return f"was killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"was killed by signal {-exit_code}"


class Host:
    """One plugin and its process. As an ``OomNotifier`` it outlives the process."""

    def __init__(self, hosts: Keeper, number: int, entry: Mapping[str, object]) -> None:
        self._hosts = hosts
        self._shop = hosts.shop
        self._number = number
        self.source = one_line(str(entry["source"]))
        self.name = ""
        """Empty until it has registered for the first time."""
        self.priority = 0
        self.deadline_ms = self._shop.plan.deadline_ms
        self.faults = 0
        self.introduced = False
        """It has registered, or has had its first fault instead."""
        self.due: float | None = None
        """``time.monotonic()`` by which it is to register, or at which it is started anew."""
        self._pid = 0
        self._peer: Peer | None = None
        self._registered = False
        self._faulty = False
        self._out = ""
        self._said_how = False

    # --- as a notifier

    def state(self) -> str:
        """``ready``, or why it would not be called."""
        if self._out:
            return self._out
        if not self._registered:
            return "being started" if self._pid else "started anew when it is calm"
        if self._peer is not None and self._peer.left_behind:
            return "left behind earlier in this storm"
        return "started anew when it is calm" if self._faulty else "ready"

    def release(self, event: OomEvent) -> Outcome:
        """Ask the process. Raises SentinelGone and nothing else."""
        state = self.state()
        if self._peer is None or state != "ready":
            return Outcome(skipped=state)
        outcome = self._peer.ask(event)
        # What it has forked may hold its end open when it is dead itself.
        if outcome.fault and (self._peer.broken == GONE or self.has_ended()):
            outcome = Outcome(fault=self._obituary(event.deadline))
            self.end()
        if outcome.fault:
            self._fault(outcome.fault)
        return outcome

    def _obituary(self, deadline: float) -> str:
        """How the process that has just hung up has ended, or only that it has hung up."""
        # It lets go of its files a moment before it can be asked how it ended.
        until = min(deadline, time.monotonic() + LAST_MOMENT_S)
        while not (how := self.has_ended()):
            if time.monotonic() >= until:
                return f"its process {CUT_OFF}"
            time.sleep(LOOK_S)
        self._said_how = True
        return f"its process {how}"

    # --- its process

    def _spawn(self) -> socket.socket:
        """Our end of a conversation with a new process. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        fds = {"--channel": theirs.fileno(), "--plan": self._hosts.plan_fd}
        words = [word for option, fd in fds.items() for word in (option, str(fd))]
        with theirs:
            try:
                self._pid = spawn(
                    MODULE,
                    [*words, "--plugin", str(self._number)],
                    inherited=tuple(fds.values()),
                    nice=0,
                    data_bytes=self._shop.plan.plugin_memory_mib << 20,
                    ends_with_us=True,
                )
            except OSError:
                ours.close()
                raise
        return ours

    def start(self) -> None:
        """Start the process. What goes wrong is a fault like any other."""
        self.due = time.monotonic() + START_S
        self._faulty = self._registered = self._said_how = False
        try:
            ours = self._spawn()
        except OSError as error:
            self._fault(f"its process cannot be started: {error.strerror}")
            return
        self._peer = Peer(ours, self._shop.waiter, self._shop.most_bytes)
        self._shop.selector.register(ours.fileno(), selectors.EVENT_READ, self._on_ready)

    def end(self) -> None:
        """Have done with the process, whatever state it is in."""
        if self._peer is not None:
            self._shop.selector.unregister(self._peer.fileno())
            self._peer.close()
            self._peer = None
        self._registered = False
        self.due = None
        pid, self._pid = self._pid, 0
        if pid:
            self._hosts.see_off(pid, "" if self._said_how else self._label())

    def has_ended(self) -> str:
        """How its process has ended, in words; empty: it has not. It is not collected."""
        if not self._pid:
            return ""
        try:
            info = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return "is not to be found"
        if info is None:
            return ""
        exited = info.si_code == os.CLD_EXITED
        return how_it_ended(info.si_status if exited else -info.si_status)

    # --- its faults

    def _label(self) -> str:
        return f"plugin {self.name} ({self.source})" if self.name else f"plugin {self.source}"

    def _fault(self, what: str, *, final: bool = False) -> None:
        self.faults += 1
        self.introduced = True
        self._faulty = True
        if final or self.faults >= FAULTS:
            count = "" if final else f" ({FAULTS} faults)"
            self._out = f"quarantined{count}: {what}"
            self._shop.say(
                ERR, f"{self._label()}: {what}; quarantined{count} until oomd is reloaded"
            )
            self.end()
            return
        when = "when it is calm" if self._hosts.storm else "soon"
        self._shop.say(
            WARNING,
            f"{self._label()}: {what}; fault {self.faults} of {FAULTS}, it is started anew {when}",
        )
        if self._peer is None or self._peer.broken:
            self.end()
        if not self._hosts.storm:
            self.due = time.monotonic() + RETRY_S * self.faults

    def _gone(self, what: str) -> None:
        """It has ended or hung up, which nobody had asked for."""
        due, faulty = self.due, self._faulty
        before = "" if self._registered else " before it had registered"
        self.end()
        if faulty:
            # It was left behind before it died: that is one fault.
            self.due = due
        else:
            self._fault(f"{what}{before}")

    def check(self) -> None:
        """Has its process ended?"""
        if self.has_ended():
            # Its last words may still be there: why it cannot be loaded, for one.
            self._on_ready()
        how = self.has_ended()
        if how:
            self._said_how = True
            self._gone(f"its process {how}")

    # --- what it says unasked

    def _on_ready(self) -> None:
        try:
            for _ in range(MESSAGES):
                if self._peer is None or (message := self._peer.receive()) is None:
                    return
                self._heard(self._peer, message)
        except Broken as error:
            if str(error) == GONE:
                self._gone(self._obituary(time.monotonic() + LAST_MOMENT_S))
            else:
                self._fault(str(error))

    def _heard(self, peer: Peer, message: wire.Message) -> None:
        if self._registered:
            if not peer.late_answer(message):
                peer.give_up(f'has sent "{shown_op(message)}" unasked')
            return
        match message["op"]:
            case "register":
                self._register(peer, message)
            case "failed":
                # It names the plugin itself. Trying again would not change it.
                self._out = f"refused: {failure(message)}"
                self.introduced = True
                self.faults += 1
                self._shop.say(ERR, f"plugin {failure(message)}")
                self._said_how = True
                self.end()
            case "switched_off":
                self._out = "switched off"
                self.introduced = True
                self.end()
            case _:
                peer.give_up(f'has sent "{shown_op(message)}" before it had registered')

    def _register(self, peer: Peer, message: wire.Message) -> None:
        deadline_ms = self._shop.plan.deadline_ms
        try:
            name = wire.name(message)
            priority = wire.integer(message, "priority", *PRIORITY)
            if "deadline_ms" in message:
                deadline_ms = wire.integer(message, "deadline_ms", *DEADLINE_MS)
        except wire.WireError as error:
            peer.give_up(f"cannot register: {error}")
        self.deadline_ms = deadline_ms
        if (name, priority) != (self.name, self.priority) or not self.name:
            # Started anew it keeps its place, unless its file has changed meanwhile.
            if self.name:
                self._shop.notifiers.unregister(self.name)
            self.name, self.priority = name, priority
            try:
                # The order of the plan, whichever interpreter is there first.
                place = len(self._shop.plan.builtin) + self._number
                self._shop.notifiers.register(self, place)
            except ValueError as error:
                self.name = ""
                self._fault(f"cannot be registered: {error}", final=True)
                return
        granted = {"name": name, "priority": priority, "deadline_ms": deadline_ms}
        peer.send({"op": "registered", "api": wire.API, **granted})
        self._registered = self.introduced = True
        self.due = None

    # --- in time

    def tick(self, now: float) -> None:
        """What is due at ``now``, ``time.monotonic()``."""
        if self.due is None or now < self.due or self._out:
            return
        if self._pid and not self._faulty:
            self.due = None
            self.end()
            self._fault(f"has not registered within {START_S:g} s")
        else:
            self.end()
            self.start()

    def storm(self) -> None:
        """Memory is short: nobody is started now. One that is starting may go on."""
        if self._faulty or not self._pid:
            self.due = None

    def calm(self) -> None:
        """The storm is over: whoever has failed in it is started anew."""
        if self._out or (self._pid and not self._registered and not self._faulty):
            return
        if self._faulty or self._peer is None or self._peer.left_behind:
            self.end()
            self.start()
        else:
            self._peer.forgive()
