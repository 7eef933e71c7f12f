"""A client for QEMU's machine protocol: commands to QEMU itself, such as plugging in memory."""

import json
import socket
import threading
from typing import Any

__all__ = ["Qmp", "QmpError"]


class QmpError(Exception):
    """QEMU refused a command, or did not answer."""


class Qmp:
    """One connection. Events that come between answers are kept until somebody waits for them."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")
        self._connection = connection
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        self._ready = False

    def command(self, name: str, arguments: dict[str, Any], timeout_s: float) -> Any:
        """Runs a command and returns what QEMU returns for it."""
        with self._lock:
            self._connection.settimeout(timeout_s)
            if not self._ready:
                self._read()  # the greeting
                self._ready = True
                self._execute("qmp_capabilities", {})
            return self._execute(name, arguments)

    def wait_event(self, name: str, timeout_s: float) -> dict[str, Any]:
        """Waits for an event, and forgets those of its name or another's that came before."""
        with self._lock:
            self._connection.settimeout(timeout_s)
            while True:
                while self._events:
                    event = self._events.pop(0)
                    if event["event"] == name:
                        return event
                self._events.append(self._read())

    def close(self) -> None:
        self._stream.close()
        self._connection.close()

    def _execute(self, name: str, arguments: dict[str, Any]) -> Any:
        request = {"execute": name, "arguments": arguments}
        try:
            self._stream.write(json.dumps(request).encode() + b"\n")
            self._stream.flush()
        except OSError as error:
            raise QmpError(f"QMP {name}: {error}") from error
        while True:
            message = self._read()
            if "event" in message:
                self._events.append(message)
            elif "error" in message:
                raise QmpError(f"QMP {name}: {message['error']['desc']}")
            else:
                return message["return"]

    def _read(self) -> dict[str, Any]:
        try:
            line = self._stream.readline()
        except OSError as error:
            raise QmpError(f"QMP: {error}") from error
        if not line:
            raise QmpError("QMP: QEMU has ended")
        message: dict[str, Any] = json.loads(line)
        return message
