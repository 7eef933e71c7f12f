"""The daemon as systemd runs it: a process of its own, told of by its datagrams and its log.

Its thresholds are ones that no machine crosses on which a test can still run, or it sees no
process but itself. SIGUSR1 makes it decide at once, and is never sent here.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from oomd.cli import _SENTINEL

__all__ = ["ALONE", "SAFE", "Sentinel", "argv", "sentinel"]

TREE = Path(__file__).resolve().parents[2]

# Where a decision could be made, there is no memory left to run a test in; and nothing stalls.
SAFE = """
[exhaustion]
available_percent = 0.1
available_max_mib = 16
[stall]
full_percent = 0
[log]
kmsg = false
"""

# Far beyond what any of it takes: a test that runs into it has failed.
_PATIENCE_S = 60

# A pid namespace of its own: whatever it decided, there is nobody to kill.
ALONE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def argv(config: Path) -> list[str]:
    """How the command line starts it; the tests themselves may be run in a container."""
    python = os.path.realpath(sys.executable)
    command = [python, "-I", "-S", "-c", _SENTINEL, str(TREE), "--config", str(config)]
    return [*command, "--container"]


class Sentinel:
    """A running one."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", systemd: socket.socket, alone: bool
    ) -> None:
        self.process = process
        self._systemd = systemd
        self._alone = alone
        self.log = ""
        """All that it has said on stderr, so far as it was read."""

    @property
    def pid(self) -> int:
        if not self._alone:
            return self.process.pid
        outer = self.process.pid
        return int(Path(f"/proc/{outer}/task/{outer}/children").read_text())

    def heard(self) -> list[str]:
        """The next datagram, in lines."""
        return self._systemd.recv(65536).decode().split("\n")

    def wait_for(self, line: str) -> list[str]:
        """The datagram that begins so; those before it are passed over."""
        while (heard := self.heard())[0] != line:
            pass
        return heard

    def wait_for_log(self, text: str) -> None:
        """Read stderr until this was said."""
        assert self.process.stderr is not None
        fd = self.process.stderr.fileno()
        while text not in self.log:
            assert select.select([fd], [], [], _PATIENCE_S)[0], f"not said: {text}\n{self.log}"
            chunk = os.read(fd, 65536)
            assert chunk, f"ended without saying: {text}\n{self.log}"
            self.log += chunk.decode()

    def send(self, signum: signal.Signals) -> None:
        assert signum in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
        os.kill(self.pid, signum)

    def stop(self, signum: signal.Signals = signal.SIGTERM) -> int:
        """End it politely; the exit status."""
        self.send(signum)
        self.wait_for("STOPPING=1")
        status = self.process.wait(_PATIENCE_S)
        if self.process.stderr is not None:
            self.log += self.process.stderr.read().decode()
        return status

    def descriptors(self) -> set[int]:
        """The numbers that stay open: READY=1 is said while it may still be reading a file."""
        looks = []
        for _ in range(5):
            looks.append({int(name) for name in os.listdir(f"/proc/{self.pid}/fd")})
            time.sleep(0.02)
        return set.intersection(*looks)

    def status_kib(self, name: str) -> int:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
        raise AssertionError(f"no {name}")


@contextmanager
def sentinel(
    command: Sequence[str],
    path: Path,
    *,
    env: Mapping[str, str] | None = None,
    stderr: int = subprocess.PIPE,
    alone: bool = False,
) -> Iterator[Sentinel]:
    """``command`` with a systemd that listens in ``path``; killed in the end if it is left."""
    # It would put what it was started with in the place of what a real one keeps there.
    assert not os.path.exists("/run/oomd"), "an oomd is installed here: stop and remove it first"
    if alone:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = [*ALONE, *user, "--", *command]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.settimeout(_PATIENCE_S)
        systemd.bind(str(path / "notify"))
        environment = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": str(path / "notify")}
        with subprocess.Popen(
            command,
            cwd="/",
            env={**environment, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        ) as process:
            try:
                yield Sentinel(process, systemd, alone)
            finally:
                process.kill()
