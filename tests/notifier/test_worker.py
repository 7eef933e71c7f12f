"""The worker as a process: how it starts, whom it asks, how it sleeps and how it ends."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from oomd import wire
from oomd.notifier.worker import DATA_BYTES, USAGE
from tests.notifier.driven import (
    DrivenWorker,
    answer_one,
    builtin,
    children_of,
    hostile,
    plan,
    wait_gone,
)

TREE = Path(__file__).resolve().parents[2]
HURRIED = "tests.notifier.hurried_worker"


def script(folder: Path, name: str, body: str) -> str:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


# --- the chain


def test_all_three_kinds_are_asked_by_priority_and_the_plans_order(tmp_path: Path) -> None:
    release = script(tmp_path, "release", "echo 7")
    built_in = [builtin("command.low", -5, argv=[release]), builtin("command.b", argv=[release])]
    plugins = hostile("honest", "echo", "stops")
    tables = {"stops": {"priority": -1000}, "echo": {"priority": 500}}
    document = plan(builtin=built_in, plugins=plugins, options=tables)
    with DrivenWorker(tmp_path, document) as worker:
        worker.until_registered(5)
        first, mine = worker.client(), worker.client()
        assert mine.register("mine")["op"] == first.register("first", 1000)["op"] == "registered"
        order = ["first", "echo", "command.b", "honest", "mine", "command.low", "stops"]
        assert list(worker.listing()) == order
        worker.send_oom()
        for client in (first, mine):
            answer_one(client, 3)
        results = {one["name"]: one for one in worker.results()}
        assert list(results) == order
        assert [one["claimed_bytes"] for one in results.values()] == [
            3,
            1 << 30,
            7,
            4096,
            3,
            7,
            8192,
        ]


def test_one_storm_after_the_other(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(plugins=hostile("honest"))) as worker:
        worker.until_registered(1)
        for _ in range(3):
            for _ in range(3):
                assert worker.oom()["honest"]["claimed_bytes"] == 4096
            worker.calm()
        assert worker.listing()["honest"]["faults"] == 0


def test_a_balloon_is_given_back_and_counts_in_the_limit(tmp_path: Path) -> None:
    size_mib = 6
    document = plan(builtin=[builtin("balloon", 80, size_mib=size_mib)])
    with DrivenWorker(tmp_path, document) as worker:
        worker.until_registered(1)
        limits = Path(f"/proc/{worker.pid}/limits").read_text()
        assert f"{DATA_BYTES + (size_mib << 20)}" in limits
        result = worker.oom()["balloon"]
        assert result["claimed_bytes"] == size_mib << 20
        assert "VmLck:\t       0 kB" in Path(f"/proc/{worker.pid}/status").read_text()


def test_a_built_in_that_cannot_work_here_is_left_out(tmp_path: Path) -> None:
    built_in = [builtin("command.gone", argv=["/nowhere/x"]), builtin("command.bad")]
    with DrivenWorker(tmp_path, plan(builtin=built_in, plugins=hostile("honest"))) as worker:
        worker.until_registered(1)
        assert worker.logged("command.gone").endswith("; it is left out")
        assert worker.logged("command.bad").endswith("; it is left out")
        assert list(worker.oom()) == ["honest"]


def test_a_built_in_that_fails_is_named_and_the_rest_run(tmp_path: Path) -> None:
    release = script(tmp_path, "fails", "exit 3")
    built_in = [builtin("command.fails", 5, argv=[release])]
    with DrivenWorker(tmp_path, plan(builtin=built_in, plugins=hostile("honest"))) as worker:
        worker.until_registered(2)
        results = worker.oom()
        assert results["command.fails"]["verdict"] == f"failed: {release}: ended with status 3"
        assert results["honest"]["claimed_bytes"] == 4096
        assert worker.logged("command.fails: failed: ")
        again = worker.oom()
        assert again["command.fails"]["verdict"] == "not called: at fault earlier in this storm"
        assert again["honest"]["claimed_bytes"] == 4096
        for _ in range(2):
            worker.calm()
            assert worker.oom()["command.fails"]["verdict"].startswith("failed: ")
        assert "quarantined (3 faults) until oomd is reloaded" in worker.logged("quarantined")
        worker.calm()
        assert worker.oom()["command.fails"]["verdict"].startswith("not called: quarantined (3")


def test_words_of_the_sentinel_that_make_no_sense_are_passed_over(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(plugins=hostile("honest"))) as worker:
        worker.until_registered(1)
        for data in (b"\xff", b'{"op":"oom"}', b'{"op":"oom","seq":-1}', b'{"op":"later version"}'):
            worker.channel.send(data)
        assert worker.logged("the guard has sent ")
        assert worker.oom()["honest"]["claimed_bytes"] == 4096


# --- the start


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (b"", "the worker's plan is not JSON"),
        (b"[]", "the worker's plan: all of it is not an object"),
        (b'{"clients":"some"}', "the worker's plan: clients is not off, root or all"),
    ],
)
def test_a_plan_that_cannot_be_used_is_said_in_one_line(
    tmp_path: Path, document: bytes, why: str
) -> None:
    with DrivenWorker(tmp_path, document) as worker:
        assert worker.wait() == 2
        assert worker.logged("plan") == f"oomd: {why}"


@pytest.mark.parametrize("words", [[], ["--channel", "x"], ["--channel", "1", "--listen", "2"]])
def test_wrong_words_are_answered_with_the_right_ones(words: list[str]) -> None:
    command = [sys.executable, "-m", "oomd.notifier.worker", *words]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=TREE, check=False)
    assert (ran.returncode, ran.stderr) == (2, f"oomd: {USAGE}\n")


def test_hosts_are_ordinary_processes_within_their_own_limit(tmp_path: Path) -> None:
    # As little as may be configured: a plugin can still be loaded.
    with DrivenWorker(tmp_path, plan(plugins=hostile("honest"), plugin_memory_mib=16)) as worker:
        worker.until_registered(1)
        (host,) = children_of(worker.pid)
        assert Path(f"/proc/{host}/oom_score_adj").read_text() == "0\n"
        assert f"Max data size             {16 << 20}" in Path(f"/proc/{host}/limits").read_text()
        assert os.getpgid(host) == host
        # The worker's end, the plan and the door are not among what it has been given.
        open_fds = [os.readlink(fd) for fd in Path(f"/proc/{host}/fd").iterdir()]
        assert sum(one.startswith("socket:") for one in open_fds) == 1
        assert not [one for one in open_fds if "memfd" in one]


def test_a_plugin_that_is_never_imported_keeps_nobody_waiting_for_ever(tmp_path: Path) -> None:
    endless = {"source": "entry point e", "module": "tests.notifier.hostile_import", "attr": "x"}
    document = plan(plugins=[endless, *hostile("honest")])
    with DrivenWorker(tmp_path, document, module=HURRIED) as worker:
        worker.until_registered(1)
        # Its part of the chain is none.
        assert list(worker.oom()) == ["honest"]
        worker.calm()
        assert "has not registered within" in worker.logged("fault 1 of 3")
        assert worker.client().register("client")["op"] == "registered"


def test_what_the_worker_loads_is_little() -> None:
    code = "import oomd.notifier.worker, sys; print(*sys.modules)"
    command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(TREE)!r}); {code}"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    heavy = {"asyncio", "ctypes", "importlib.metadata", "inspect", "logging", "rich", "subprocess"}
    assert not heavy & set(ran.stdout.split())


# --- its sleep


def sleeps_without_end(pid: int) -> bool:
    """Whether its epoll_wait() has no timeout, once it has come to it."""
    for _ in range(10_000):
        try:
            words = Path(f"/proc/{pid}/syscall").read_text().split()
        except PermissionError:
            pytest.skip("/proc/PID/syscall may not be read here")
        # The fourth argument, an int. What runs has no arguments to show.
        if len(words) > 4 and int(words[4], 16) & 0xFFFFFFFF == 0xFFFFFFFF:
            return True
        select.select([], [], [], 0.01)
    return False


def test_in_the_calm_it_sleeps_without_end(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(plugins=hostile("honest"))) as worker:
        worker.until_registered(1)
        client = worker.client()
        assert client.register("client")["op"] == "registered"
        worker.oom(deadline_ms=100)
        worker.calm()
        assert sleeps_without_end(worker.pid)


def test_it_stays_for_a_plugin_that_is_out(tmp_path: Path) -> None:
    undecorated = [{"source": "entry point os", "module": "os", "attr": "getpid"}]
    with DrivenWorker(tmp_path, plan(plugins=undecorated)) as worker:
        assert worker.logged("is not decorated")
        assert sleeps_without_end(worker.pid)


def test_it_stays_for_a_client(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        client = worker.client()
        assert client.register("client")["op"] == "registered"
        assert sleeps_without_end(worker.pid)


# --- its end


def test_when_the_sentinel_vanishes_everything_goes(tmp_path: Path) -> None:
    release = script(tmp_path, "release", "echo 7")
    document = plan(builtin=[builtin("command.x", argv=[release])], plugins=hostile("honest"))
    with DrivenWorker(tmp_path, document) as worker:
        worker.until_registered(2)
        client = worker.client()
        assert client.register("client")["op"] == "registered"
        children = children_of(worker.pid)
        assert worker.hang_up() == 0
        assert client.receive() is None
        for pid in children:
            wait_gone(pid)


def test_when_the_sentinel_vanishes_in_the_middle_of_a_chain_too(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "begun")
    begun = os.open(tmp_path / "begun", os.O_RDONLY | os.O_NONBLOCK)
    tables = {"hangs": {"report": str(tmp_path / "begun")}}
    with DrivenWorker(tmp_path, plan(plugins=hostile("hangs"), options=tables)) as worker:
        worker.until_registered(1)
        (host,) = children_of(worker.pid)
        worker.send_oom()
        poll = select.poll()
        poll.register(begun, select.POLLIN)
        assert poll.poll(60_000)
        os.close(begun)
        assert worker.hang_up() == 0
        wait_gone(host)


def test_told_to_end_it_ends_in_order_and_not_as_one_that_nobody_needs(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(plugins=hostile("honest"))) as worker:
        worker.until_registered(1)
        children = children_of(worker.pid)
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.wait() == 1
        for pid in children:
            wait_gone(pid)


def test_when_the_sentinel_is_told_to_end_too_its_word_comes_first(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan()) as worker:
        assert worker.client().register("client")["op"] == "registered"
        os.kill(worker.pid, signal.SIGTERM)
        assert worker.hang_up() == 0


def test_when_the_worker_is_killed_its_hosts_go_with_it(tmp_path: Path) -> None:
    with DrivenWorker(tmp_path, plan(plugins=hostile("honest", "spins"))) as worker:
        worker.until_registered(2)
        children = children_of(worker.pid)
        assert len(children) == 2
        os.kill(worker.pid, signal.SIGKILL)
        assert worker.wait() == -signal.SIGKILL
        for pid in children:
            wait_gone(pid)


def test_one_that_connects_and_says_nothing_has_to_go_and_so_has_an_idle_worker(
    tmp_path: Path,
) -> None:
    with DrivenWorker(tmp_path, plan(), module=HURRIED) as worker:
        client = worker.client()
        assert client.receive() == {
            "op": "refused",
            "error": "you have connected and not registered",
        }
        assert client.receive() is None
        assert worker.wait() == wire.EXIT_IDLE
        assert worker.logged("the worker ends: nobody has registered")


def test_a_message_that_cannot_be_sent_is_said_and_is_no_end_by_itself(tmp_path: Path) -> None:
    program = script(tmp_path, "release", "echo 7")
    plan_fd = os.memfd_create("plan")
    os.write(plan_fd, json.dumps(plan(builtin=[builtin("command.a", argv=[program])])).encode())
    # Nobody is at its other end, and nobody has hung up either: ENOTCONN.
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as channel:
        fds = {"--channel": channel.fileno(), "--listen": -1, "--plan": plan_fd}
        words = [word for option, fd in fds.items() for word in (option, str(fd))]
        ran = subprocess.run(
            [sys.executable, "-m", "oomd.notifier.worker", *words],
            check=False,
            cwd=TREE,
            pass_fds=(channel.fileno(), plan_fd),
            capture_output=True,
            text=True,
            timeout=60,
        )
    os.close(plan_fd)
    assert 'the guard cannot be told: Transport endpoint is not connected; "registered"' in (
        ran.stderr
    )
    # It was not idle: something was registered.
    assert ran.returncode == 0
