"""The client for programs that wait in recv(): in their main loop or in a thread of its own."""

import socket
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from oomd.client.protocol import (
    ANSWER_S,
    REFUSED_DELAY_S,
    ClientError,
    NotRunning,
    OomEvent,
    Protocol,
    Refused,
    Registration,
    log,
    receive,
    send_first,
)

__all__ = ["OomClient"]


class OomClient(Protocol):
    """A registration with oomd, for blocking and threaded programs.

    ``name`` is 1 to 64 letters, digits, ``_``, ``.`` or ``-``; the highest ``priority`` (-1000 to
    1000) is asked first. Raises ValueError for others.
    ``wait``: oomd need not be running yet; without it, connecting raises :class:`NotRunning`.
    :meth:`close` may be called from any thread, everything else from one at a time.
    """

    def __init__(
        self, name: str, *, priority: int = 0, path: str | None = None, wait: bool = False
    ) -> None:
        super().__init__(name, priority, path)
        self._wait = wait
        self._connection: socket.socket | None = None
        self._closed = threading.Event()
        # Between close() and whoever replaces the connection.
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        if not self._wait:
            self.connect()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()

    def connect(self) -> Registration:
        """Connect and register, once. Raises NotRunning and Refused."""
        self._drop()
        connection = self._socket()
        with self._lock:
            self._connection = connection
            if self._closed.is_set():
                self._drop()
                raise NotRunning(f"{self.name}: this client was closed")
        try:
            connection.settimeout(ANSWER_S)
            connection.connect(self.path)
            send_first(connection, self._register())
            while not isinstance(granted := self._receive(), Registration):
                pass
            connection.settimeout(None)
        except (OSError, ClientError) as error:
            self._drop()
            raise self._not_running(error) if isinstance(error, OSError) else error from None
        return granted

    def close(self) -> None:
        """Unregister. A loop over this client ends. For good: make another one to come back."""
        self._closed.set()
        with self._lock:
            if self._connection is not None:
                # Wakes whoever waits in recv(); closing would not.
                try:
                    self._connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._disconnected()

    def _receive(self) -> OomEvent | Registration | None:
        assert self._connection is not None
        return self._read(receive(self._connection))

    def __iter__(self) -> Iterator[OomEvent]:
        """Each event as it comes, until :meth:`close`. Raises Refused.

        One that the loop's body has not answered is answered with 0 bytes.
        """
        while not self._closed.is_set():
            try:
                if self._connection is None:
                    self.connect()
                message = self._receive()
            except (OSError, NotRunning) as error:
                log.info("%s: %s", self.name, error)
                self._drop()
                self._closed.wait(self._next_delay_s())
                continue
            except Refused:
                self._drop()
                raise
            if isinstance(message, OomEvent):
                yield message
                self.freed(0)
        self._drop()

    def freed(self, freed_bytes: int, *, stop: bool = False) -> bool:
        """Answer the event: so many bytes were freed. ``stop``: nobody after us is to be asked.

        False: it is answered already, or oomd has gone meanwhile.
        """
        return self._send(self._freed(freed_bytes, stop))

    def _send(self, answer: bytes | None) -> bool:
        if answer is None or self._connection is None:
            return False
        try:
            self._connection.send(answer)
        except OSError:
            # The next recv() finds it out too, and connects anew.
            return False
        return True

    def serve(self, release: Callable[[OomEvent], int]) -> None:
        """Answer each event with what ``release(event)`` returns, until :meth:`close`.

        Whatever it raises is logged, and is a fault. Where oomd is not there or refuses us, that
        is logged, and tried again.
        """
        while not self._closed.is_set():
            try:
                for event in self:
                    try:
                        self.freed(release(event))
                    except Exception as error:
                        self._send(self._failed(error))
            except Refused as error:
                log.error("oomd refuses %s", error)
                self._closed.wait(REFUSED_DELAY_S)

    def run_in_thread(self, release: Callable[[OomEvent], int]) -> threading.Thread:
        """:meth:`serve` in a daemon thread, which ends with :meth:`close`."""
        name = f"oomd-{self.name}"
        thread = threading.Thread(target=self.serve, args=(release,), name=name, daemon=True)
        thread.start()
        return thread
