"""The real process: what it tells systemd, what it says, and how it ends."""

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from oomd import __version__
from tests.daemon.sentinel import ALONE, TREE, Sentinel, argv, sentinel

pytestmark = pytest.mark.live

WORDS = (
    "acts when MemAvailable falls to 0.1 % (at most 16 MiB) and free swap, if there is any, to 10 %"
)
# Generous: the interpreter alone takes some 8 MB of it.
CEILING_KIB = 24 * 1024


def test_it_tells_systemd_what_it_is_about(config: Path, tmp_path: Path) -> None:
    with sentinel(argv(config), tmp_path) as daemon:
        assert daemon.heard() == ["READY=1", f"STATUS={WORDS}"]
        daemon.send(signal.SIGTERM)
        assert daemon.heard() == ["STOPPING=1"]
        assert daemon.process.wait() == 0


def test_what_it_says_when_it_starts_and_stops(running: Sentinel) -> None:
    assert running.stop() == 0
    lines = running.log.splitlines()
    assert all(line.startswith("oomd: ") for line in lines)
    said = [line.removeprefix("oomd: ") for line in lines]
    kernel = os.uname().release
    assert f"oomd {__version__}, policy el7, kernel {kernel}" in said
    assert WORDS in said
    for beginning in (
        "vm.panic_on_oom is ",
        "if nothing is killable: oomd kills nobody",
        "oom_score_adj ",
        "open files: ",
        "memory is ",
        "rehearsed: ",
        "garbage collector off",
    ):
        assert [line for line in said if line.startswith(beginning)], beginning
    assert said[-2:] == ["guarding", "stopped"]
    assert not [line for line in said if "rror" in line]


def test_how_it_waits_is_said_as_this_kernel_allows(running: Sentinel) -> None:
    running.stop()
    pressure = os.path.exists("/proc/pressure/memory")
    assert ("PSI tripwire: some 70 ms in 500 ms" in running.log) == pressure
    assert ("no pressure stall information" in running.log) != pressure


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_when_told_to(running: Sentinel, signum: signal.Signals) -> None:
    assert running.stop(signum) == 0


def test_the_watchdog_is_fed_while_nothing_happens(config: Path, tmp_path: Path) -> None:
    with sentinel(argv(config), tmp_path, env={"WATCHDOG_USEC": "300000"}) as daemon:
        daemon.wait_for("READY=1")
        assert [daemon.heard() for _ in range(4)] == [["WATCHDOG=1"]] * 4
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    "env", [{}, {"WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}], ids=["none", "another's"]
)
def test_a_watchdog_that_is_not_ours_is_not_fed(
    config: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    with sentinel(argv(config), tmp_path, env=env) as daemon:
        assert daemon.heard()[0] == "READY=1"
        daemon.send(signal.SIGHUP)
        # A round of its loop or two.
        assert daemon.heard()[0] == "RELOADING=1"
        assert daemon.heard()[0] == "READY=1"
        daemon.send(signal.SIGTERM)
        assert daemon.heard() == ["STOPPING=1"]


def test_without_systemd_it_guards_all_the_same(config: Path, tmp_path: Path) -> None:
    with sentinel(argv(config), tmp_path, env={"NOTIFY_SOCKET": ""}) as daemon:
        daemon.wait_for_log("oomd: guarding\n")
        daemon.send(signal.SIGTERM)
        daemon.wait_for_log("oomd: stopped\n")
        assert daemon.process.wait() == 0


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_are_no_hindrance(config: Path, tmp_path: Path, closed: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *argv(config)]
    with sentinel(command, tmp_path) as daemon:
        assert daemon.heard()[0] == "READY=1"
        daemon.send(signal.SIGHUP)
        assert daemon.heard()[0] == "RELOADING=1"
        # With the settings of the file, not with those from before.
        assert daemon.heard() == ["READY=1", f"STATUS={WORDS}"]
        assert daemon.stop() == 0
        assert daemon.log == ""


def test_a_log_that_nobody_reads_does_not_hold_it_up(config: Path, tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    fcntl.fcntl(write_fd, fcntl.F_SETPIPE_SZ, 4096)
    room = os.write(write_fd, b"x" * 4096)
    assert room == 4096
    with sentinel(argv(config), tmp_path, stderr=write_fd) as daemon:
        os.close(write_fd)
        daemon.wait_for("READY=1")
        config.write_text("nonsense = 1")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("RELOADING=1")
        # The helper has nowhere to say its line either.
        assert daemon.heard() == ["READY=1", "STATUS=guarding; the last reload failed, see the log"]
        assert daemon.stop() == 0
    assert os.read(read_fd, 8192) == b"x" * 4096
    os.close(read_fd)


def test_a_log_that_lost_its_reader_does_not_end_it(config: Path, tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    with sentinel(argv(config), tmp_path, stderr=write_fd) as daemon:
        os.close(write_fd)
        daemon.wait_for("READY=1")
        assert daemon.stop() == 0


def test_a_systemd_that_has_gone_does_not_end_it(config: Path, tmp_path: Path) -> None:
    with sentinel(argv(config), tmp_path) as daemon:
        daemon.wait_for("READY=1")
        daemon.wait_for_log("oomd: guarding\n")
        (tmp_path / "notify").unlink()
        daemon._systemd.close()
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("oomd: reloaded: ")
        daemon.send(signal.SIGTERM)
        daemon.wait_for_log("oomd: stopped\n")
        assert daemon.process.wait() == 0


def test_the_command_line_becomes_it(config: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "oomd", "--config", str(config), "--container"]
    env = {"PYTHONPATH": str(TREE)}
    with sentinel(command, tmp_path, env=env) as daemon:
        assert daemon.heard() == ["READY=1", f"STATUS={WORDS}"]
        # In the same process, isolated and without site.
        words = Path(f"/proc/{daemon.process.pid}/cmdline").read_bytes().split(b"\0")
        assert words[1:3] == [b"-I", b"-S"]
        assert daemon.stop() == 0


@pytest.mark.parametrize(
    "args", [["--conf", "x"], ["--config"], ["surplus"], ["--config", "a", "b"]]
)
def test_an_argument_that_it_does_not_know_ends_it_at_once(config: Path, args: list[str]) -> None:
    command = [*argv(config)[:-3], *args]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert ran.returncode == 2
    assert ran.stderr.endswith(b"usage: oomd [--config FILE] [--container]\n")


def test_in_a_container_it_refuses_in_one_line(config: Path) -> None:
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = [*ALONE, *user, "--", *argv(config)[:-1]]
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert ran.returncode == 3
    assert ran.stderr.count(b"\n") == 1
    assert b"only the processes of this container can be seen" in ran.stderr
    # The audit says it and goes on.
    audit = [*ALONE, *user, "--", sys.executable, "-m", "oomd", "--dry-run", "--json"]
    ran = subprocess.run(
        audit, cwd=TREE, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert ran.returncode in (0, 1)
    assert any("only the processes" in note for note in json.loads(ran.stdout)["notes"])


def test_what_it_takes_of_memory(running: Sentinel) -> None:
    sizes = {name: running.status_kib(name) for name in ("VmRSS", "RssAnon", "VmLck")}
    print(sizes)
    assert 0 < sizes["RssAnon"] <= sizes["VmRSS"] < CEILING_KIB


def test_it_is_one_process_with_few_threads(running: Sentinel) -> None:
    pid = running.process.pid
    # One that guards, one that is parked for process_mrelease(2).
    assert len(os.listdir(f"/proc/{pid}/task")) <= 2


def test_systemd_hears_of_it_through_an_abstract_socket_too(config: Path, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(60)
        systemd.bind(b"")
        name = "@" + systemd.getsockname()[1:].decode()
        with sentinel(argv(config), tmp_path, env={"NOTIFY_SOCKET": name}) as daemon:
            assert systemd.recv(4096).startswith(b"READY=1\n")
            daemon.send(signal.SIGTERM)
            assert systemd.recv(4096) == b"STOPPING=1"
            assert daemon.process.wait() == 0
