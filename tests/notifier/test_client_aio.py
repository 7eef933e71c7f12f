"""oomd.client.aio: the same conversation, in an asyncio loop."""

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oomd.client import NotRunning, OomEvent, Refused
from oomd.client.aio import AsyncOomClient
from tests.notifier.listening import PATIENCE_S, Listening, Talk


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Listening]:
    with Listening(tmp_path / "notify.sock") as listening:
        yield listening


def beside(daemon: Listening, talk_with: Callable[[Talk], None]) -> "asyncio.Future[None]":
    """The daemon's side, in a thread."""

    def run() -> None:
        with daemon.accept() as talk:
            talk_with(talk)

    return asyncio.get_running_loop().run_in_executor(None, run)


def test_the_loop_goes_on_while_it_waits(daemon: Listening) -> None:
    async def main() -> None:
        worked = asyncio.Event()

        def talk_with(talk: Talk) -> None:
            talk.grant()
            talk.ask(1, wanted_bytes=10)
            assert talk.hear() == {"op": "freed", "seq": 1, "bytes": 10, "stop": False}
            assert talk.heard_end()

        other = beside(daemon, talk_with)
        async with AsyncOomClient("async", path=daemon.path) as client:
            assert client.granted is not None
            asyncio.get_running_loop().call_soon(worked.set)
            async for event in client:
                await worked.wait()
                assert await client.freed(event.wanted_bytes)
                assert not await client.freed(1)
                client.close()
        await other

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


@pytest.mark.parametrize("is_async", [True, False])
def test_serve(daemon: Listening, is_async: bool) -> None:
    async def release_async(event: OomEvent) -> int:
        await asyncio.sleep(0)
        return release(event)

    def release(event: OomEvent) -> int:
        if event.wanted_bytes == 13:
            raise RuntimeError("a broken cache")
        return 5

    async def main() -> None:
        client = AsyncOomClient("served", path=daemon.path)
        loop = asyncio.get_running_loop()

        def talk_with(talk: Talk) -> None:
            talk.grant()
            talk.ask(1, wanted_bytes=13)
            assert talk.hear()["op"] == "failed"
            talk.ask(2)
            assert talk.hear()["bytes"] == 5
            loop.call_soon_threadsafe(client.close)
            assert talk.heard_end()

        other = beside(daemon, talk_with)
        await client.serve(release_async if is_async else release)
        await other

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_comes_back_when_the_daemon_does(tmp_path: Path) -> None:
    path = tmp_path / "notify.sock"

    async def main() -> None:
        client = AsyncOomClient("phoenix", path=str(path), wait=True)
        serving = asyncio.create_task(client.serve(lambda event: event.wanted_bytes))
        for seq in (1, 2):

            def talk_with(talk: Talk, seq: int = seq) -> None:
                talk.grant()
                talk.ask(seq, wanted_bytes=seq)
                assert talk.hear()["bytes"] == seq

            with Listening(path) as daemon:
                await beside(daemon, talk_with)
        client.close()
        await serving

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_no_daemon(tmp_path: Path) -> None:
    async def main() -> None:
        async with AsyncOomClient("x", path=str(tmp_path / "nobody.sock")):
            pass

    with pytest.raises(NotRunning, match=r"nobody\.sock is not there"):
        asyncio.run(main())


@pytest.mark.parametrize("heard", [True, False])
def test_refused(daemon: Listening, heard: bool) -> None:
    async def main() -> None:
        def talk_with(talk: Talk) -> None:
            talk.await_message()
            if heard:
                talk.hear()
            talk.say(op="refused", error="no")

        other = beside(daemon, talk_with)
        try:
            await AsyncOomClient("x", path=daemon.path).connect()
        finally:
            await other

    with pytest.raises(Refused, match="x: no"):
        asyncio.run(main())


def test_a_task_that_is_cancelled_leaves_nothing_open(daemon: Listening) -> None:
    async def main() -> None:
        registered = asyncio.Event()
        loop = asyncio.get_running_loop()

        def talk_with(talk: Talk) -> None:
            talk.grant()
            loop.call_soon_threadsafe(registered.set)
            assert talk.heard_end()

        other = beside(daemon, talk_with)

        async def work() -> None:
            async with AsyncOomClient("x", path=daemon.path) as client:
                async for _ in client:
                    pass

        task = asyncio.create_task(work())
        await registered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await other

    asyncio.run(asyncio.wait_for(main(), PATIENCE_S))


def test_who_does_not_use_asyncio_does_not_load_it() -> None:
    code = "import oomd.client, sys; print(*sys.modules)"
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=root
    )
    loaded = result.stdout.split()
    assert "asyncio" not in loaded
    assert {name for name in loaded if name.startswith("oomd.")} == {
        "oomd.typed",
        "oomd.plain_json",
        "oomd.wire",
        "oomd.client",
        "oomd.client.protocol",
        "oomd.client.blocking",
    }
