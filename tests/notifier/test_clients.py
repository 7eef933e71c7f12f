"""Who may register at the socket, as what, and what else one may ask there."""

import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.notifier.driven import DrivenWorker, answer_one, builtin, hostile, plan, with_clients

NOBODY = 65534

# A client of another user: it says what it is told to on its command line, and prints the answers.
AS_NOBODY = """
import os, socket, sys
clients = []
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
for message in sys.argv[2:]:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    clients.append(client)
    client.connect(sys.argv[1])
    try:
        client.send(message.encode())
        answer = client.recv(65536)
    except (BrokenPipeError, ConnectionResetError):
        # Turned away before it was heard: the reason comes after the error.
        answer = client.recv(65536)
    print(answer.decode(), flush=True)
sys.stdin.read()
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def test_a_client_is_asked_and_answers(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        (client,) = with_clients(worker, "cache")
        worker.send_oom(wanted_bytes=12345)
        question = answer_one(client, 777)
        assert question["wanted_bytes"] == 12345
        assert (question["reason"], question["constraint"]) == ("exhaustion", "CONSTRAINT_NONE")
        assert 0 < question["deadline_ms"] <= 60_000
        (result,) = worker.results()
        assert (result["name"], result["claimed_bytes"]) == ("cache", 777)
        assert result["verdict"] == "claims 777 bytes"
        listed = worker.listing()["cache"]
        assert listed["source"] == f"pid {os.getpid()}, uid {os.geteuid()}"
        assert listed["last"]["claimed_bytes"] == 777


def test_what_it_was_granted_is_said(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(deadline_ms=321)) as worker:
        assert worker.client().register("cache", 7) == {
            "op": "registered",
            "api": 1,
            "name": "cache",
            "priority": 7,
            "deadline_ms": 321,
        }


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ({"name": "x", "priority": 0}, '"api" is not 1: this oomd speaks no other version'),
        ({"api": 2, "name": "x", "priority": 0}, '"api" is not 1'),
        ({"api": True, "name": "x", "priority": 0}, '"api" is not 1'),
        ({"api": 1, "priority": 0}, 'cannot register: "name" is not a string'),
        ({"api": 1, "name": "a b", "priority": 0}, 'cannot register: "name" is not a name'),
        ({"api": 1, "name": "x" * 65, "priority": 0}, 'cannot register: "name" is not a name'),
        ({"api": 1, "name": "x"}, 'cannot register: "priority" is not a whole number'),
        ({"api": 1, "name": "x", "priority": 1001}, '"priority" is not from -1000 to 1000'),
        ({"api": 1, "name": "balloon", "priority": 0}, "balloon is a built-in notifier's name"),
        ({"api": 1, "name": "command", "priority": 0}, "command is a built-in notifier's name"),
        ({"api": 1, "name": "command.x", "priority": 0}, "command.x is a built-in notifier's"),
        ({"api": 1, "name": "honest", "priority": 0}, "a notifier named honest is registered"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_whoever_cannot_register_is_told_why(
    tmp_path: Path, message: dict[str, object], why: str
) -> None:
    with DrivenWorker(tmp_path, plan(plugins=hostile("honest"))) as worker:
        client = worker.client()
        client.send({"op": "register", **message})
        refused = client.receive()
        assert refused is not None and refused["op"] == "refused"
        assert why in refused["error"]
        assert client.receive() is None


def test_twice_over_one_connection_is_once_too_often(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        (client,) = with_clients(worker, "cache")
        client.send({"op": "register", "api": 1, "name": "another", "priority": 0})
        assert worker.logged('has sent "register" unasked').endswith("fault 1 of 3")
        assert list(worker.listing()) == ["cache"]


def test_one_that_is_faster_back_than_we_have_looked_gets_its_name(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        for _ in range(20):
            client = worker.client()
            assert client.register("cache")["op"] == "registered"
            client.close()


@pytest.mark.parametrize("allowed", ["off", "root"])
@needs_root
def test_who_may_not_register_is_told_so(tmp_path: Path, allowed: str) -> None:
    with DrivenWorker(tmp_path, plan(clients=allowed)) as worker:
        outcome = "registered" if allowed == "root" else "refused"
        assert worker.client().register("mine")["op"] == outcome
        (answer,) = as_nobody(worker, register("theirs"))
        assert (
            f'uid {NOBODY} may not register: the administrator has set notifiers.clients = "'
            in (answer["error"])
        )


def register(name: str, priority: int = 0) -> dict[str, object]:
    return {"op": "register", "api": 1, "name": name, "priority": priority}


def as_nobody(worker: DrivenWorker, *messages: dict[str, object]) -> list[dict[str, Any]]:
    """The first answer to each message, each over a connection of its own, of another user."""
    with nobody(worker, *messages) as program:
        assert program.stdout is not None and program.stdin is not None
        answers = [_decoded(program.stdout.readline()) for _ in messages]
        program.stdin.close()
        return answers


def nobody(worker: DrivenWorker, *messages: dict[str, object]) -> subprocess.Popen[str]:
    worker.path.chmod(0o666)
    for folder in worker.path.parents[:3]:
        # To be gone through, and no more: other tests' files are trusted for their folders.
        folder.chmod(0o711)
    return subprocess.Popen(
        [sys.executable, "-I", "-c", AS_NOBODY, str(worker.path), *map(json.dumps, messages)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _decoded(line: str) -> dict[str, Any]:
    message = json.loads(line)
    assert isinstance(message, dict)
    return message


@needs_root
def test_of_another_users_silent_programs_one_is_waited_for_in_a_storm(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(deadline_ms=150)) as worker:
        with nobody(worker, *(register(name) for name in "abc")) as program:
            assert program.stdout is not None and program.stdin is not None
            for _ in "abc":
                assert _decoded(program.stdout.readline())["op"] == "registered"
            first = [one["verdict"] for one in worker.oom().values()]
            assert first[0].startswith("left behind: no answer within")
            late = "not called: a program of uid 65534 was left behind earlier in this storm"
            assert first[1:] == [late, late]
            assert [one["verdict"] for one in worker.oom().values()][1:] == [late, late]
            worker.calm()
            again = worker.oom()["a"]["verdict"]
            assert again.startswith("left behind: no answer within")
            program.stdin.close()


@needs_root
def test_another_users_priority_is_bounded_and_run_is_not_for_him(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(user_priority_max=3)) as worker:
        high, low, run, listed = as_nobody(
            worker,
            register("high", 1000),
            register("low", -5),
            {"op": "run", "name": "high"},
            {"op": "list"},
        )
        assert (high["priority"], low["priority"]) == (3, -5)
        assert run == {"op": "refused", "error": "only root may run a notifier"}
        assert (listed["op"], listed["name"]) == ("notifier", "high")


@needs_root
def test_a_name_that_root_needs_cannot_be_taken_in_advance(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        with nobody(worker, register("database")) as program:
            assert program.stdout is not None and program.stdin is not None
            assert _decoded(program.stdout.readline())["op"] == "registered"
            assert worker.client().register("database")["op"] == "registered"
            source = worker.listing()["database"]["source"]
            assert source == f"pid {os.getpid()}, uid 0"
            program.stdin.close()


@needs_root
def test_one_users_programs_do_not_keep_others_out(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(max_clients=8)) as worker:
        answers = as_nobody(worker, *(register(f"n{number}") for number in range(4)))
        assert [one["op"] for one in answers] == ["registered"] * 2 + ["refused"] * 2
        assert (
            answers[3]["error"] == f"2 programs of uid {NOBODY} are connected, and no more may be"
        )


def test_too_many_are_told_so_and_the_first_go_on(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(max_clients=2)) as worker:
        # Beyond max_clients root keeps some for an admin who wants to look.
        clients = with_clients(worker, *(f"c{number}" for number in range(6)))
        late = worker.client()
        refused = late.receive()
        assert refused is not None
        assert refused["error"] == "2 programs are connected, and no more may be"
        assert late.receive() is None
        worker.send_oom()
        for client in clients:
            answer_one(client, 1)
        assert len(worker.results()) == 6
        clients[0].close()
        worker.until_registered(5)
        assert worker.client().register("late")["op"] == "registered"


def test_whoever_hammers_at_the_door_delays_no_chain(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(plugins=hostile("honest"))) as worker:
        worker.until_registered(1)
        knocking = []
        # More than are let in within a second, and nobody waits for it.
        for _ in range(100):
            client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            client.setblocking(False)
            client.connect_ex(str(worker.path))
            knocking.append(client)
        assert worker.oom()["honest"]["claimed_bytes"] == 4096
        for client in knocking:
            client.close()
        assert worker.listing()["honest"]["state"] == "ready"


def test_run_calls_one_for_real_and_says_what_came_of_it(tmp_path: Path) -> None:
    script = tmp_path / "release"
    script.write_text("#!/bin/sh\necho $OOMD_REASON $OOMD_WANTED_BYTES >&2\necho 2 MiB\n")
    script.chmod(0o755)
    built_in = [builtin("command.mine", 3, argv=[str(script)])]
    with DrivenWorker(tmp_path, plan(builtin=built_in)) as worker:
        (result,) = worker.client().ask(op="run", name="command.mine", wanted_bytes=99)
        assert result["op"] == "result"
        assert (result["name"], result["priority"]) == ("command.mine", 3)
        assert (result["claimed_bytes"], result["verdict"]) == (2 << 20, "claims 2.0 MiB")
        assert worker.logged("manual 99")
        (refused,) = worker.client().ask(op="run", name="nobody")
        assert refused["error"] == "no notifier is named nobody: oomd notifiers lists them"


def test_the_sentinel_comes_before_a_run_by_hand(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "begun")
    begun = os.open(tmp_path / "begun", os.O_RDONLY | os.O_NONBLOCK)
    tables = {"hangs": {"report": str(tmp_path / "begun")}}
    plugins = hostile("hangs", "honest")
    with DrivenWorker(tmp_path, plan(plugins=plugins, options=tables)) as worker:
        worker.until_registered(2)
        admin = worker.client()
        admin.send({"op": "run", "name": "hangs"})
        poll = select.poll()
        poll.register(begun, select.POLLIN)
        assert poll.poll(60_000)
        os.close(begun)
        worker.send_oom(deadline_ms=500)
        by_name = {one["name"]: one for one in worker.results()}
        assert set(by_name) == {"hangs", "honest"}
        answer = admin.receive()
        assert answer is not None
        assert answer["verdict"] == "not called: oomd itself needed memory, and that comes first"
