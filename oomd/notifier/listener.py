"""The socket at which programs register: held by the sentinel, served by the worker."""

import os
import select

# The C half of ``socket``: importing the other half costs the sentinel 400 kB of locked memory.
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_SEQPACKET, socket

__all__ = ["knocking", "listen", "stop_listening"]

# Connections that wait for the worker to take them.
BACKLOG = 16


def listen(path: str, *, everybody: bool) -> socket:
    """A listening SOCK_SEQPACKET socket at ``path``, in the place of one that was left there.

    ``everybody``: any user may connect, otherwise only root. Raises OSError.
    """
    listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        listener.setblocking(False)
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        # Nobody may connect before it has its mode.
        umask = os.umask(0o177)
        try:
            listener.bind(path)
        finally:
            os.umask(umask)
        if everybody:
            os.chmod(path, 0o666)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def stop_listening(listener: socket, path: str) -> None:
    """Nobody may connect any more. Raises nothing."""
    listener.close()
    try:
        os.unlink(path)
    except OSError:
        pass


def knocking(listener: socket) -> bool:
    """Somebody has connected and is waiting. Never waits."""
    poll = select.poll()
    poll.register(listener.fileno(), select.POLLIN)
    return bool(poll.poll(0))
