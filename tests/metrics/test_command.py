"""``oomd metrics``: printed, written and served."""

import http.client
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from oomd.cli import main
from oomd.cli_words import UsageError
from oomd.client import ClientError
from oomd.metrics.families import Collector
from oomd.metrics.serve import Cached, server
from oomd.status.ask import State
from tests.daemon.sentinel import Sentinel
from tests.metrics.test_families import parsed, state
from tests.status.conftest import Run, asked, config, run

__all__ = ["asked", "config", "run"]

TREE = Path(__file__).parents[2]


def names(text: str) -> set[str]:
    return {family.name for family in parsed(text)}


@pytest.mark.live
def test_printed(asked: Sentinel, run: Run) -> None:
    status, out, err = run("metrics")
    assert (status, err) == (0, "")
    assert "\noomd_up 1.0\n" in out
    assert "oomd_killed_processes" in names(out)


def test_where_none_runs(run: Run) -> None:
    status, out, err = run("metrics")
    assert (status, err) == (0, "")
    assert out.endswith("\noomd_up 0.0\n")


def test_a_file_is_there_whole(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "oomd.prom"
    file.write_text("before")
    held = file.open()
    assert run("metrics", "--textfile", str(file)) == (0, "", "")
    assert "oomd_up 0.0\n" in file.read_text()
    # Another one in its place: who reads the one from before has all of it.
    with held:
        assert held.read() == "before"
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert sorted(os.listdir(tmp_path)) == ["oomd.prom"]


@pytest.mark.parametrize("name", ["x.txt", "nowhere/x.prom"])
def test_no_file(run: Run, tmp_path: Path, name: str) -> None:
    status, out, err = run("metrics", "--textfile", str(tmp_path / name))
    assert (status, out) == (2, "")
    assert err.startswith("oomd: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "where",
    [
        "0.0.0.0:9962",
        "192.0.2.1:9962",
        "127.0.0.1",
        "127.0.0.1:x",
        "127.0.0.1:65536",
        "[::]:1",
        ":1",
    ]
    + ["localhost:9962", "unix:", "unix:/nowhere/x", "unix:" + "x" * 200],
)
def test_nowhere_else(run: Run, where: str) -> None:
    status, out, err = run("metrics", "--listen", where)
    assert (status, out) == (2, "")
    assert err.startswith("oomd: --listen ")
    assert err.count("\n") == 1


def test_without_the_library_it_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "from oomd.cli import main; sys.exit(main(['metrics']))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=TREE, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "oomd: oomd metrics needs the Python module prometheus_client: install "
        "python3-prometheus-client, or pip install 'oomd-kernelpolicy[metrics]'\n"
    )


# --- served


class Daemon:
    """Stands for one: told to fail, it fails."""

    def __init__(self) -> None:
        self.asked = 0
        self.fail = ""

    def __call__(self) -> State | None:
        self.asked += 1
        if self.fail:
            raise ClientError(self.fail)
        return state()


@contextmanager
def serving(where: str, daemon: Daemon) -> Iterator[tuple[str, int] | str]:
    registry = CollectorRegistry()
    registry.register(Collector(Cached(daemon)))
    with server(where, registry) as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield one.server_address  # type: ignore[misc]
        finally:
            one.shutdown()
            thread.join()


def get(address: tuple[str, int] | str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("localhost", timeout=60)
    if isinstance(address, str):
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(address)
    else:
        connection.sock = socket.create_connection(address[:2])
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.parametrize("where", ["127.0.0.1:0", "[::1]:0", "unix:"])
def test_served(tmp_path: Path, where: str) -> None:
    if where == "unix:":
        where += str(tmp_path / "metrics.sock")
    elif "::1" in where and not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("no IPv6 here")
    daemon = Daemon()
    with serving(where, daemon) as address:
        status, text = get(address)
        assert status == 200
        assert "oomd_up" in names(text)
        if isinstance(address, str):
            assert stat.S_IMODE(os.stat(address).st_mode) == 0o660
        # Nobody is asked when it starts, and twice at once is once.
        assert daemon.asked == 1
        for _ in range(20):
            assert get(address)[0] == 200
        assert daemon.asked < 20


def test_a_daemon_that_does_not_answer_costs_that_scrape(capfd: pytest.CaptureFixture[str]) -> None:
    daemon = Daemon()
    daemon.fail = "it does not\nanswer"
    with serving("127.0.0.1:0", daemon) as address:
        assert get(address) == (503, "it does not\\nanswer\n")
        daemon.fail = ""
        assert get(address)[0] == 200
    assert capfd.readouterr().err == "oomd: metrics: it does not\\nanswer\n"


def test_one_who_says_nothing_holds_nobody_up() -> None:
    with serving("127.0.0.1:0", Daemon()) as address:
        assert not isinstance(address, str)
        silent = [socket.create_connection(address[:2]) for _ in range(20)]
        try:
            assert get(address)[0] == 200
        finally:
            for one in silent:
                one.close()


def test_one_that_was_left_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    path = str(tmp_path / "metrics.sock")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(path)
    with serving(f"unix:{path}", Daemon()) as address:
        assert get(address)[0] == 200
        with pytest.raises(UsageError, match="another program listens there"):
            server(f"unix:{path}", CollectorRegistry())
        assert get(address)[0] == 200


def test_the_help_is_there_without_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["metrics", "--help"])
    assert "--textfile" in capsys.readouterr().out
