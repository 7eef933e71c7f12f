"""The process of one third-party plugin: loads it, calls it when asked, says what came of it.

A child of the worker, and to the worker no more than a client that it started itself. Whatever
the plugin does, it does it here.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from oomd import wire
from oomd.notifier import NOTIFY_STOP, OomEvent
from oomd.notifier.load import Plugin, PluginError, describe, load
from oomd.notifier.peers import EXIT_CUT_OFF, cut

__all__ = ["main"]

EXIT_OK = 0
EXIT_USAGE = 2

# What int64_t holds: more is no number of bytes, and no message either.
_LARGEST = 2**63 - 1


def _read_all(fd: int) -> bytes:
    """A file that others read too, by the same descriptor: its position is left alone."""
    parts = []
    offset = 0
    while part := os.pread(fd, 65536, offset):
        parts.append(part)
        offset += len(part)
    return b"".join(parts)


def _said(text: str) -> dict[str, object]:
    return {"op": "failed", "error": cut(text)}


def _answer(plugin: Plugin, message: Mapping[str, Any]) -> dict[str, object]:
    """Call the plugin; the message that says how it went."""
    event = OomEvent(
        wire.integer(message, "wanted_bytes"),
        time.monotonic() + wire.integer(message, "deadline_ms") / 1000,
        wire.text(message, "reason"),
        wire.text(message, "constraint"),
    )
    file = plugin.source if plugin.source.startswith("/") else ""
    try:
        answer: object = plugin.release(event)
    except BaseException as error:
        # SystemExit, too: how a plugin ends is no concern of ours.
        return _said(describe(error, file))
    stop = isinstance(answer, NOTIFY_STOP)
    freed = answer.freed_bytes if isinstance(answer, NOTIFY_STOP) else answer
    # bool is an int to Python, and no number of bytes to anybody else.
    if isinstance(freed, bool) or not isinstance(freed, int):
        kind = "None (no return?)" if freed is None else f"a {type(freed).__name__}"
        return _said(f"release() returned {kind}, not the number of bytes freed")
    if not 0 <= freed <= _LARGEST:
        kind = "a negative" if freed < 0 else "an impossible"
        return _said(f"release() returned {kind} number of bytes")
    return {"op": "freed", "bytes": int(freed), "stop": stop}


def _serve(channel: socket.socket, plugin: Plugin) -> None:
    """Until the worker closes the conversation."""
    while data := channel.recv(wire.MAX_BYTES + 1):
        message = wire.decode(data)
        match message["op"]:
            case "oom":
                answer = _answer(plugin, message)
                channel.send(wire.encode({**answer, "seq": message["seq"]}))
            case "refused":
                return


def _register(channel: socket.socket, plugin: Plugin) -> None:
    message: dict[str, object] = {
        "op": "register",
        "api": wire.API,
        "name": plugin.name,
        "priority": plugin.priority,
        "source": plugin.source,
    }
    if plugin.deadline_ms is not None:
        message["deadline_ms"] = plugin.deadline_ms
    channel.send(wire.encode(message))


def main(argv: Sequence[str] | None = None) -> int:
    """``--channel FD --plan FD --plugin N``: run the plan's Nth plugin. Returns the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = dict(zip(words[::2], words[1::2], strict=True))
    channel = socket.socket(fileno=int(arguments["--channel"]))
    # What the plugin starts shall not hold the other end of our conversation.
    channel.set_inheritable(False)
    plan_fd = int(arguments["--plan"])
    plan = json.loads(_read_all(plan_fd))
    os.close(plan_fd)
    entry = plan["plugins"][int(arguments["--plugin"])]
    try:
        plugin = load(entry, plan["options"])
    except PluginError as error:
        channel.send(wire.encode(_said(str(error))))
        return EXIT_USAGE
    except OSError as error:
        channel.send(wire.encode(_said(f"{entry['source']}: {describe(error)}")))
        return EXIT_USAGE
    if not plugin.enabled:
        channel.send(wire.encode({"op": "switched_off", "name": plugin.name}))
        return EXIT_OK
    try:
        _register(channel, plugin)
        _serve(channel, plugin)
    except OSError:
        # The worker has gone, or the plugin has closed what is not its own.
        return EXIT_CUT_OFF
    return EXIT_OK


if __name__ == "__main__":
    raise SystemExit(main())
