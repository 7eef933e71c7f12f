"""``sd_notify(3)``: the few datagrams that systemd waits for. Never blocks, never raises."""

import os
import time

# The C half of ``socket``: importing the other half costs the sentinel 400 kB of locked memory.
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM, socket

__all__ = ["SdNotify"]


class SdNotify:
    """Talks to ``$NOTIFY_SOCKET``; without it every call does nothing."""

    def __init__(self) -> None:
        path = os.environ.get("NOTIFY_SOCKET", "")
        self._socket: socket | None = None
        if path[:1] in ("/", "@"):
            sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
            sock.setblocking(False)
            try:
                sock.connect("\0" + path[1:] if path[0] == "@" else path)
                self._socket = sock
            except OSError:
                sock.close()
        own = os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        usec = os.environ.get("WATCHDOG_USEC", "")
        self.watchdog_ms = int(usec) // 1000 if own and usec.isdecimal() else 0
        """systemd kills us when it hears nothing for this long. 0: no watchdog."""

    def send(self, *lines: str) -> None:
        """One datagram; dropped when systemd cannot take it now."""
        if self._socket is not None:
            try:
                self._socket.send("\n".join(lines).encode())
            except OSError:
                pass

    def ready(self, status: str) -> None:
        """Guarding, or guarding again after a reload."""
        self.send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Type=notify's way to say that SIGHUP was heard; ``ready()`` ends it."""
        self.send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def watchdog(self) -> None:
        """Still alive."""
        self.send("WATCHDOG=1")
