"""sd_notify(3): the datagrams, and that nothing about them can stop the daemon."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from oomd.sd_notify import SdNotify


@pytest.fixture(autouse=True)
def no_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["path", "abstract"])
def systemd(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[socket.socket]:
    """The socket that systemd would listen on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # Named by the kernel, so that no other test run has it.
        sock.bind(str(tmp_path / "notify") if request.param == "path" else b"")
        name = sock.getsockname()
        monkeypatch.setenv(
            "NOTIFY_SOCKET", name if isinstance(name, str) else "@" + name[1:].decode()
        )
        yield sock


@contextmanager
def opened() -> Iterator[SdNotify]:
    """The daemon never closes it; a test does."""
    notify = SdNotify()
    yield notify
    if notify._socket is not None:
        notify._socket.close()


def test_what_systemd_is_told(systemd: socket.socket) -> None:
    with opened() as notify:
        notify.ready("guarding, at 5 %")
        assert systemd.recv(4096) == b"READY=1\nSTATUS=guarding, at 5 %"
        before_us = time.monotonic_ns() // 1000
        notify.reloading()
        reloading, _, usec = systemd.recv(4096).decode().partition("\nMONOTONIC_USEC=")
        assert reloading == "RELOADING=1"
        assert before_us <= int(usec) <= time.monotonic_ns() // 1000
        notify.watchdog()
        assert systemd.recv(4096) == b"WATCHDOG=1"
        notify.send("STOPPING=1")
        assert systemd.recv(4096) == b"STOPPING=1"


def test_a_systemd_that_does_not_listen_is_not_waited_for(systemd: socket.socket) -> None:
    with opened() as notify:
        # More than any queue of datagrams holds.
        for _ in range(2000):
            notify.watchdog()
        assert systemd.recv(4096) == b"WATCHDOG=1"
        systemd.close()
        notify.watchdog()


@pytest.mark.parametrize("path", ["", "relative", "/nowhere/socket", "@nobody-is-here", "/" * 200])
def test_without_a_socket_every_call_does_nothing(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    before = set(os.listdir("/proc/self/fd"))
    notify = SdNotify()
    notify.ready("x")
    notify.reloading()
    notify.watchdog()
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("usec", "pid", "watchdog_ms"),
    [
        ("60000000", None, 60_000),
        ("60000000", "own", 60_000),
        ("60000000", "", 60_000),
        ("60000000", "1", 0),
        (None, None, 0),
        ("", None, 0),
        ("soon", None, 0),
        ("-5", None, 0),
        ("²", None, 0),
    ],
)
def test_the_watchdog_is_ours_if_it_names_us_or_nobody(
    monkeypatch: pytest.MonkeyPatch, usec: str | None, pid: str | None, watchdog_ms: int
) -> None:
    if usec is not None:
        monkeypatch.setenv("WATCHDOG_USEC", usec)
    if pid is not None:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "own" else pid)
    assert SdNotify().watchdog_ms == watchdog_ms
