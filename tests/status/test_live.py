"""``oomd status --watch`` in a terminal: it draws, and leaves the terminal as it was."""

import os
import pty
import re
import select
import signal
import sys
from pathlib import Path

import pytest

from oomd.status.live import BLOCKS, PLAIN, sparkline
from tests.daemon.sentinel import Sentinel

_PATIENCE_S = 60


def test_a_sparkline() -> None:
    assert sparkline([0, 50, 100], 100) == "▁▅█"
    assert sparkline([-5, 1000], 100) == "▁█"
    assert sparkline([0, 50, 100], 100, PLAIN) == "_+#"
    assert sparkline([1, 2], 0) == "▁▁"
    assert sparkline([], 100) == ""
    assert len(BLOCKS) == len(PLAIN)


class Terminal:
    """A child in a terminal of its own."""

    def __init__(self, *words: str) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.environ |= {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "60"}
            os.environ["PYTHONUTF8"] = "1"
            code = "import sys; from oomd.cli import main; sys.exit(main(sys.argv[1:]))"
            os.execv(sys.executable, [sys.executable, "-c", code, *words])
        self.text = ""

    def _read(self) -> bool:
        assert select.select([self._fd], [], [], _PATIENCE_S)[0], f"silent after {self.text!r}"
        try:
            data = os.read(self._fd, 65536)
        except OSError:
            # EIO: the other end has gone.
            return False
        self.text += data.decode("utf-8", "replace")
        return bool(data)

    def wait_for(self, pattern: str) -> None:
        while not re.search(pattern, self.text, re.DOTALL):
            assert self._read(), f"ended after {self.text!r}"

    def press(self, key: bytes) -> None:
        os.write(self._fd, key)

    def end(self) -> int:
        while self._read():
            pass
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.mark.live
@pytest.mark.parametrize("how", ["ctrl-c", "sigterm"])
def test_it_is_redrawn_until_it_is_told_to_stop(asked: Sentinel, tmp_path: Path, how: str) -> None:
    terminal = Terminal("status", "--watch", "--socket", str(tmp_path / "control.sock"))
    # The alternate screen, and at least two pictures in it.
    terminal.wait_for(r"\x1b\[\?1049h.*guarding.*The next candidates.*The next candidates")
    assert f"pid {asked.pid}" in terminal.text
    if how == "ctrl-c":
        terminal.press(b"\x03")
    else:
        os.kill(terminal.pid, signal.SIGTERM)
    assert terminal.end() == 0
    # Back, with a cursor.
    assert terminal.text.rindex("\x1b[?1049l") > terminal.text.rindex("\x1b[?1049h")
    assert terminal.text.rindex("\x1b[?25h") > terminal.text.rindex("\x1b[?25l")
    assert "Traceback" not in terminal.text


@pytest.mark.live
def test_it_says_that_the_daemon_has_gone(asked: Sentinel, tmp_path: Path) -> None:
    terminal = Terminal("status", "--watch", "--socket", str(tmp_path / "control.sock"))
    terminal.wait_for("guarding")
    assert asked.stop() == 0
    terminal.wait_for("oomd is not running: systemctl start oomd")
    terminal.press(b"\x03")
    assert terminal.end() == 0
