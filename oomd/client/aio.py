"""The client for asyncio. In a file of its own: only who uses asyncio pays for its import."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from inspect import isawaitable
from types import TracebackType
from typing import Self

from oomd import wire
from oomd.client.protocol import (
    ANSWER_S,
    REFUSED_DELAY_S,
    NotRunning,
    OomEvent,
    Protocol,
    Refused,
    Registration,
    log,
    receive,
    send_first,
)

__all__ = ["AsyncOomClient"]


class AsyncOomClient(Protocol):
    """A registration with oomd, for a task of an asyncio loop.

    Arguments and errors are those of :class:`oomd.client.OomClient`. Everything is called from
    the loop's thread.
    """

    def __init__(
        self, name: str, *, priority: int = 0, path: str | None = None, wait: bool = False
    ) -> None:
        super().__init__(name, priority, path)
        self._wait = wait
        self._connection: socket.socket | None = None
        self._closed = asyncio.Event()

    async def __aenter__(self) -> Self:
        if not self._wait:
            await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self.close()
        self._drop()

    async def connect(self) -> Registration:
        """Connect and register, once. Raises NotRunning and Refused."""
        self._drop()
        if self._closed.is_set():
            raise NotRunning(f"{self.name}: this client was closed")
        loop = asyncio.get_running_loop()
        self._connection = self._socket()
        self._connection.setblocking(False)
        try:
            async with asyncio.timeout(ANSWER_S):
                await loop.sock_connect(self._connection, self.path)
                send_first(self._connection, self._register())
                while not isinstance(granted := await self._receive(), Registration):
                    pass
        except BaseException as error:
            # Cancelled, for one.
            self._drop()
            if isinstance(error, OSError):
                raise self._not_running(error) from None
            raise
        return granted

    def close(self) -> None:
        """Unregister. A loop over this client ends. For good: make another one to come back."""
        self._closed.set()
        if self._connection is not None:
            # Not closed under a task that waits for it: that one reads the end, and closes it.
            try:
                self._connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._drop()

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._disconnected()

    async def _receive(self) -> OomEvent | Registration | None:
        assert self._connection is not None
        loop = asyncio.get_running_loop()
        try:
            data = await loop.sock_recv(self._connection, wire.MAX_BYTES + 1)
        except ConnectionResetError:
            # The reason comes after the error: see receive().
            data = receive(self._connection)
        return self._read(data)

    async def _pause(self, delay_s: float) -> None:
        try:
            await asyncio.wait_for(self._closed.wait(), delay_s)
        except TimeoutError:
            pass

    async def __aiter__(self) -> AsyncIterator[OomEvent]:
        """Each event as it comes, until :meth:`close`. Raises Refused.

        One that the loop's body has not answered is answered with 0 bytes.
        """
        while not self._closed.is_set():
            try:
                if self._connection is None:
                    await self.connect()
                message = await self._receive()
            except (OSError, NotRunning) as error:
                log.info("%s: %s", self.name, error)
                self._drop()
                await self._pause(self._next_delay_s())
                continue
            except Refused:
                self._drop()
                raise
            if isinstance(message, OomEvent):
                yield message
                await self.freed(0)
        self._drop()

    async def freed(self, freed_bytes: int, *, stop: bool = False) -> bool:
        """Answer the event: so many bytes were freed. ``stop``: nobody after us is to be asked.

        False: it is answered already, or oomd has gone meanwhile.
        """
        return await self._send(self._freed(freed_bytes, stop))

    async def _send(self, answer: bytes | None) -> bool:
        if answer is None or self._connection is None:
            return False
        try:
            await asyncio.get_running_loop().sock_sendall(self._connection, answer)
        except OSError:
            # The next recv() finds it out too, and connects anew.
            return False
        return True

    async def serve(self, release: Callable[[OomEvent], Awaitable[int] | int]) -> None:
        """Answer each event with what ``release(event)`` returns, until :meth:`close`.

        Whatever it raises is logged, and is a fault. Where oomd is not there or refuses us, that
        is logged, and tried again. A plain function is called in the loop's thread.
        """
        while not self._closed.is_set():
            try:
                async for event in self:
                    try:
                        answer = release(event)
                        await self.freed(await answer if isawaitable(answer) else answer)
                    except Exception as error:
                        await self._send(self._failed(error))
            except Refused as error:
                log.error("oomd refuses %s", error)
                await self._pause(REFUSED_DELAY_S)
