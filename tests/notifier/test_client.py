"""oomd.client over a real socket: registering, answering, being refused, coming back."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import Queue

import pytest

from oomd.client import (
    ClientError,
    NotRunning,
    OomClient,
    OomEvent,
    Refused,
    Registration,
    protocol,
)
from oomd.client.question import ask
from tests.notifier.listening import PATIENCE_S, Listening


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Listening]:
    with Listening(tmp_path / "notify.sock") as listening:
        yield listening


@contextmanager
def in_thread(work: Callable[[], object]) -> Iterator["Queue[object]"]:
    """``work`` beside the test; what it returned or raised is in the queue when it has ended."""
    ended: Queue[object] = Queue()

    def run() -> None:
        try:
            ended.put(work())
        except Exception as error:
            ended.put(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield ended
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_registers_and_answers_each_event(daemon: Listening) -> None:
    client = OomClient("a-cache", priority=7, path=daemon.path)
    events: list[OomEvent] = []

    def work() -> None:
        with client:
            for event in client:
                events.append(event)
                assert client.freed(event.wanted_bytes // 2)
                assert not client.freed(1), "answered twice"

    before = time.monotonic()
    with in_thread(work) as ended, daemon.accept() as talk:
        assert talk.grant(priority=5) == {
            "op": "register",
            "api": 1,
            "name": "a-cache",
            "priority": 7,
        }
        talk.ask(3, wanted_bytes=1000)
        assert talk.hear() == {"op": "freed", "seq": 3, "bytes": 500, "stop": False}
        assert client.granted == Registration(5, 200)
        talk.say(op="news", of="a later version")
        talk.ask(4, wanted_bytes=10)
        assert talk.hear()["bytes"] == 5
        client.close()
        assert talk.heard_end()
        assert ended.get(timeout=PATIENCE_S) is None
    assert [event.wanted_bytes for event in events] == [1000, 10]
    assert events[0].reason == "exhaustion"
    assert events[0].constraint == "CONSTRAINT_NONE"
    assert before + 20 <= events[0].deadline <= time.monotonic() + 20


def test_an_event_that_is_passed_over_is_answered_with_nothing(daemon: Listening) -> None:
    client = OomClient("idle", path=daemon.path)

    def work() -> None:
        with client:
            for _ in client:
                pass

    with in_thread(work), daemon.accept() as talk:
        talk.grant()
        talk.ask(1)
        assert talk.hear() == {"op": "freed", "seq": 1, "bytes": 0, "stop": False}
        client.close()


def test_may_end_the_chain(daemon: Listening) -> None:
    client = OomClient("last-word", path=daemon.path)

    def work() -> None:
        for _ in client:
            client.freed(42, stop=True)

    with in_thread(work), daemon.accept() as talk:
        talk.grant()
        talk.ask(1)
        assert talk.hear() == {"op": "freed", "seq": 1, "bytes": 42, "stop": True}
        client.close()


@pytest.mark.parametrize("name", ["", "two words", "x" * 65, "ümlaut"])
def test_an_impossible_name_is_known_at_once(name: str) -> None:
    with pytest.raises(ValueError, match="is no name"):
        OomClient(name)


def test_an_impossible_priority_is_known_at_once() -> None:
    with pytest.raises(ValueError, match="1001 is not from -1000 to 1000"):
        OomClient("x", priority=1001)


def test_no_daemon(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match=r"nobody\.sock is not there: is oomd running"):
        OomClient("x", path=str(tmp_path / "nobody.sock")).connect()


def test_a_socket_that_was_left_behind(tmp_path: Path) -> None:
    path = tmp_path / "notify.sock"
    left = Listening(path)
    left._socket.close()
    with pytest.raises(NotRunning, match="has nobody behind it: is oomd running"):
        OomClient("x", path=str(path)).connect()


def test_refused(daemon: Listening) -> None:
    def work() -> None:
        OomClient("x", path=daemon.path).connect()

    with in_thread(work) as ended, daemon.accept() as talk:
        talk.hear()
        talk.say(op="refused", error="the name is taken")
        error = ended.get(timeout=PATIENCE_S)
    assert isinstance(error, Refused)
    assert str(error) == "x: the name is taken"


@pytest.mark.parametrize("what", ["register", "ask"])
def test_turned_away_unheard_it_says_why(daemon: Listening, what: str) -> None:
    def work() -> object:
        if what == "ask":
            return ask(daemon.path, {"op": "list"})
        return OomClient("x", path=daemon.path).connect()

    with in_thread(work) as ended:
        with daemon.accept() as talk:
            talk.await_message()
            talk.say(op="refused", error="too many programs")
        error = ended.get(timeout=PATIENCE_S)
    assert isinstance(error, Refused)
    assert str(error).endswith("too many programs")


def test_disconnected_for_its_faults(daemon: Listening) -> None:
    client = OomClient("x", path=daemon.path)
    with in_thread(lambda: list(client)) as ended, daemon.accept() as talk:
        talk.grant()
        talk.say(op="refused", error="three faults")
        error = ended.get(timeout=PATIENCE_S)
    assert isinstance(error, Refused)


@pytest.mark.parametrize("junk", [b"{", b'{"op":"oom","seq":-1}', b'{"op":"registered"}'])
def test_what_is_no_daemon_is_not_taken_for_one(daemon: Listening, junk: bytes) -> None:
    def work() -> None:
        OomClient("x", path=daemon.path).connect()

    with in_thread(work) as ended, daemon.accept() as talk:
        talk.hear()
        talk.say_bytes(junk)
        error = ended.get(timeout=PATIENCE_S)
    assert isinstance(error, NotRunning)
    assert str(error).endswith(": is this oomd?")


def test_comes_back_when_the_daemon_does(tmp_path: Path) -> None:
    path = tmp_path / "notify.sock"
    client = OomClient("phoenix", path=str(path), wait=True)

    def work() -> None:
        with client:
            for event in client:
                client.freed(event.wanted_bytes)

    # Nobody is there at first; then one daemon, and then another one.
    with in_thread(work) as ended:
        for seq in (1, 2):
            with Listening(path) as daemon, daemon.accept() as talk:
                assert talk.grant()["name"] == "phoenix"
                talk.ask(seq, wanted_bytes=seq)
                assert talk.hear()["bytes"] == seq
        client.close()
        assert ended.get(timeout=PATIENCE_S) is None


def test_attempts_become_rarer_and_a_connection_that_held_starts_over() -> None:
    client = OomClient("x")
    delays = [client._next_delay_s() for _ in range(9)]
    assert delays[:4] == [0.25, 0.5, 1.0, 2.0]
    assert delays[-1] == protocol.LONGEST_DELAY_S
    client._connected_at = time.monotonic() - protocol.LONGEST_DELAY_S - 1
    assert client._next_delay_s() == 0.25


def test_in_a_thread(daemon: Listening, caplog: pytest.LogCaptureFixture) -> None:
    client = OomClient("threaded", path=daemon.path)

    def release(event: OomEvent) -> int:
        if event.wanted_bytes == 13:
            raise RuntimeError("a broken cache")
        return 7

    thread = client.run_in_thread(release)
    with daemon.accept() as talk:
        talk.grant()
        talk.ask(1)
        assert talk.hear()["bytes"] == 7
        talk.ask(2, wanted_bytes=13)
        failed = talk.hear()
        assert failed == {"op": "failed", "seq": 2, "error": "RuntimeError: a broken cache"}
        assert "oomd asked for memory, and threaded failed" in caplog.text
        talk.ask(3)
        assert talk.hear()["bytes"] == 7
    client.close()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_a_thread_that_is_refused_says_so_and_tries_again(
    daemon: Listening, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("oomd.client.blocking.REFUSED_DELAY_S", 0.01)
    caplog.set_level(logging.ERROR)
    client = OomClient("unwanted", path=daemon.path)
    thread = client.run_in_thread(lambda event: 0)
    with daemon.accept() as talk:
        talk.hear()
        talk.say(op="refused", error="clients are off")
    with daemon.accept() as talk:
        talk.grant()
        assert "oomd refuses unwanted: clients are off" in caplog.text
        client.close()
        assert talk.heard_end()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_closed_for_good(daemon: Listening) -> None:
    client = OomClient("x", path=daemon.path)
    client.close()
    with pytest.raises(NotRunning, match="this client was closed"):
        client.connect()
    assert list(client) == []


def test_the_environment_names_another_socket(
    daemon: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OOMD_NOTIFY_SOCKET", daemon.path)
    assert OomClient("x").path == daemon.path


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b'{"op":"refused","error":"only root may"}', "^only root may$"),
        (b"[]", "a message that is not a JSON object: is this oomd"),
        (b"", "was closed by oomd before it had answered"),
    ],
)
def test_a_question_that_is_not_answered(daemon: Listening, answer: bytes, problem: str) -> None:
    with in_thread(lambda: ask(daemon.path, {"op": "list"})) as ended, daemon.accept() as talk:
        assert talk.hear() == {"op": "list"}
        if answer:
            talk.say_bytes(answer)
        else:
            talk.close()
        error = ended.get(timeout=PATIENCE_S)
    assert isinstance(error, ClientError)
    assert re.search(problem, str(error))
