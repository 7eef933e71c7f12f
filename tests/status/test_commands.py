"""``oomd status``, ``oomd pause`` and ``oomd resume``: against a daemon, and where none runs."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomd import __version__, wire
from tests.daemon.sentinel import SAFE, Sentinel
from tests.status.conftest import Run

pytestmark = pytest.mark.live

NOT_RUNNING = "oomd: oomd is not running: systemctl start oomd\n"


def test_the_text(asked: Sentinel, run: Run, config: Path) -> None:
    status, out, err = run("status")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"oomd {__version__}: guarding, since 20")
    assert lines[0].endswith(f", pid {asked.pid}, policy el7")
    assert not [line for line in lines if line != line.rstrip()]
    for title in ("Thresholds", "Settings that are not the default", "Since the start"):
        assert title in lines
    assert "exhaustion  clear  " in out
    assert f"exhaustion.available_percent  0.1 %   {config}:3" in out
    assert f"log.kmsg                      false   {config}:8" in out
    assert "note: " not in out


def test_the_json(asked: Sentinel, run: Run) -> None:
    status, out, _ = run("status", "--json")
    found = json.loads(out)
    assert (status, found["schema"], found["running"], found["pid"]) == (0, 1, True, asked.pid)
    assert found["records"].endswith("/state/decisions")


def test_files_that_have_changed_meanwhile(asked: Sentinel, run: Run, config: Path) -> None:
    config.write_text(SAFE.replace("0.1", "0.3"))
    _, out, _ = run("status")
    assert "exhaustion.available_percent  0.1 %   the files say 0.3 %" in out
    assert "note: the files have changed: systemctl reload oomd puts them into force" in out
    config.write_text("nonsense = 1\n")
    _, out, _ = run("status")
    assert f"note: the configuration would not be taken now: {config}:1: nonsense: " in out


def test_a_pause(asked: Sentinel, run: Run) -> None:
    assert run("pause", "1h30m") == (0, "paused for 5400 s; oomd resume ends it before\n", "")
    _, out, _ = run("status")
    assert out.startswith(f"oomd {__version__}: PAUSED for 1 h ")
    assert run("resume") == (0, "guarding again\n", "")
    assert run("resume") == (0, "oomd was not paused: it guards\n", "")


@pytest.mark.parametrize("words", ["", "30", "0s", "25h", "-5m", "1m1h", "1.5h", "９m", "1h 1m"])
def test_no_duration(run: Run, words: str) -> None:
    status, out, err = run("pause", words) if words else run("pause")
    assert (status, out) == (2, "")
    assert err.startswith("oomd: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["status"], ["pause", "1m"], ["resume"]], ids=" ".join)
def test_where_none_runs(run: Run, words: list[str]) -> None:
    assert run(*words) == (3, "", NOT_RUNNING)


def test_where_none_runs_as_json(run: Run) -> None:
    status, out, err = run("status", "--json")
    assert (status, json.loads(out), err) == (3, {"schema": 1, "running": False}, "")


def test_watching_takes_a_terminal(run: Run) -> None:
    status, out, err = run("status", "--watch")
    assert (status, out) == (2, "")
    assert err.startswith("oomd: --watch needs a terminal")


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[list[bytes]]:
    """Somebody else at the socket, who says these things to whoever asks."""
    says: list[bytes] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(tmp_path / "control.sock"))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                for data in says:
                    connection.send(data)

        thread = threading.Thread(target=serve)
        thread.start()
        yield says
        thread.join()


@pytest.mark.parametrize(
    "says",
    [
        [],
        [b"junk"],
        [wire.encode({"op": "end"})],
        [wire.encode({"op": "status_daemon"}), wire.encode({"op": "end"})],
        [wire.encode({"op": "status_settings", "table": 7}), wire.encode({"op": "end"})],
        [wire.encode({"op": "status_decision"}), wire.encode({"op": "end"})],
    ],
    ids=["nothing", "junk", "empty", "half", "wrong", "torn"],
)
def test_a_stranger_at_the_socket_is_one_line(
    stranger: list[bytes], says: list[bytes], run: Run
) -> None:
    stranger += says
    status, out, err = run("status")
    assert (status, out) == (2, "")
    assert err.startswith("oomd: ")
    assert err.count("\n") == 1


def test_what_it_says_reaches_the_terminal_escaped(
    stranger: list[bytes], asked_state: list[bytes], run: Run
) -> None:
    stranger += asked_state
    status, out, _ = run("status")
    assert status == 0
    assert "\x1b" not in out
    assert "killed 7 (\\x1b[31mred\\nline" in out
    assert "/20" in out


@pytest.fixture
def asked_state() -> list[bytes]:
    """All that a daemon says, with a hostile name in it."""
    hostile = "killed 7 (\x1b[31mred\nline)"
    counters = dict.fromkeys(
        (
            "kills",
            "futile_kills",
            "saved_by_notifiers",
            "kernel_kills",
            "wakeups",
            "errors",
            "records_lost",
            "lines_dropped",
            "reloads",
            "reloads_failed",
        ),
        3,
    )
    messages: list[dict[str, Any]] = [
        {
            "op": "status_daemon",
            "version": "9",
            "pid": 9,
            "since": 1.0,
            "state": "guarding",
            "pause_left_ms": 0,
            "policy": "el7",
            "config_file": None,
            "records": "/var/lib/oomd/decisions",
        },
        {"op": "status_blind", "error": "proc/meminfo: EIO"},
        {
            "op": "status_victim",
            "pid": 8,
            "comm": hostile,
            "uid": 0,
            "why": "chosen",
            "since_ms": 5,
        },
        {
            "op": "status_decision",
            "time": 1_700_000_000,
            "seq": 4,
            "verdict": "kill",
            "trigger": "exhaustion",
            "text": hostile,
            "victim_pid": 7,
            "settled": "7 (x) gone after 5 ms",
        },
        {"op": "status_counters", "decisions": {"kill": 1, "wait": 2}, **counters},
        {"op": "end"},
    ]
    return [wire.encode(one) for one in messages]
