"""The records that a guarded machine has kept, fetched and judged again on the host."""

import shlex
from typing import Any

from oomd.records.load import Recorded, load_record
from oomd.records.replay import replay_record
from tests.vm.machine import Machine

__all__ = ["DECISIONS", "check_all", "fetch"]

DECISIONS = "/var/lib/oomd/decisions"


def fetch(machine: Machine, entry: dict[str, Any]) -> Recorded:
    """The record of the decision that an entry of the journal tells of; the same again."""
    path = entry["OOMD_RECORD"]
    # It is written while the journal is being told.
    machine.run(f"until [ -e {shlex.quote(path)} ]; do sleep 0.1; done", timeout_s=180)
    return _judged(machine, path)


def _judged(machine: Machine, path: str) -> Recorded:
    recorded = load_record(machine.get(path))
    replayed = replay_record(recorded)
    assert not replayed.differences, f"{path}: {replayed.differences}"
    return recorded


def check_all(machine: Machine) -> list[Recorded]:
    """Every record that is there, each of them the same again."""
    # A helper may still be at it.
    machine.run(f"while ls -A {DECISIONS} 2>&1 | grep -q 'new$'; do sleep 0.1; done")
    names = machine.run(f"ls -A {DECISIONS} 2>/dev/null", check=False).stdout.split()
    assert all(name.endswith(".json") for name in names), names
    return [_judged(machine, f"{DECISIONS}/{name}") for name in names]
