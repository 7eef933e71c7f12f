"""Starts a plugin's process outside the worker, only to see whether it loads: what
``oomd notifiers check`` does, and what the plugin can do no more harm to than to the worker."""

import json
import os
import select
import signal
import socket
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from oomd import wire
from oomd.config import one_line
from oomd.helpers import spawn
from oomd.notifier.plan import PRIORITY

__all__ = ["Introduced", "TrialError", "introduce", "memory_file"]

MODULE = "oomd.notifier.host"


class TrialError(Exception):
    """A plugin that cannot be used. ``str()`` is one line that names it and says why."""


class Introduced(NamedTuple):
    """A plugin that loads."""

    name: str
    priority: int
    deadline_ms: int | None
    """None: it has none of its own."""
    enabled: bool = True
    """False: switched off in its table. Then nothing else is known."""


def memory_file(content: Mapping[str, Any]) -> int:
    """A descriptor of a file in memory with a plan in it, for processes that inherit it."""
    fd = os.memfd_create("oomd-plan", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(json.dumps(content).encode())
    return fd


def _end(pid: int) -> str:
    """End the process and all that it started; how it had ended by itself, if it had."""
    alive = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    # Before it is collected, while both numbers are still its own.
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
    _, status = os.waitpid(pid, 0)
    exit_code = os.waitstatus_to_exitcode(status)
    if alive:
        return "it is still running"
    if exit_code < 0:
        return f"its process was killed by {signal.Signals(-exit_code).name}"
    return f"its process ended with status {exit_code}"


def _first_word(channel: socket.socket, patience_s: float) -> dict[str, Any] | None:
    """What the host says first; None: nothing. Raises WireError and TimeoutError."""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    if not poll.poll(patience_s * 1000):
        raise TimeoutError
    try:
        data = channel.recv(wire.MAX_BYTES + 1)
    except OSError:
        return None
    return wire.decode(data) if data else None


def _settle(pid: int) -> None:
    """Wait a little until a process has ended that has closed its end of the channel."""
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.005)


def _introduced(source: str, message: Mapping[str, Any]) -> Introduced:
    match message["op"]:
        case "register":
            try:
                deadline_ms = (
                    wire.integer(message, "deadline_ms") if "deadline_ms" in message else None
                )
                return Introduced(
                    wire.name(message), wire.integer(message, "priority", *PRIORITY), deadline_ms
                )
            except wire.WireError as error:
                raise TrialError(f"{source}: cannot register: {error}") from None
        case "failed":
            # It names the plugin itself.
            said = message.get("error")
            raise TrialError(one_line(said[:500]) if isinstance(said, str) else f"{source}: failed")
        case "switched_off":
            return Introduced("", 0, None, enabled=False)
    raise TrialError(f"{source}: sends something else in place of a registration")


def introduce(
    entry: Mapping[str, Any],
    tables: Mapping[str, Any],
    *,
    memory_mib: int = 64,
    patience_s: float = 20.0,
) -> Introduced:
    """Load a plugin in a process of its own, with its real limits, and end it.

    ``entry`` and ``tables`` are as in the worker's plan, ``memory_mib`` is its RLIMIT_DATA.
    Raises TrialError.
    """
    source = one_line(str(entry["source"]))
    plan = memory_file({"plugins": [entry], "options": tables})
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        try:
            with theirs:
                words = ["--channel", str(theirs.fileno()), "--plan", str(plan), "--plugin", "0"]
                pid = spawn(
                    MODULE,
                    words,
                    inherited=(theirs.fileno(), plan),
                    nice=0,
                    data_bytes=memory_mib << 20,
                    ends_with_us=True,
                )
        except OSError as error:
            raise TrialError(f"{source}: cannot be started: {error.strerror}") from None
        finally:
            os.close(plan)
        try:
            message = _first_word(ours, patience_s)
        except TimeoutError:
            _end(pid)
            raise TrialError(f"{source}: does not register within {patience_s:g} s") from None
        except wire.WireError as error:
            _end(pid)
            raise TrialError(f"{source}: sends {error} in place of a registration") from None
        if message is None:
            _settle(pid)
        how = _end(pid)
    if message is None:
        raise TrialError(f"{source}: does not register: {how}")
    return _introduced(source, message)
