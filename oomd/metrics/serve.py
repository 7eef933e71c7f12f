"""Serves metrics over HTTP: on a loopback address or a Unix socket, and nowhere else."""

import ipaddress
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from oomd.cli_words import UsageError
from oomd.client import ClientError
from oomd.config import one_line
from oomd.status.ask import State

__all__ = ["Cached", "server"]

# However often it is scraped, the daemon is woken up no more often than this.
FRESH_S = 1.0
# Whoever has sent no request, or takes no answer, for so long is hung up on.
CLIENT_S = 10.0
UNIX = "unix:"

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Cached:
    """The daemon's state, for many who ask at once."""

    def __init__(self, read: Callable[[], State | None]) -> None:
        self._read = read
        self._lock = threading.Lock()
        self._state: State | None = None
        self._until = 0.0

    def __call__(self) -> State | None:
        """Raises ClientError."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._state = self._read()
                self._until = time.monotonic() + FRESH_S
            return self._state


class _Handler(WSGIRequestHandler):
    timeout = CLIENT_S

    def log_message(self, format: str, *args: object) -> None:
        """Nobody wants a line for each scrape."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is its own affair; a line says what else there was."""
        error = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
        if not isinstance(error, OSError):
            print(f"oomd: metrics: {error!r}", file=sys.stderr)


class _UnixServer(_Server):
    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """In the place of one that was left there; its group may connect, too."""
        path = str(self.server_address)
        try:
            with socket.socket(socket.AF_UNIX) as other:
                other.connect(path)
            raise UsageError(f"{path}: another program listens there")
        except FileNotFoundError:
            pass
        except ConnectionRefusedError:
            os.unlink(path)
        umask = os.umask(0o117)
        try:
            self.socket.bind(path)
        finally:
            os.umask(umask)
        self.server_name, self.server_port = "localhost", 0
        self.setup_environ()

    def get_request(self) -> tuple[Any, Any]:
        """A client of a Unix socket has no address, and the handler wants one."""
        connection, _ = super().get_request()
        return connection, ("localhost", 0)


def _with_errors(inner: Application) -> Application:
    """A daemon that does not answer is an error of this scrape, not of the server."""

    def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            return inner(environ, start_response)
        except ClientError as error:
            words = one_line(str(error))
            print(f"oomd: metrics: {words}", file=sys.stderr)
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [f"{words}\n".encode()]

    return application


def _loopback(text: str) -> tuple[str, int]:
    """Raises UsageError."""
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        number = int(port) if port.isascii() and port.isdecimal() else -1
        if not address.is_loopback or not 0 <= number < 1 << 16:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--listen {text}: expected a loopback address and a port, as 127.0.0.1:9962 or "
            "[::1]:9962, or unix:PATH"
        ) from None
    return str(address), number


def server(where: str, registry: CollectorRegistry) -> WSGIServer:
    """Listens at ``where``; ``serve_forever()`` is its caller's. Raises UsageError."""
    made: WSGIServer
    try:
        if where.startswith(UNIX):
            made = _UnixServer(where.removeprefix(UNIX), _Handler)  # type: ignore[arg-type]
        else:
            address, port = _loopback(where)

            class _Inet(_Server):
                address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

            made = _Inet((address, port), _Handler)
    except OSError as error:
        raise UsageError(f"--listen {where}: {error.strerror or error}") from None
    made.set_app(_with_errors(make_wsgi_app(registry)))
    return made
