"""Real programs that free memory, lie, fail, hang, flood and leave children behind."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomd.notifier.builtin.command import Command, parse_freed_bytes
from oomd.proc.root import ReadError, WritableRoot
from tests.notifier.driven import wait_gone
from tests.notifier.kernel_files import event

pytestmark = pytest.mark.live


_commands: list[Command] = []


def shell(script: str) -> Command:
    command = Command(WritableRoot(), "command.test", argv=["/bin/sh", "-c", script])
    _commands.append(command)
    return command


@pytest.fixture(autouse=True)
def nobody_is_left() -> Iterator[None]:
    """What was killed is collected: another test may count the children of this process."""
    yield
    while _commands:
        command = _commands.pop()
        while command.calm(time.monotonic()) is not None:
            time.sleep(0.01)


@pytest.mark.parametrize(
    ("output", "freed_bytes"),
    [
        (b"123", 123),
        (b"123\n", 123),
        (b"dropped the index\n 64 MiB \n\n\n", 64 << 20),
        (b"5 KiB\n", 5 << 10),
        (b"2GiB\n", 2 << 30),
        (b"7 B", 7),
        (b"7 bytes", 7),
        (b"0\n", 0),
        (b"", None),
        (b"\n\n", None),
        (b"12\nok\n", None),
        (b"-5\n", None),
        (b"1.5 MiB\n", None),
        (b"5 MB\n", None),
        (b"5 mib\n", None),
        (b"1e6\n", None),
        (b"0x10\n", None),
        (b"freed 12\n", None),
        (b"12 12\n", None),
        (b"1" * 16, None),
        ("١٢".encode(), None),
        (b"\xff\xfe\n", None),
        (b"12\x1b[0m\n", None),
    ],
)
def test_the_last_line_says_how_much(output: bytes, freed_bytes: int | None) -> None:
    assert parse_freed_bytes(output) == freed_bytes


def test_it_is_told_what_is_wanted_and_believed(tmp_path: Path) -> None:
    out = tmp_path / "environment"
    command = shell(f"env > {out}; cat; echo working; echo 4096")
    command.start()
    assert command.release(event(wanted_bytes=777, within_s=30)) == 4096
    told = dict(line.split("=", 1) for line in out.read_text().splitlines())
    assert told["OOMD_WANTED_BYTES"] == "777"
    assert 0 < int(told["OOMD_DEADLINE_MS"]) <= 30_000
    assert told["OOMD_REASON"] == "exhaustion"
    assert told["OOMD_CONSTRAINT"] == "CONSTRAINT_NONE"
    assert "HOME" not in told, "our environment is nobody's business"


def test_it_runs_in_a_group_of_its_own_and_holds_nothing_of_ours(tmp_path: Path) -> None:
    out = tmp_path / "seen"
    read_fd, write_fd = os.pipe()
    command = shell(f"ls -l /proc/$$/fd > {out}; cut -d' ' -f5 /proc/$$/stat >> {out}; echo $$")
    pid = command.release(event())
    ours = os.readlink(f"/proc/self/fd/{read_fd}")
    os.close(read_fd)
    os.close(write_fd)
    *fds, group = out.read_text().splitlines()
    assert any("/dev/null" in line for line in fds)
    assert not any(ours in line for line in fds)
    assert int(group) == pid != os.getpgid(0)


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("echo 5; exit 3", "/bin/sh: ended with status 3"),
        ("echo 5; kill -SEGV $$", "/bin/sh: was killed by signal 11"),
        ("echo done", "the last line of its output is not a number of bytes"),
        ("exec >&-", "the last line of its output is not a number of bytes"),
    ],
)
def test_what_fails_says_why(script: str, says: str) -> None:
    with pytest.raises(ReadError, match=says):
        shell(script).release(event())


def test_only_the_end_of_a_flood_is_kept() -> None:
    script = "head -c 3000000 /dev/zero | tr '\\0' 'x'; echo; echo 9 KiB"
    assert shell(script).release(event()) == 9 << 10


def ended(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        # Readable when it has ended.
        assert select.select([pidfd], [], [], 30)[0], "it lives on"
    finally:
        os.close(pidfd)


def test_one_that_hangs_is_killed_with_its_children_at_the_deadline(tmp_path: Path) -> None:
    out = tmp_path / "pids"
    out.touch()
    command = shell(f"sleep 1000 & echo $$ $! > {out}; trap '' TERM; echo 4096; wait")
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="/bin/sh was still running at its deadline"):
        command.release(event(within_s=0.5))
    assert time.monotonic() - begun < 30
    for pid in map(int, out.read_text().split()):
        ended(pid)
    # It is collected when it is calm, if not at once.
    while command.calm(time.monotonic()) is not None:
        time.sleep(0.01)
    assert command.calm(time.monotonic()) is None


def test_an_endless_flood_is_over_at_the_deadline() -> None:
    with pytest.raises(TimeoutError):
        shell("exec yes 4096").release(event(within_s=0.3))


def test_a_child_that_keeps_the_output_open_is_not_waited_for(tmp_path: Path) -> None:
    out = tmp_path / "pid"
    command = shell(f"sleep 1000 & echo $! > {out}; echo 12")
    assert command.release(event(within_s=60)) == 12
    os.kill(int(out.read_text()), signal.SIGKILL)


def test_a_deadline_that_has_passed_starts_nothing_that_lasts() -> None:
    with pytest.raises(TimeoutError):
        shell("sleep 1000; echo 12").release(event(within_s=-1))


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("nowhere", "command.test: 'nowhere' is not an absolute path"),
        ("/nowhere/at-all", "command.test: there is no program '/nowhere/at-all'"),
        ("/etc", "command.test: there is no program '/etc'"),
        ("/etc/passwd", "command.test: '/etc/passwd' is not executable"),
    ],
)
def test_a_program_that_cannot_be_run_is_named_at_the_start(program: str, says: str) -> None:
    command = Command(WritableRoot(), "command.test", argv=[program])
    with pytest.raises(OSError, match=says):
        command.start()


def test_one_that_was_removed_since_is_an_error_of_its_own(tmp_path: Path) -> None:
    program = tmp_path / "release"
    program.write_text("#!/bin/sh\necho 3\n")
    program.chmod(0o755)
    command = Command(WritableRoot(), "command.test", argv=[str(program)])
    command.start()
    assert command.release(event()) == 3
    program.unlink()
    with pytest.raises(FileNotFoundError):
        command.release(event())


# A worker whose command runs for ever; its pid comes over the fifo.
WORKER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from oomd.notifier import OomEvent
from oomd.notifier.builtin.command import Command
from oomd.proc.root import WritableRoot
script = f"echo $$ > {sys.argv[2]}; sleep 1000 & wait"
command = Command(WritableRoot(), "command.test", argv=["/bin/sh", "-c", script])
command.start()
command.release(OomEvent(1, time.monotonic() + 1000, "manual", "CONSTRAINT_NONE"))
"""


def test_what_a_killed_worker_has_left_running_is_ended_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    tree = str(Path(__file__).parents[2])
    worker = subprocess.Popen([sys.executable, "-I", "-c", WORKER, tree, str(fifo)])
    pid = int(fifo.read_text())
    # It is remembered a moment after it is started.
    kept = tmp_path / "command.test"
    while str(pid) not in kept.read_text():
        time.sleep(0.01)
    worker.kill()
    worker.wait()
    os.kill(pid, 0)
    command = shell("echo 1")
    command.start()
    wait_gone(pid)
    # And nobody is remembered when it is over.
    assert command.release(event()) == 1
    assert not kept.read_text().strip()


@pytest.mark.parametrize("line", ["{pid} 1", "{pid}", "x 1", "-1 1", "1 1", "9" * 5000])
def test_nobody_else_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    with subprocess.Popen(["/bin/sleep", "1000"], process_group=0) as stranger:
        (tmp_path / "command.test").write_text(line.format(pid=stranger.pid) + "\n")
        shell("echo 1").start()
        assert stranger.poll() is None
        stranger.terminate()
        assert stranger.wait() == -signal.SIGTERM
