"""A worker of one's own, in which nobody of the machine's is registered: for tests, and for
trying a notifier where no daemon runs. Whoever has it plays the sentinel."""

import os
import signal
import socket
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any, NamedTuple, Self

from oomd import wire
from oomd.client import ClientError
from oomd.client.question import ask
from oomd.helpers import ended, spawn
from oomd.notifier.listener import listen
from oomd.notifier.trial import memory_file

__all__ = ["OwnWorker", "OwnWorkerError", "Released", "Unusable"]

# Only a hang is longer.
PATIENCE_S = 30.0
_POLL_S = 0.05


class OwnWorkerError(Exception):
    """``str()`` is one line: what went wrong, and what to do."""


class Unusable(OwnWorkerError):
    """oomd would not call this notifier. ``str()`` is what its log would say."""


class Released(NamedTuple):
    """What came of asking one notifier."""

    name: str
    priority: int
    deadline_ms: int
    """How long it had."""
    took_ms: int
    claimed_bytes: int
    """What it says that it has freed; 0 with a fault."""
    mem_free_change_kib: int
    """How MemFree changed meanwhile: the whole machine's, so other programs are in it. Freed pages
    that are still in the per-CPU lists are counted in, here and below."""
    mem_available_change_kib: int
    fault: str
    """What it did wrong, in one line. Empty: nothing."""
    verdict: str
    """The line that oomd would log."""

    @property
    def called(self) -> bool:
        """It was its turn, and it was asked."""
        return not self.verdict.startswith("not called")

    @property
    def in_time(self) -> bool:
        """It was not left behind at its deadline."""
        return not self.fault.startswith("left behind")

    @classmethod
    def from_message(cls, message: wire.Message, deadlines: Mapping[str, int]) -> Self:
        """From a ``result``, and the notifiers' deadlines."""
        verdict = str(message["verdict"])
        return cls(
            name=message["name"],
            priority=message["priority"],
            deadline_ms=deadlines.get(message["name"], 0),
            took_ms=message["took_ms"],
            claimed_bytes=message["claimed_bytes"],
            mem_free_change_kib=message["mem_free_change_kib"],
            mem_available_change_kib=message["mem_available_change_kib"],
            fault=verdict if message["fault"] else "",
            verdict=verdict,
        )


class OwnWorker:
    """Spawned with a plan, as the sentinel spawns its own; ended with the ``with`` block."""

    def __init__(self, plan: Mapping[str, Any]) -> None:
        """``plan`` is the worker's. Everything here raises OwnWorkerError."""
        self._plan = plan
        self._folder = tempfile.TemporaryDirectory(prefix="oomd-", ignore_cleanup_errors=True)
        self.socket = os.path.join(self._folder.name, "notify.sock")
        """The path at which programs register."""
        self._pid = 0
        self._channel: socket.socket | None = None
        self._seq = 0

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            undo.callback(self._folder.cleanup)
            try:
                self._listener = listen(self.socket, everybody=False)
                undo.callback(self._listener.close)
                self._plan_fd = memory_file(self._plan)
                undo.callback(os.close, self._plan_fd)
                self._start()
            except OSError as error:
                raise OwnWorkerError(f"the worker cannot be started: {error}") from None
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(PATIENCE_S)
        with theirs:
            fds = {
                "--channel": theirs.fileno(),
                "--listen": self._listener.fileno(),
                "--plan": self._plan_fd,
            }
            self._pid = spawn(
                "oomd.notifier.worker",
                [word for option, fd in fds.items() for word in (option, str(fd))],
                inherited=tuple(fds.values()),
                data_bytes=-1,
                ends_with_us=True,
            )
        self._channel = ours

    def _ready(self) -> socket.socket:
        """The channel of a worker that is running: one with nothing to do ends by itself."""
        assert self._channel is not None, "used outside of its with block"
        if ended(self._pid) is not None:
            self._channel.close()
            self._start()
        return self._channel

    def close(self) -> None:
        """End the worker, and everything with it. Leaving the ``with`` block does this too."""
        if self._channel is None:
            return
        # The guard has gone: the worker ends at once.
        self._channel.close()
        self._channel = None
        until = time.monotonic() + PATIENCE_S
        while ended(self._pid) is None:
            if time.monotonic() > until:
                os.kill(self._pid, signal.SIGKILL)
            time.sleep(_POLL_S)
        self._undo.close()

    def notifiers(self) -> list[dict[str, Any]]:
        """What ``oomd notifiers`` would list: one message of op ``notifier`` for each."""
        self._ready()
        try:
            return ask(self.socket, {"op": "list"}, PATIENCE_S)
        except ClientError as error:
            raise OwnWorkerError(str(error)) from None

    def wait_until_ready(self, name: str) -> None:
        """Until this one may be called. Raises Unusable if it never may, and after 30 s."""
        until = time.monotonic() + PATIENCE_S
        state = "is not registered"
        while time.monotonic() < until:
            for one in self.notifiers():
                if one["name"] == name and one["state"] == "ready":
                    return
                if one["name"] == name:
                    state = str(one["state"])
            if state.startswith("quarantined"):
                raise Unusable(f"{name}: {state}")
            time.sleep(_POLL_S)
        raise OwnWorkerError(f"{name}: {state}, after {PATIENCE_S:g} s")

    def chain(
        self, wanted_bytes: int = 64 << 20, *, reason: str = "exhaustion", calm: bool = True
    ) -> list[Released]:
        """Ask everybody who has registered, in their order, for memory. Raises OwnWorkerError."""
        deadlines = {one["name"]: one["deadline_ms"] for one in self.notifiers()}
        channel = self._ready()
        self._seq += 1
        event = {
            "op": "oom",
            "seq": self._seq,
            "wanted_bytes": wanted_bytes,
            "deadline_ms": self._plan["chain_deadline_ms"],
            "reason": reason,
            "constraint": "CONSTRAINT_NONE",
        }
        channel.send(wire.encode(event))
        results = []
        while (message := self._hear(channel))["op"] != "done":
            if message["op"] == "result" and message["seq"] == self._seq:
                results.append(Released.from_message(message, deadlines))
        if calm:
            channel.send(wire.encode({"op": "calm"}))
        return results

    @staticmethod
    def _hear(channel: socket.socket) -> dict[str, Any]:
        try:
            data = channel.recv(wire.MAX_BYTES + 1)
        except OSError as error:
            raise OwnWorkerError(f"the worker does not answer: {error}") from None
        if not data:
            raise OwnWorkerError("the worker has ended: what it said is above")
        return wire.decode(data)
