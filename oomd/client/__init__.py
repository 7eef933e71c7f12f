"""For programs that can give memory back: register with oomd and be asked before anyone dies.

Blocking::

    with OomClient("my-cache", priority=10) as client:
        for event in client:
            client.freed(cache.shrink(event.wanted_bytes))

In a thread of its own, whether or not oomd is running yet::

    client = OomClient("my-cache")
    client.run_in_thread(lambda event: cache.shrink(event.wanted_bytes))

With asyncio::

    from oomd.client.aio import AsyncOomClient

    async with AsyncOomClient("my-cache") as client:
        async for event in client:
            await client.freed(await cache.shrink(event.wanted_bytes))

A connection that breaks (oomd is restarted) is made again, in ever longer intervals of up to
30 s. An event that is not answered by its deadline counts as a fault; after three the program is
disconnected, and :class:`Refused` says so.
"""

from oomd.client.blocking import OomClient
from oomd.client.protocol import (
    SOCKET,
    ClientError,
    NotRunning,
    OomEvent,
    Refused,
    Registration,
)

__all__ = [
    "SOCKET",
    "ClientError",
    "NotRunning",
    "OomClient",
    "OomEvent",
    "Refused",
    "Registration",
]
