"""For authors' own tests: a plugin, or a program that registers, is asked for memory for real.

::

    from oomd.testing import Harness

    def test_gives_memory_back(tmp_path):
        ...
        with Harness("my_plugin.py", options={"folder": str(tmp_path)}) as oomd:
            released = oomd.release(wanted_bytes=8 << 20)
        assert released.fault == ""
        assert released.claimed_bytes >= 8 << 20

What runs is oomd's own worker, with the process of its own that each plugin has, the limits and
the deadline; only the guard, which would call it, is played by the harness. It needs no root and
no daemon, and touches nothing of a daemon that is running.
"""

import importlib.metadata
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from oomd import wire
from oomd.client import ClientError
from oomd.client.question import ask
from oomd.helpers import ended, spawn
from oomd.notifier import ATTRIBUTE, Answer
from oomd.notifier.listener import listen
from oomd.notifier.trial import memory_file
from oomd.settings import NotifierSettings

__all__ = ["Harness", "HarnessError", "PluginRefused", "Released", "draft_entry"]

PluginLike = str | os.PathLike[str] | Callable[..., Answer]

# Only a hang is longer.
PATIENCE_S = 30.0
_POLL_S = 0.05


class HarnessError(Exception):
    """``str()`` is one line: what went wrong, and what to do."""


class PluginRefused(HarnessError):
    """oomd would not load this plugin. ``str()`` is what its log would say."""


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
    """How MemFree changed meanwhile: the whole machine's, so other programs are in it."""
    mem_available_change_kib: int
    fault: str
    """What it did wrong, in one line. Empty: nothing."""
    verdict: str
    """The line that oomd would log."""

    @property
    def in_time(self) -> bool:
        """It was not left behind at its deadline."""
        return not self.fault.startswith("left behind")


def draft_entry(
    plugin: PluginLike, options: Mapping[str, object] | None = None
) -> dict[str, object]:
    """The entry of the worker's plan for a plugin under test: a file, ``module:function``, the
    name of an entry point, or the function itself. Raises HarnessError."""
    entry: dict[str, object] = {"draft": True}
    if options is not None:
        entry["table"] = dict(options)
    if callable(plugin):
        if not hasattr(plugin, ATTRIBUTE):
            raise HarnessError(f"{plugin!r} is not decorated with @oom_notifier")
        module, qualname = plugin.__module__, plugin.__qualname__
        if "<locals>" in qualname:
            raise HarnessError(f"{module}.{qualname} is inside a function: move it to the top")
        plugin = f"{module}:{qualname}"
    text = os.fspath(plugin)
    if text.endswith(".py") or "/" in text:
        return {**entry, "source": os.path.abspath(text)}
    if ":" not in text:
        found = importlib.metadata.entry_points(group="oomd.notifiers", name=text)
        if not found:
            raise HarnessError(
                f"{text} is not an installed entry point of the group oomd.notifiers:"
                " give a file (NAME.py), MODULE:FUNCTION, or install the package"
            )
        text = next(iter(found)).value
    module, _, attribute = text.partition(":")
    # Where this process would find it: the plugin's starts without our folders.
    folders = [os.path.abspath(folder) for folder in sys.path]
    source = f"entry point {text}"
    return {**entry, "source": source, "module": module, "attr": attribute, "path": folders}


class Harness:
    """oomd's worker with one plugin in it, or with none, for programs that use the socket.

    ``options`` is the plugin's table of the configuration; ``deadline_ms`` and ``memory_mib`` are
    what ``notifiers.deadline_ms`` and ``notifiers.plugin_memory_mib`` would be. Entering raises
    HarnessError, PluginRefused among them.
    """

    def __init__(
        self,
        plugin: PluginLike | None = None,
        *,
        options: Mapping[str, object] | None = None,
        deadline_ms: int = 200,
        memory_mib: int = 64,
    ) -> None:
        settings = NotifierSettings(
            deadline_ms=deadline_ms,
            chain_deadline_ms=max(1000, 5 * deadline_ms),
            clients="all",
            user_priority_max=1000,
            plugin_memory_mib=memory_mib,
        )
        self._plan = {name: value for name, value in settings._asdict().items() if name != "plan"}
        entries = [] if plugin is None else [draft_entry(plugin, options)]
        self._plan |= {"builtin": [], "plugins": entries, "options": {}}
        self._folder = tempfile.TemporaryDirectory(prefix="oomd-", ignore_cleanup_errors=True)
        self.socket = os.path.join(self._folder.name, "notify.sock")
        """The path at which programs register."""
        self._pid = 0
        self._channel: socket.socket | None = None
        self._seq = 0

    @property
    def environment(self) -> dict[str, str]:
        """The environment for a program that is to find this socket and not the daemon's."""
        return {**os.environ, "OOMD_NOTIFY_SOCKET": self.socket}

    # --- the worker

    def __enter__(self) -> Self:
        try:
            self._listener = listen(self.socket, everybody=False)
            self._plan_fd = memory_file(self._plan)
            self._start()
            if self._plan["plugins"]:
                self._the_plugin()
        except BaseException:
            self.close()
            raise
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
        assert self._channel is not None, "the harness is used outside of its with block"
        if ended(self._pid) is not None:
            self._channel.close()
            self._start()
        return self._channel

    def close(self) -> None:
        """End the worker, and everything with it. Leaving the ``with`` block does this."""
        if self._channel is not None:
            # The guard has gone: the worker ends at once.
            self._channel.close()
            self._channel = None
            until = time.monotonic() + PATIENCE_S
            while ended(self._pid) is None:
                if time.monotonic() > until:
                    os.kill(self._pid, signal.SIGKILL)
                time.sleep(_POLL_S)
            os.close(self._plan_fd)
            self._listener.close()
        self._folder.cleanup()

    # --- who is there

    def notifiers(self) -> list[dict[str, Any]]:
        """What ``oomd notifiers`` would list: one message of op ``notifier`` for each."""
        self._ready()
        try:
            return ask(self.socket, {"op": "list"}, PATIENCE_S)
        except ClientError as error:
            raise HarnessError(str(error)) from None

    def wait_for(self, name: str) -> None:
        """Until a program has registered under this name. Raises HarnessError after 30 s."""
        self._wait_until_ready(lambda one: one["name"] == name, f"a program named {name}")

    def _the_plugin(self) -> str:
        """The plugin's name, once it is loaded. Raises PluginRefused."""
        for one in self.notifiers():
            if one["source"].startswith(("entry point ", "/")):
                state = str(one["state"])
                if state.startswith(("refused", "quarantined", "switched off")):
                    name = f"{one['name']}: " if one["name"] else ""
                    raise PluginRefused(name + state.removeprefix("refused: "))
                return str(one["name"])
        raise HarnessError("the plugin is not listed by the worker")

    def _wait_until_ready(self, wanted: Callable[[dict[str, Any]], bool], what: str) -> None:
        until = time.monotonic() + PATIENCE_S
        state = "is not registered"
        while time.monotonic() < until:
            for one in filter(wanted, self.notifiers()):
                if one["state"] == "ready":
                    return
                state = str(one["state"])
                if state.startswith("quarantined"):
                    raise PluginRefused(f"{one['name']}: {state}")
            time.sleep(_POLL_S)
        raise HarnessError(f"{what}: {state} after {PATIENCE_S:g} s")

    # --- asking

    def release(
        self,
        wanted_bytes: int = 64 << 20,
        *,
        name: str | None = None,
        reason: str = "exhaustion",
        calm: bool = True,
    ) -> Released:
        """Ask the plugin, or the program of that ``name``, for memory. Raises HarnessError.

        Everybody who has registered is asked, as in an emergency; this one's result is returned.
        ``calm``: the emergency is over then, and whoever was left behind is started anew.
        """
        name = name or self._the_plugin()
        self._wait_until_ready(lambda one: one["name"] == name, name)
        for one in self.chain(wanted_bytes, reason=reason, calm=calm):
            if one.name == name:
                return one
        raise HarnessError(f"{name} was not called")

    def chain(
        self, wanted_bytes: int = 64 << 20, *, reason: str = "exhaustion", calm: bool = True
    ) -> list[Released]:
        """Ask everybody who has registered, in their order, for memory. Raises HarnessError."""
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
                results.append(self._released(message, deadlines))
        if calm:
            channel.send(wire.encode({"op": "calm"}))
        return results

    @staticmethod
    def _hear(channel: socket.socket) -> dict[str, Any]:
        try:
            data = channel.recv(wire.MAX_BYTES + 1)
        except OSError as error:
            raise HarnessError(f"the worker does not answer: {error}") from None
        if not data:
            raise HarnessError("the worker has ended: what it said is above")
        return wire.decode(data)

    @staticmethod
    def _released(message: wire.Message, deadlines: Mapping[str, int]) -> Released:
        verdict = str(message["verdict"])
        return Released(
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
