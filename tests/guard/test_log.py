"""The log of the sentinel: whatever becomes of stderr, a line never makes the guard wait."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomd.log import ERR, INFO, NOTICE, WARNING, Log


@pytest.fixture(autouse=True)
def no_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


def test_a_line_is_a_line_with_our_name(pipe: tuple[int, int]) -> None:
    log = Log(pipe[1])
    log.say(NOTICE, "guarding")
    log.say(ERR, "naïve 名")
    assert os.read(pipe[0], 4096).decode() == "oomd: guarding\noomd: naïve 名\n"
    assert log.dropped == 0


def test_the_journal_gets_priorities_in_place_of_the_name(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = os.fstat(pipe[1])
    monkeypatch.setenv("JOURNAL_STREAM", f"{stream.st_dev}:{stream.st_ino}")
    log = Log(pipe[1], journal="")
    for priority in (ERR, WARNING, NOTICE, INFO):
        log.say(priority, "x")
    assert os.read(pipe[0], 4096) == b"<3>x\n<4>x\n<5>x\n<6>x\n"


def test_the_journal_is_told_over_a_socket_of_our_own(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stream = os.fstat(pipe[1])
    monkeypatch.setenv("JOURNAL_STREAM", f"{stream.st_dev}:{stream.st_ino}")
    path = str(tmp_path / "journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        log = Log(pipe[1], path)
        log.say(WARNING, "memory is short")
        assert journal.recv(4096) == (
            b"MESSAGE=memory is short\nPRIORITY=4\nSYSLOG_IDENTIFIER=oomd\n"
        )
        # It reads nothing more: lines are dropped, and nobody waits.
        while not log.dropped:
            log.say(INFO, "x" * 1000)
    # It is stopped: what is left is stderr.
    os.unlink(path)
    log.say(INFO, "y")
    assert os.read(pipe[0], 4096) == b"<6>y\n"
    log.close()


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_who_shares_stderr_cannot_make_us_wait(kind: str) -> None:
    if kind == "pipe":
        read_fd, write_fd = os.pipe()
    else:
        reading, writing = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        read_fd, write_fd = reading.detach(), writing.detach()
    log = Log(write_fd)
    os.set_blocking(write_fd, True)
    # This ends: a reader that reads nothing would otherwise hold us up for ever.
    while not log.dropped:
        log.say(INFO, "x" * 4000)
    log.close()
    os.close(read_fd)
    os.close(write_fd)


def test_a_journal_that_reads_another_stream_is_not_ours(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in a shell that was started from a service, with stderr turned elsewhere.
    for stream in ("1:2", "nonsense", ""):
        monkeypatch.setenv("JOURNAL_STREAM", stream)
        Log(pipe[1]).say(ERR, "x")
        assert os.read(pipe[0], 4096) == b"oomd: x\n"


def test_a_full_pipe_drops_lines_and_counts_them(pipe: tuple[int, int]) -> None:
    log = Log(pipe[1])
    # This ends, or the pipe would be endless.
    while not log.dropped:
        log.say(INFO, "x" * 4000)
    log.say(INFO, "more" * 1000)
    assert log.dropped == 2
    data = b""
    while len(chunk := os.read(pipe[0], 65536)) == 65536:
        data += chunk
    # Lines are dropped whole.
    assert set((data + chunk).split(b"\n")) == {b"oomd: " + b"x" * 4000, b""}
    log.say(INFO, "again")
    assert os.read(pipe[0], 4096) == b"oomd: again\n"


def test_a_reader_that_has_gone_is_no_error() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    log = Log(write_fd)
    log.say(INFO, "x")
    os.close(write_fd)
    assert log.dropped == 1


def test_a_closed_stderr_is_no_error_and_its_number_is_left_to_others(tmp_path: Path) -> None:
    read_fd, write_fd = os.pipe()
    os.close(write_fd)
    log = Log(write_fd)
    # Somebody else gets the number.
    other = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    assert other == write_fd
    log.say(INFO, "x")
    os.close(other)
    os.close(read_fd)
    assert log.dropped == 1
    assert (tmp_path / "file").read_bytes() == b""


def test_what_is_no_text_is_written_as_what_it_is(pipe: tuple[int, int]) -> None:
    Log(pipe[1]).say(INFO, "\udcff\ud800")
    assert os.read(pipe[0], 4096) == b"oomd: \\udcff\\ud800\n"


def test_a_file_is_written_as_it_is(tmp_path: Path) -> None:
    fd = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    Log(fd).say(WARNING, "x")
    assert os.get_blocking(fd)
    os.close(fd)
    assert (tmp_path / "log").read_text() == "oomd: x\n"
