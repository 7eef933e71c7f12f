"""Real processes for the live tests: spawned here, ended here."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

__all__ = ["Helper", "helper"]


class Helper:
    """A Python process that speaks a line when asked to. Ends when its stdin does."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self.process = process
        self.pid = process.pid

    def _pipe(self, pipe: IO[bytes] | None) -> IO[bytes]:
        assert pipe is not None
        return pipe

    def ask(self, line: bytes = b"") -> str:
        """Send a line, wait for the answer."""
        self.tell(line)
        return self.hear()

    def tell(self, line: bytes) -> None:
        stdin = self._pipe(self.process.stdin)
        stdin.write(line + b"\n")
        stdin.flush()

    def hear(self) -> str:
        return self._pipe(self.process.stdout).readline().decode().strip()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


@contextmanager
def helper(code: str) -> Iterator[Helper]:
    """A process that runs ``code`` (``import ctypes, os, sys, threading`` is done)."""
    prelude = (
        "import ctypes, os, sys, threading\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def say(*words): print(*words, flush=True)\n"
        "def hear(): return sys.stdin.buffer.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", prelude + code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        yield Helper(process)
    finally:
        process.kill()
        process.communicate()
