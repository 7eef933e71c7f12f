"""The daemon's socket with a real kernel behind it: questions, and clients that mean no good."""

import errno
import json
import os
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomd import wire
from oomd.control.socket import (
    ACCEPTED,
    CONNECTIONS,
    QUESTION_BYTES,
    WINDOW_MS,
    ControlSocket,
    Peer,
)


class Desk:
    """A control socket, and the loop that attends to it."""

    def __init__(self, path: Path) -> None:
        self.path = str(path / "control.sock")
        self.now_ms = 1_000_000
        self.said: list[str] = []
        self.asked: list[tuple[dict[str, Any], int, int]] = []
        self.sent = 0
        self.replies = 1
        self.control = ControlSocket(
            self.path, lambda priority, text: self.said.append(text), lambda: self.now_ms
        )

    def answer(self, question: wire.Message, peer: Peer) -> Iterator[wire.Message]:
        self.asked.append((dict(question), peer.uid, peer.pid))
        if question["op"] == "long":
            yield {"op": "answer", "text": "x" * wire.MAX_BYTES}
        for _ in range(self.replies):
            self.sent += 1
            yield {"op": "answer", "text": "y" * 3000}
        yield {"op": "end"}

    def turn(self) -> None:
        """What the loop does when any of them is readable."""
        self.control.attend(self.control.fds(), self.answer)

    def client(self, data: bytes | None = None) -> socket.socket:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one.settimeout(60)
        one.connect(self.path)
        if data is not None:
            one.send(data)
        return one


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    one = Desk(tmp_path)
    yield one
    one.control.close()


def received(client: socket.socket) -> list[dict[str, Any]]:
    """Until it hangs up."""
    with client:
        found = []
        while data := client.recv(wire.MAX_BYTES + 1):
            found.append(json.loads(data))
        return found


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


STATUS = b'{"op":"status"}'


def test_a_question_is_answered_once_and_then_it_hangs_up(desk: Desk) -> None:
    before = open_fds()
    client = desk.client(STATUS)
    desk.turn()
    answers = received(client)
    assert [one["op"] for one in answers] == ["answer", "end"]
    assert desk.asked == [({"op": "status"}, os.getuid(), os.getpid())]
    assert open_fds() == before


def test_who_asks_later_is_answered_then(desk: Desk) -> None:
    client = desk.client()
    desk.turn()
    assert not desk.asked
    assert len(desk.control.fds()) == 2
    client.send(STATUS)
    desk.turn()
    assert received(client)[-1] == {"op": "end"}
    assert len(desk.control.fds()) == 1


@pytest.mark.parametrize(
    "data",
    [b"junk", b"{", b"[]", b"{}", b'{"op":7}', b"\xff\xfe", b"[" * QUESTION_BYTES],
    ids=repr,
)
def test_junk_is_refused_in_words(desk: Desk, data: bytes) -> None:
    client = desk.client(data)
    desk.turn()
    (refused,) = received(client)
    assert refused["op"] == "refused"
    assert refused["error"].startswith("a message ")
    assert not desk.asked


@pytest.mark.parametrize("length", [QUESTION_BYTES + 1, 100_000])
def test_a_long_question_is_not_read(desk: Desk, length: int) -> None:
    client = desk.client(b"x" * length)
    desk.turn()
    (refused,) = received(client)
    assert refused == {"op": "refused", "error": "a question of more than 256 bytes"}


def test_an_answer_too_long_for_a_datagram_is_left_out_and_the_rest_is_there(desk: Desk) -> None:
    client = desk.client(b'{"op":"long"}')
    desk.turn()
    left_out, *rest = received(client)
    assert (left_out["op"], left_out["what"]) == ("left_out", "answer")
    assert [one["op"] for one in rest] == ["answer", "end"]


def test_who_does_not_read_is_hung_up_on(desk: Desk) -> None:
    desk.replies = 10_000
    client = desk.client(STATUS)
    desk.turn()
    # As far as the socket's buffer goes, and not to the end.
    assert 1 <= desk.sent < 1000
    assert len(desk.control.fds()) == 1
    answers = received(client)
    assert {"op": "end"} not in answers


def test_who_has_gone_costs_nothing(desk: Desk) -> None:
    before = open_fds()
    desk.client(STATUS).close()
    desk.client().close()
    desk.turn()
    desk.turn()
    assert len(desk.control.fds()) == 1
    assert open_fds() == before


def test_who_only_holds_connections_makes_room_for_who_asks(desk: Desk) -> None:
    before = open_fds()
    idle = [desk.client() for _ in range(ACCEPTED - 1)]
    client = desk.client(STATUS)
    desk.turn()
    assert received(client)[-1] == {"op": "end"}
    # The listener is one of them.
    assert len(desk.control.fds()) <= 1 + CONNECTIONS
    for one in idle:
        one.close()
    desk.now_ms += WINDOW_MS
    desk.turn()
    assert open_fds() == before


def test_a_flood_is_taken_a_few_at_a_time(desk: Desk) -> None:
    clients = [desk.client(STATUS) for _ in range(ACCEPTED)]
    for number in range(ACCEPTED):
        # One for each turn of the loop, which looks at memory first.
        assert len(desk.asked) == number
        desk.turn()
    late = desk.client(STATUS)
    # Nobody's coming wakes the daemon, until the second is over.
    assert desk.control.fds() == ()
    assert desk.control.wait_ms() == WINDOW_MS
    desk.turn()
    assert len(desk.asked) == ACCEPTED
    desk.now_ms += WINDOW_MS
    assert len(desk.control.fds()) == 1
    desk.turn()
    assert len(desk.asked) == ACCEPTED + 1
    for client in (*clients, late):
        assert received(client)[-1] == {"op": "end"}


def test_thousands_of_connections_are_bounded_in_each_second(desk: Desk) -> None:
    before = open_fds()
    for _ in range(300):
        for _ in range(10):
            one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            try:
                one.connect(desk.path)
                one.send(STATUS)
            except BlockingIOError:
                pass
            finally:
                one.close()
        for _ in range(10):
            desk.turn()
        desk.now_ms += WINDOW_MS // 2
    assert open_fds() <= before + CONNECTIONS
    # Half a second for each turn: ten of every twenty.
    assert ACCEPTED <= len(desk.asked) <= 151 * ACCEPTED


def may_connect(path: str, groups: list[int]) -> bool:
    """May nobody, as a member of these groups?"""
    code = (
        "import socket, sys; one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET);"
        "sys.exit(one.connect_ex(sys.argv[1]))"
    )
    command = ["/usr/bin/python3", "-I", "-c", code, path]
    done = subprocess.run(command, user=65534, group=65534, extra_groups=groups, check=False)
    assert done.returncode in (0, errno.EACCES)
    return done.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes somebody else")
def test_it_is_roots_alone_or_a_groups() -> None:
    with tempfile.TemporaryDirectory(dir="/run") as folder:
        os.chmod(folder, 0o755)
        desk = Desk(Path(folder))
        assert stat.S_IMODE(os.stat(desk.path).st_mode) == 0o600
        assert not may_connect(desk.path, [4711])
        desk.control.grant(4711)
        assert may_connect(desk.path, [4711])
        assert not may_connect(desk.path, [4712])
        desk.control.grant(4712)
        assert not may_connect(desk.path, [4711])
        desk.control.grant(0)
        assert not may_connect(desk.path, [4712])
        # It owns the socket still: to give it away takes a capability that the unit does not have.
        assert os.stat(desk.path).st_gid == 0
        assert desk.said == []
        desk.control.close()


def test_where_it_cannot_be_it_is_said_and_nothing_fails(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "nowhere")
    assert desk.said == [
        f"{desk.path}: No such file or directory: oomd status gets no answer",
    ]
    assert desk.control.fds() == ()
    assert desk.control.wait_ms() is None
    desk.control.grant(1)
    desk.turn()
    desk.control.close()


def test_one_that_was_left_there_is_replaced_and_none_is_left_behind(tmp_path: Path) -> None:
    first, second = Desk(tmp_path), Desk(tmp_path)
    client = second.client(STATUS)
    second.turn()
    assert received(client)[-1] == {"op": "end"}
    second.control.close()
    assert not os.path.exists(second.path)
    first.control.close()
