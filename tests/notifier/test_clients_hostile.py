"""Clients that are silent, fail, vanish, flood, send junk or never read: each costs
nobody but itself. The worker is the real one, and so are the sockets."""

import array
import os
import socket
from pathlib import Path

import pytest

from oomd.notifier.server import LINES
from tests.notifier.driven import DrivenWorker, answer_one, freed, plan, with_clients

SHORT_MS = 150


def test_a_silent_one_is_left_behind_and_asked_again_when_it_is_calm(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(deadline_ms=SHORT_MS)) as worker:
        silent, alive = with_clients(worker, "silent", "alive")
        verdicts = []
        for _ in range(2):
            worker.send_oom()
            answer_one(alive, 100)
            first, second = worker.results()
            verdicts.append(first["verdict"])
            assert second["claimed_bytes"] == 100
        assert verdicts[0].startswith("left behind: no answer within")
        assert verdicts[1] == "not called: left behind earlier in this storm"
        worker.calm()
        worker.send_oom()
        # Its answer to the first question is late, and is not taken for one to the second.
        old, new = silent.receive(), silent.receive()
        assert old is not None and new is not None
        silent.send(freed(old["seq"], 1))
        silent.send(freed(new["seq"], 2))
        answer_one(alive, 100)
        assert [one["claimed_bytes"] for one in worker.results()] == [2, 100]


def test_at_the_third_fault_it_has_to_go_and_stays_away(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(deadline_ms=SHORT_MS)) as worker:
        (silent,) = with_clients(worker, "silent")
        for _ in range(3):
            worker.oom()
            worker.calm()
        for _ in range(3):
            question = silent.receive()
            assert question is not None and question["op"] == "oom"
        refused = silent.receive()
        assert refused is not None and refused["op"] == "refused"
        assert "silent: left behind: no answer within" in refused["error"]
        assert silent.receive() is None
        assert "disconnected, and may not come back for 10 minutes" in worker.logged("disconn")
        again = worker.client().register("silent")
        assert again["error"] == (
            f"silent of uid {os.geteuid()} has had 3 faults: try again after 10 minutes without one"
        )
        assert worker.client().register("another")["op"] == "registered"


def test_coming_back_does_not_make_up_for_faults(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(deadline_ms=SHORT_MS)) as worker:
        for number in range(3):
            client = worker.client()
            assert client.register("silent")["op"] == "registered"
            worker.until_registered(1)
            worker.oom()
            client.close()
            worker.calm()
            if number < 2:
                worker.until_registered(0)
        assert worker.client().register("silent")["op"] == "refused"


def test_a_failed_one_is_asked_again_when_it_is_calm(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        (client,) = with_clients(worker, "cache")
        worker.send_oom()
        question = client.receive()
        assert question is not None
        client.send({"op": "failed", "seq": question["seq"], "error": "no\nluck\x1b[m"})
        (result,) = worker.results()
        assert result["verdict"] == r"failed: no\nluck\x1b[m"
        (again,) = worker.oom().values()
        assert again["verdict"] == "not called: at fault earlier in this storm"
        # A new connection is no new start either.
        client.close()
        worker.until_registered(0)
        client = worker.client()
        assert client.register("cache")["op"] == "registered"
        (again,) = worker.oom().values()
        assert again["verdict"] == "not called: at fault earlier in this storm"
        worker.calm()
        worker.send_oom()
        answer_one(client, 5)
        assert worker.results()[0]["claimed_bytes"] == 5


def test_one_that_vanishes_when_it_is_asked_may_come_back(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        vanishing, alive = with_clients(worker, "vanishing", "alive")
        worker.send_oom()
        assert vanishing.receive() is not None
        vanishing.close()
        answer_one(alive, 100)
        first, second = worker.results()
        assert (first["name"], first["verdict"]) == ("vanishing", "has gone away")
        assert second["claimed_bytes"] == 100
        worker.until_registered(1)
        assert worker.client().register("vanishing")["op"] == "registered"


JUNK = [
    b"\0\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b'{"op":5}',
    b'{"op":"' + b"x" * 3000 + b'"}',
    b"[" * 4000,
    b'{"op":"freed","seq":' + b"9" * 4000,
    b"x" * 5000,
    b'{"op":"freed","seq":1,"bytes":-1}',
    b'{"op":"freed","seq":1,"bytes":true}',
    b'{"op":"freed","seq":1,"bytes":"4096"}',
    b'{"op":"freed","seq":1,"bytes":1e400}',
    b'{"op":"freed","seq":1,"bytes":9223372036854775808}',
    b'{"op":"freed","seq":1,"bytes":1,"stop":"yes"}',
    b'{"op":"freed","seq":true,"bytes":1}',
    b'{"op":"freed","seq":2,"bytes":1}',
    b'{"op":"oom","seq":1,"wanted_bytes":1,"deadline_ms":1}',
    b'{"op":"\\ud800\\u001b[31m","seq":1}',
]


@pytest.mark.parametrize("junk", JUNK, ids=lambda junk: repr(junk[:40]))
def test_junk_in_place_of_an_answer_ends_it_at_once(tmp_path: Path, junk: bytes) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        bad, alive = with_clients(worker, "bad", "alive")
        worker.send_oom()
        assert bad.receive() is not None
        bad.send(junk)
        answer_one(alive, 100)
        first, second = worker.results()
        assert (first["name"], first["claimed_bytes"]) == ("bad", 0)
        assert first["verdict"].isprintable()
        assert second["claimed_bytes"] == 100
        refused = bad.receive()
        assert refused is not None and refused["op"] == "refused"
        assert bad.receive() is None
        assert worker.logged("client bad ").isprintable()
        assert worker.client().register("bad")["op"] == "refused"


def test_junk_before_it_has_registered_ends_it(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        (alive,) = with_clients(worker, "alive")
        sent = [*JUNK, b'{"op":"freed","seq":0,"bytes":0}'] * 3
        for junk in sent:
            client = worker.client()
            client.send(junk)
            refused = client.receive()
            assert refused is not None and refused["op"] == "refused", junk
            assert refused["error"].startswith("this connection has sent "), junk
            assert client.receive() is None
        worker.send_oom()
        answer_one(alive, 100)
        assert worker.results()[0]["claimed_bytes"] == 100
        # Each has its line, until there are too many of them.
        assert worker.hang_up() == 0
        lines = worker.rest_of_the_log()
        said = sum("without a name" in line for line in lines)
        assert LINES / 2 < said <= 2 * LINES < len(sent)


def test_an_empty_datagram_is_an_end(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        (client,) = with_clients(worker, "cache")
        client.send(b"")
        worker.until_registered(0)
        assert client.receive() is None


def test_a_flood_ends_at_once_and_delays_nobody(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        flooding, alive = with_clients(worker, "flooding", "alive")
        flooding.socket.setblocking(False)
        sent = 0
        try:
            while sent < 10_000:
                flooding.send(freed(sent))
                sent += 1
        except OSError:
            # Full, or cut off already.
            pass
        worker.until_registered(1)
        worker.send_oom()
        answer_one(alive, 100)
        assert [one["name"] for one in worker.results()] == ["alive"]
        assert "flooding" in worker.logged("disconnected, and may not come back")


def test_a_flood_while_others_are_asked_waits_its_turn(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        first, flooding, last = with_clients(worker, "first", "flooding", "last")
        worker.send_oom()
        asked = first.receive()
        assert asked is not None
        for seq in range(50):
            flooding.send(freed(seq + 100))
        first.send(freed(asked["seq"], 1))
        answer_one(last, 3)
        by_name = {one["name"]: one for one in worker.results()}
        assert by_name["first"]["claimed_bytes"] == 1
        assert by_name["flooding"]["claimed_bytes"] == 0
        assert by_name["last"]["claimed_bytes"] == 3


def test_one_that_never_reads_is_let_go(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(max_clients=4)) as worker:
        client = worker.client()
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        # Questions without end, and none of the answers is ever read.
        for _ in range(17):
            client.send({"op": "list"})
        worker.until(lambda listed: listed == {})
        answers = []
        while (answer := client.receive()) is not None:
            answers.append(answer)
        assert answers[-1]["error"] == "16 questions are enough for one connection"


def test_descriptors_that_come_along_are_not_kept(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        (client,) = with_clients(worker, "cache")
        before = len(os.listdir(f"/proc/{worker.pid}/fd"))
        worker.send_oom()
        question = client.receive()
        assert question is not None
        read_fd, write_fd = os.pipe()
        data = b'{"op":"freed","seq":%d,"bytes":9}' % question["seq"]
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write_fd] * 20))
        client.socket.sendmsg([data], [rights])
        os.close(write_fd)
        assert worker.results()[0]["claimed_bytes"] == 9
        # Nobody has the other end any more.
        assert os.read(read_fd, 1) == b""
        os.close(read_fd)
        assert len(os.listdir(f"/proc/{worker.pid}/fd")) == before
