"""The host's end of the agent's channel: many requests may wait for their answers at once."""

import json
import socket
import struct
import threading
from typing import Any

__all__ = ["AgentError", "AgentTimeout", "Channel", "ChannelClosed", "NoAnswer"]

WRITE_TIMEOUT_S = 120


class AgentError(Exception):
    """The agent could not do what it was asked to; its own words."""


class AgentTimeout(AgentError):
    """What was waited for in the guest did not come in time."""


class NoAnswer(Exception):
    """The agent itself did not answer, though it had more time than it was given to work."""


class ChannelClosed(Exception):
    """Nobody is there any more: QEMU has ended, or the agent has."""


class Channel:
    """Sends requests, and hands each answer to the thread that waits for it.

    A thread of its own always reads: the guest can then always write, whatever the host is at.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        # A limit for writing alone; settimeout() would hold for the reader, too.
        limit = struct.pack("ll", WRITE_TIMEOUT_S, 0)
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._write_lock = threading.Lock()
        self._changed = threading.Condition()
        self._answers: dict[int, dict[str, Any]] = {}
        self._waiting: set[int] = set()
        self._last_id = 0
        self._hello = False
        self._closed = False
        self._end = "the machine has ended"
        self._reader = threading.Thread(target=self._read_forever, name="vm-agent", daemon=True)
        self._reader.start()

    def wait_hello(self, timeout_s: float) -> None:
        """Waits until the agent has started."""
        with self._changed:
            self._changed.wait_for(lambda: self._hello or self._closed, timeout_s)
            if not self._hello:
                self._fail(f"the agent did not start in {timeout_s:g} s")

    def call(self, op: str, arguments: dict[str, Any], answer_timeout_s: float) -> Any:
        """Has the agent do `op` and returns its answer."""
        with self._changed:
            self._last_id += 1
            request_id = self._last_id
            self._waiting.add(request_id)
        try:
            self._send({"id": request_id, "op": op, "args": arguments})
            answer = self._wait_answer(request_id, op, answer_timeout_s)
        finally:
            with self._changed:
                self._waiting.discard(request_id)
                self._answers.pop(request_id, None)
        if "ok" in answer:
            return answer["ok"]
        raise (AgentTimeout if answer["kind"] == "timeout" else AgentError)(answer["error"])

    def close(self) -> None:
        """Ends the reader, too. QEMU must have ended."""
        self._reader.join()
        self._connection.close()

    def _send(self, message: dict[str, Any]) -> None:
        line = json.dumps(message).encode() + b"\n"
        with self._write_lock:
            if self._closed:
                raise ChannelClosed(self._end)
            try:
                self._connection.sendall(line)
            except BlockingIOError:
                # Half a line has gone: nothing after it could be understood.
                self._closed = True
                raise NoAnswer(f"the guest has read nothing for {WRITE_TIMEOUT_S} s") from None
            except OSError as error:
                raise ChannelClosed(f"{self._end}: {error}") from error

    def _wait_answer(self, request_id: int, op: str, timeout_s: float) -> dict[str, Any]:
        with self._changed:
            self._changed.wait_for(lambda: request_id in self._answers or self._closed, timeout_s)
            if request_id not in self._answers:
                self._fail(f"the agent has not answered {op!r} for {timeout_s:g} s")
            return self._answers.pop(request_id)

    def _fail(self, message: str) -> None:
        raise ChannelClosed(self._end) if self._closed else NoAnswer(message)

    def _read_forever(self) -> None:
        pending = b""
        while data := self._receive():
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._take(json.loads(line))
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _receive(self) -> bytes:
        try:
            return self._connection.recv(1 << 20)
        except OSError:
            return b""

    def _take(self, message: dict[str, Any]) -> None:
        with self._changed:
            if "hello" in message:
                self._hello = True
            elif "died" in message:
                self._end, self._closed = f"the agent has died: {message['died']}", True
            elif message["id"] in self._waiting:
                self._answers[message["id"]] = message
            self._changed.notify_all()
