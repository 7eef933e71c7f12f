"""The real process, asked over its socket."""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomd import __version__, wire
from oomd.client import ClientError
from oomd.client.protocol import NobodyThere, Refused
from oomd.control.socket import ACCEPTED
from oomd.settings import Settings
from oomd.status.ask import ask_control, read_state
from tests.daemon.sentinel import SAFE, Sentinel, argv, sentinel

pytestmark = pytest.mark.live

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "control.sock")


@pytest.fixture
def asked(config: Path, tmp_path: Path) -> Iterator[Sentinel]:
    """A daemon that guards, with a folder of its own."""
    with sentinel(argv(config), tmp_path, env={"RUNTIME_DIRECTORY": str(tmp_path)}) as one:
        one.wait_for("READY=1")
        yield one


def state(path: str) -> dict[str, Any]:
    found = read_state(path, "/nowhere/notify.sock")
    assert found is not None
    return found


def test_what_it_tells(asked: Sentinel, path: str, config: Path) -> None:
    before = time.time()
    told = state(path)
    assert (told["schema"], told["running"], told["version"]) == (1, True, __version__)
    assert (told["pid"], told["state"], told["policy"]) == (asked.pid, "guarding", "el7")
    assert told["config_file"] == str(config)
    assert told["since"] <= before
    total_kib = told["memory"]["meminfo"]["mem_total_kib"]
    assert Path("/proc/meminfo").read_text().split()[:2] == ["MemTotal:", str(total_kib)]
    exhaustion, stall = told["thresholds"]
    assert (exhaustion["name"], exhaustion["crossed"]) == ("exhaustion", False)
    assert exhaustion["limit"] == min(total_kib // 1000, 16 * 1024)
    assert (stall["name"], stall["verdict"]) == ("stall", "switched off")
    assert told["memory"]["headroom_kib"] > 0
    assert told["waits"]["timer_ms"] > 0
    assert told["waits"]["for"]
    assert told["worker"] == {"running": False, "registered": 0, "faults": 0}
    assert told["notifiers"] == told["victims"] == told["decisions"] == told["notes"] == []
    counters = told["counters"]
    assert (counters["kills"], counters["decisions"], counters["errors"]) == (0, {}, 0)
    assert asked.stop() == 0
    # The socket goes with it.
    assert read_state(path) is None


def test_every_setting_is_told_but_the_workers_plan(asked: Sentinel, path: str) -> None:
    told = state(path)["settings"]
    for name, value in Settings()._asdict().items():
        if isinstance(value, tuple):
            assert list(told[name]) == [one for one in value._fields if one != "plan"]  # type: ignore[attr-defined]
        else:
            assert told[name] == value
    assert told["exhaustion"]["available_percent"] == 0.1
    assert told["log"]["kmsg"] is False


def test_a_reload_is_counted_and_a_bad_one_too(asked: Sentinel, path: str, config: Path) -> None:
    for text, words in ((SAFE, "acts when"), ("nonsense = 1", "guarding; the last reload failed")):
        config.write_text(text)
        asked.send(signal.SIGHUP)
        assert asked.wait_for("READY=1")[1].startswith(f"STATUS={words}")
    counters = state(path)["counters"]
    assert (counters["reloads"], counters["reloads_failed"]) == (1, 1)
    assert counters["errors"] == 1


# --- the pause


def test_a_pause_is_said_told_and_ended(asked: Sentinel, path: str, config: Path) -> None:
    (paused,) = ask_control(path, {"op": "pause", "seconds": 600})
    assert 0 < paused["left_ms"] <= 600_000
    assert asked.heard() == ["STATUS=paused for 10 min, nobody is killed"]
    asked.wait_for_log("oomd: paused for 10 min, as pid ")
    told = state(path)
    assert told["state"] == "paused"
    assert 0 < told["pause_left_ms"] <= 600_000
    # A reload neither ends it nor hides it.
    asked.send(signal.SIGHUP)
    assert asked.wait_for("READY=1")[1].startswith("STATUS=paused for ")
    assert state(path)["state"] == "paused"
    assert ask_control(path, {"op": "resume"}) == [{"op": "resumed", "was_paused": True}]
    (status,) = asked.heard()
    assert status.startswith("STATUS=acts when MemAvailable falls to 0.1 %")
    asked.wait_for_log("oomd: the pause was ended by pid ")
    assert state(path)["state"] == "guarding"
    assert ask_control(path, {"op": "resume"}) == [{"op": "resumed", "was_paused": False}]


def test_it_ends_by_itself_while_nothing_else_happens(asked: Sentinel, path: str) -> None:
    ask_control(path, {"op": "pause", "seconds": 1})
    assert asked.heard()[0].startswith("STATUS=paused for 1 s")
    # Nobody asks, and no timer of the guard's is as short.
    assert asked.heard()[0].startswith("STATUS=acts when ")
    asked.wait_for_log("oomd: the pause is over: guarding again\n")
    assert state(path)["state"] == "guarding"


def test_a_daemon_that_is_started_anew_guards(config: Path, tmp_path: Path, path: str) -> None:
    env = {"RUNTIME_DIRECTORY": str(tmp_path)}
    for number in ("1", "2"):
        folder = tmp_path / number
        folder.mkdir()
        with sentinel(argv(config), folder, env=env) as one:
            one.wait_for("READY=1")
            assert state(path)["state"] == "guarding"
            ask_control(path, {"op": "pause", "seconds": 3600})
            assert one.stop() == 0


@pytest.mark.parametrize("seconds", [0, -1, 86_401, 2**63, "60", 1.5, True, None])
def test_no_other_pause(asked: Sentinel, path: str, seconds: object) -> None:
    with pytest.raises(Refused):
        ask_control(path, {"op": "pause", "seconds": seconds})
    assert state(path)["state"] == "guarding"


# --- who may


def as_user(uid: int, path: str, question: wire.Message) -> tuple[str, str]:
    """What a process of this user gets: the name of its error and its words, or the answer."""
    read_fd, write_fd = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_fd)
        try:
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            result = ("", json.dumps(ask_control(path, question)[0]))
        except ClientError as error:
            result = (type(error).__name__, str(error))
        os.write(write_fd, json.dumps(result).encode())
        os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd) as pipe:
        name, words = json.load(pipe)
    os.waitpid(child, 0)
    return name, words


@as_root
def test_others_are_kept_out(config: Path, path: str, tmp_path: Path) -> None:
    config.write_text(SAFE + '[control]\ngroup = ""\n')
    with sentinel(argv(config), tmp_path, env={"RUNTIME_DIRECTORY": str(tmp_path)}) as daemon:
        daemon.wait_for("READY=1")
        for parent in (tmp_path, *tmp_path.parents[:3]):
            parent.chmod(0o755)
        name, words = as_user(NOBODY, path, {"op": "status"})
        assert name == "NotRunning"
        assert words == f"{path} may not be used by this user: see oomd's setting control.group"


@as_root
def test_the_group_may_ask_and_no_more(config: Path, path: str, tmp_path: Path) -> None:
    config.write_text(SAFE + f'[control]\ngroup = "{NOBODY}"\n')
    with sentinel(argv(config), tmp_path, env={"RUNTIME_DIRECTORY": str(tmp_path)}) as daemon:
        daemon.wait_for("READY=1")
        for parent in (tmp_path, *tmp_path.parents[:3]):
            parent.chmod(0o755)
        name, words = as_user(NOBODY, path, {"op": "status"})
        assert (name, json.loads(words)["op"]) == ("", "status_daemon")
        for question in ({"op": "pause", "seconds": 60}, {"op": "resume"}):
            assert as_user(NOBODY, path, question) == ("Refused", "only root may do that")
        assert state(path)["state"] == "guarding"
        # And a reload takes it away.
        config.write_text(SAFE + '[control]\ngroup = "no-such-group"\n')
        daemon.send(signal.SIGHUP)
        daemon.wait_for("READY=1")
        daemon.wait_for_log(f"{config}:10: control.group: there is no group no-such-group")
        assert as_user(NOBODY, path, {"op": "status"})[0] == "NotRunning"


# --- clients that mean no good


def test_a_flood_neither_wakes_it_for_ever_nor_ends_it(asked: Sentinel, path: str) -> None:
    before = state(path)["counters"]["wakeups"]
    began = time.monotonic()
    fds = len(asked.descriptors())
    stop = threading.Event()
    tried = [0] * 4

    def flood(number: int) -> None:
        held = []
        while not stop.is_set():
            one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            try:
                one.connect(path)
                one.send((b"junk", b'{"op":"status"}', b"x" * 5000, b"")[tried[number] % 4])
                held.append(one)
            except OSError:
                one.close()
            tried[number] += 1
            for old in held[:-50]:
                old.close()
            del held[:-50]
        for one in held:
            one.close()

    threads = [threading.Thread(target=flood, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    while sum(tried) < 5000:
        stop.wait(0.05)
    # In the midst of it, and its log still works.
    asked.send(signal.SIGHUP)
    assert asked.wait_for("READY=1")[1].startswith("STATUS=acts when")
    stop.set()
    for thread in threads:
        thread.join()
    told = state(path)
    elapsed_s = time.monotonic() - began
    # Each that is taken costs two turns at most; the reload and its helper cost a few.
    assert told["counters"]["wakeups"] - before <= (elapsed_s + 1) * 2 * ACCEPTED + 20
    assert len(asked.descriptors()) <= fds + 4
    assert told["counters"]["errors"] == 0
    assert asked.stop() == 0
    assert "internal error" not in asked.log


def test_without_a_folder_there_is_no_socket(running: Sentinel, path: str) -> None:
    with pytest.raises(NobodyThere):
        ask_control(path, {"op": "status"})
    assert running.stop() == 0
