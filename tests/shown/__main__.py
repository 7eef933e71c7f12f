"""A newcomer's first minutes with oomd, in a virtual machine: recorded, and as pictures.

    .venv/bin/python -m tests.shown [--write]

Root, QEMU, the Debian package of this tree on a plain Debian: each command of README's "First
minutes" is run as it stands there, on a terminal, and memory is really used up. Prints what the
terminal shows while it happens; --write puts recording and pictures into packaging/shown.
"""

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.packaging.debs import TREE, built_deb
from tests.shown.terminal import COLUMNS, IDLE_S, Event, asciicast, picture
from tests.vm.image import build_image
from tests.vm.machine import Machine

SHOWN = TREE / "packaging/shown"
ROWS = 40
PATIENCE_S = 300.0
TYPED_S = 0.03
PROMPT = "\x1b[1m#\x1b[0m "
ENVIRONMENT = "TERM=xterm-256color LANG=C.UTF-8 HOME=/root SYSTEMD_URLIFY=0"


class Act(NamedTuple):
    """A command, and the picture that is made of it."""

    command: str
    name: str = ""
    behind: str = ""
    """Runs meanwhile, unseen."""
    before: str = ""
    """Waited for first, unseen."""
    run: str = ""
    """In its place, where it would not end by itself."""


ACTS = (
    Act("dpkg -i oomd-kernelpolicy_*.deb"),
    Act("oomd --dry-run", "audit"),
    Act("systemctl status oomd", run="systemctl status --no-pager -n 0 oomd"),
    Act("tail /dev/zero", "saved"),
    Act(
        "oomd history",
        "history",
        before='until [ -n "$(ls /var/lib/oomd/decisions)" ]; do sleep 0.2; done; sleep 5',
    ),
    Act("oomd history --plot kill.svg"),
    Act("journalctl -u oomd -x", run="journalctl --no-pager -u oomd -x"),
    Act("oomd status", "status"),
    Act(
        "oomd status --watch",
        "watch",
        behind="hog --mib 150 --hold --name app",
        run="timeout 20 oomd status --watch",
    ),
)


class Stage:
    """The machine, and the terminal on it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._now_s = 0.0
        self.events: list[Event] = []
        self.pictures: dict[str, str] = {}

    def _show(self, text: str, after_s: float) -> None:
        self._now_s += after_s
        self.events.append(Event(self._now_s, text))
        sys.stdout.write(text)
        sys.stdout.flush()

    def play(self, act: Act) -> None:
        """Type it, run it on a terminal, show what it says."""
        if act.before:
            self._machine.run(act.before, timeout_s=PATIENCE_S)
        behind = self._machine.start(act.behind) if act.behind else None
        self._show(PROMPT, 1.0)
        for letter in act.command:
            self._show(letter, TYPED_S)
        on_terminal = f"stty cols {COLUMNS} rows {ROWS}; cd /root; {act.run or act.command}"
        quoted = shlex.quote(f"export {ENVIRONMENT}; {on_terminal}")
        began = time.monotonic()
        done = self._machine.run(
            f"script -qec {quoted} /dev/null < /dev/null", timeout_s=PATIENCE_S, check=False
        )
        took_s = time.monotonic() - began
        output = done.stdout
        self._show("\r\n", TYPED_S)
        self._show(output, min(took_s, IDLE_S))
        if act.name:
            # The last whole picture of what is drawn again and again.
            whole = output.rpartition("\x1b[?1049l")[0] or output
            self.pictures[act.name] = picture(f"{PROMPT}{act.command}\r\n{whole}", act.command)
        if behind is not None:
            behind.kill()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.shown", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--write", action="store_true", help="into packaging/shown")
    options = parser.parse_args()
    deb = built_deb()
    with (
        tempfile.TemporaryDirectory() as scratch,
        Machine(build_image(), log_dir=Path(scratch)) as machine,
    ):
        machine.put(f"/root/{deb.name}", deb.read_bytes())
        stage = Stage(machine)
        for act in ACTS:
            stage.play(act)
        plot = machine.get("/root/kill.svg")
    if options.write:
        SHOWN.mkdir(exist_ok=True)
        for name, svg in stage.pictures.items():
            (SHOWN / f"{name}.svg").write_text(svg)
        (SHOWN / "kill.svg").write_bytes(plot)
        cast = asciicast(stage.events, ROWS, "oomd: installed, and saves a machine")
        (SHOWN / "first-minutes.cast").write_text(cast)
    return 0


if __name__ == "__main__":
    sys.exit(main())
