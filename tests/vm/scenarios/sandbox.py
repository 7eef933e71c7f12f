"""Runs something in the guest under all that oomd.service forbids."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.vm.machine import Machine

__all__ = ["Released", "Sandbox"]

SCRIPT = "/run/in_guest.py"
UNIT = "sandboxed.service"
PATIENCE_S = 300.0

# What belongs to the daemon as such, and is not a rule for what it may do.
NOT_A_RULE = (
    "Exec",
    "Type",
    "NotifyAccess",
    "Restart",
    "WatchdogSec",
    "RuntimeDirectory",
    "StateDirectory",
    "SyslogIdentifier",
    "OOMScoreAdjust",
)


class Released(NamedTuple):
    """What one releaser has done."""

    started: dict[str, Any]
    released: dict[str, Any]
    calm: dict[str, Any]

    @property
    def claimed_mib(self) -> float:
        return float(self.released["claimed"]) / (1 << 20)

    def change_mib(self, name: str) -> float:
        """How a line of /proc/meminfo changed while it was called."""
        return float(self.released["change"][name]) / 1024


class Sandbox:
    """A unit with the rules of oomd.service."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        machine.put(SCRIPT, (Path(__file__).parent / "in_guest.py").read_text())
        unit = machine.run(["systemctl", "cat", "oomd.service"]).stdout
        service = unit.split("[Service]")[1].split("[Install]")[0]
        self._rules = [
            line
            for line in service.splitlines()
            if re.match(r"[A-Z]\w*=", line) and not line.startswith(NOT_A_RULE)
        ]
        assert any(line.startswith("CapabilityBoundingSet=") for line in self._rules)

    def start(self, *arguments: str, wait: bool = True, rules: Sequence[str] = ()) -> str:
        """Start the script with these arguments; the journal's cursor from before.

        ``wait``: until it has ended. ``rules``: what an admin adds to those of the unit.
        """
        quoted = " ".join(json.dumps(one.replace("%", "%%")) for one in arguments)
        lines = [
            "[Service]",
            f"Type={'oneshot' if wait else 'simple'}",
            f"ExecStart=/opt/oomd/current/bin/python -I {SCRIPT} {quoted}",
            "RuntimeDirectory=sandboxed",
            *self._rules,
            *rules,
        ]
        self.machine.put(f"/run/systemd/system/{UNIT}", "\n".join(lines) + "\n")
        self.machine.run(["systemctl", "daemon-reload"])
        cursor = self.machine.journal_cursor()
        started = self.machine.run(["systemctl", "start", UNIT], check=False, timeout_s=PATIENCE_S)
        if started.returncode != 0:
            raise AssertionError("\n".join(self.machine.journal(cursor, unit=UNIT)))
        return cursor

    def stop(self) -> None:
        """End what is still running."""
        self.machine.run(["systemctl", "stop", UNIT])

    def release(
        self,
        name: str,
        options: dict[str, Any],
        wanted_mib: int = 1024,
        rules: Sequence[str] = (),
    ) -> Released:
        """Call a releaser once, and let it calm down. AssertionError says why it failed."""
        arguments = ("release", name, json.dumps(options), str(wanted_mib))
        cursor = self.start(*arguments, rules=rules)
        said = dict(
            message.split(" ", 1)
            for message in self.machine.journal(cursor, unit=UNIT)
            if message.startswith(("started {", "released {", "calm {"))
        )
        return Released(*(json.loads(said[word]) for word in Released._fields))
