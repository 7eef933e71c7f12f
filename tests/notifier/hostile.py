"""Plugins that do what plugins must not do. Loaded by real hosts, each in a process of its own."""

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from oomd.notifier import NOTIFY_STOP, OomEvent, oom_notifier

# Longer than any test: whoever is still there then was not ended by us.
EVER_S = 100_000

leaked: list[bytearray] = []


@oom_notifier("honest")
def honest(event: OomEvent, *, freed: int = 4096) -> int:
    return freed


@oom_notifier("echo")
def echo(event: OomEvent) -> int:
    """Answers with what it was told, so that a test can see it."""
    left_s = event.deadline - time.monotonic()
    assert (event.reason, event.constraint) == ("exhaustion", "CONSTRAINT_NONE")
    assert 0 < left_s <= 60
    return event.wanted_bytes


@oom_notifier("stops")
def stops(event: OomEvent) -> NOTIFY_STOP:
    return NOTIFY_STOP(8192)


@oom_notifier("hangs")
def hangs(event: OomEvent, *, report: str = "") -> int:
    """Says in a FIFO, if it is given one, that it has begun."""
    if report:
        with open(report, "w") as fifo:
            fifo.write("hanging")
    time.sleep(EVER_S)
    return 0


@oom_notifier("spins")
def spins(event: OomEvent) -> int:
    """Deaf to SIGTERM, too."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        pass


@oom_notifier("late")
def late(event: OomEvent) -> int:
    time.sleep(max(0.0, event.deadline - time.monotonic()) + 0.05)
    return 4096


@oom_notifier("exits")
def exits(event: OomEvent) -> int:
    os._exit(7)


@oom_notifier("leaves")
def leaves(event: OomEvent) -> int:
    sys.exit("I have had enough")


@oom_notifier("segfaults")
def segfaults(event: OomEvent) -> int:
    ctypes.string_at(0)
    return 0


@oom_notifier("kills-itself")
def kills_itself(event: OomEvent) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


@oom_notifier("raises")
def raises(event: OomEvent) -> int:
    raise RuntimeError("a driver's bug\nin \x1b[31mtwo lines " + "\N{PILE OF POO}" * 1000)


@oom_notifier("leaks")
def leaks(event: OomEvent) -> int:
    while True:
        leaked.append(bytearray(b"x") * (1 << 20))


@oom_notifier("forks")
def forks(event: OomEvent, *, report: str = "") -> int:
    """A child that holds everything that we hold, and does not go."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(EVER_S)
        os._exit(0)
    _report(report, pid)
    os._exit(3)


@oom_notifier("forks-and-goes-on")
def forks_and_goes_on(event: OomEvent, *, report: str = "") -> int:
    child = subprocess.Popen([sys.executable, "-c", f"import time; time.sleep({EVER_S})"])
    _report(report, child.pid)
    return 4096


@oom_notifier("closes")
def closes(event: OomEvent) -> int:
    os.closerange(0, 256)
    return 4096


@oom_notifier("moves-out")
def moves_out(event: OomEvent) -> int:
    """Leaves its process group, for its parent's."""
    os.setpgid(0, os.getpgid(os.getppid()))
    time.sleep(EVER_S)
    return 0


NONSENSE: dict[str, object] = {
    "none": None,
    "str": "4096",
    "bool": True,
    "negative": -1,
    "float": 4096.0,
    "stop-negative": NOTIFY_STOP(-5),
    "stop-str": NOTIFY_STOP("all of it"),  # type: ignore[arg-type]
    "huge": 2**63,
    "endless": 10**5000,
    "more-than-there-is": 2**62,
}


def _says(kind: str) -> Callable[..., Any]:
    @oom_notifier(f"says-{kind}")
    def release(event: OomEvent) -> Any:
        return NONSENSE[kind]

    return release


# One for each: says_none, says_str ...
for _kind in NONSENSE:
    globals()[f"says_{_kind}".replace("-", "_")] = _says(_kind)


@oom_notifier("lies")
def lies(event: OomEvent) -> int:
    return 64 << 20


@oom_notifier("babbles")
def babbles(event: OomEvent) -> int:
    """Finds the channel to the worker and talks over it by itself, for ever."""
    for fd in range(3, 64):
        try:
            os.write(fd, b'{"op":"freed","seq":99,"bytes":1}')
        except OSError:
            pass
    return 4096


@oom_notifier("talks-in-the-calm")
def talks_in_the_calm(event: OomEvent) -> int:
    threading.Timer(0.05, babbles, (event,)).start()
    return 4096


def _report(path: str, pid: int) -> None:
    with open(f"{path}.new", "w") as file:
        file.write(str(pid))
    os.rename(f"{path}.new", path)
