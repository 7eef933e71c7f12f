"""Who is told of a kill: the journal's reader, the unit that was hit, the admin's programs."""

import shlex
from collections.abc import Iterator

import pytest

from oomd.message_ids import MESSAGE_IDS
from tests.vm.machine import GuestProcess
from tests.vm.scenarios.guarded import Guarded, Hog

pytestmark = pytest.mark.vm

TOLD = "/run/oomd/told"
HOOK = f"""#!/bin/sh
echo "$OOMD_EVENT ${{OOMD_VICTIM_PID:-nobody}} ${{OOMD_VICTIM_UNIT:-none}}" >> {TOLD}
"""
# Far above what kills, so that a hog needs its time from the one to the other.
HOOKS = """
[hooks]
warn = "/usr/local/sbin/told-warn"
killed = "/usr/local/sbin/told-killed"
wall = true
available_percent = 60
available_max_mib = 100000
"""
UNIT = "eater.service"
# What somebody who is logged in sees.
SCREEN = "/run/screen"
XATTRS = f"""
import os
folder = "/sys/fs/cgroup/system.slice/{UNIT}"
print(*sorted(name for name in os.listxattr(folder) if name.startswith("user.oomd_")))
"""


class Telling:
    """A guarded machine with a unit to kill in."""

    def __init__(self, guard: Guarded) -> None:
        self.guard = guard
        self._session: GuestProcess | None = None

    def run(self, command: str, *, check: bool = True) -> str:
        return self.guard.machine.run(command, check=check).stdout

    def hog_in_unit(self, arguments: str, under: str = "") -> Hog:
        run = f"systemd-run --quiet --pipe --unit={UNIT} {under}"
        return self.guard.hog(arguments, name="eater", under=run)

    def by_hand(self) -> None:
        """Decide now, as sysrq-f does."""
        self.guard.machine.run(["kill", "-USR1", self.guard.main_pid])

    def result(self) -> str:
        """What the unit ended with."""
        self.run(f"while systemctl -q is-active {UNIT}; do sleep 0.1; done")
        return self.run(f"systemctl show -P Result {UNIT}").strip()

    def log_in(self) -> None:
        """Somebody sits at a terminal, and sees what it shows."""
        command = f"sleep infinity | script -qfc 'login -f root' {SCREEN}"
        self._session = self.guard.machine.start(["sh", "-c", command])
        self.run("until who | grep -q root; do sleep 0.1; done")

    def close(self) -> None:
        if self._session is not None:
            # The session's shell reads to the end.
            self.run("pkill -HUP -x login; pkill -x -P 1 login", check=False)
            self._session.kill()
        self.run(f"systemctl kill -s KILL {UNIT}; systemctl reset-failed {UNIT}", check=False)
        self.run(f"rm -f {TOLD} /usr/local/sbin/told-*")


@pytest.fixture
def telling(guard: Guarded) -> Iterator[Telling]:
    one = Telling(guard)
    yield one
    one.close()


def test_everybody_learns_of_a_kill(telling: Telling, guard: Guarded) -> None:
    for name in ("warn", "killed"):
        guard.machine.put(f"/usr/local/sbin/told-{name}", HOOK, 0o755)
    guard.configure(HOOKS)
    telling.log_in()
    hog = telling.hog_in_unit("--forever --rate 300")
    entry = guard.wait_said(rf"^decided at \w+: kill {hog.pid} ")

    # The journal.
    assert entry["MESSAGE_ID"].replace("-", "") == MESSAGE_IDS["kill"]
    assert entry["OOMD_STEP"] == "select_bad_process"
    assert int(entry["OOMD_POINTS"]) < int(entry["OOMD_TOTALPAGES"])
    assert (entry["OOMD_VICTIM_PID"], entry["OOMD_VICTIM_UNIT"]) == (str(hog.pid), UNIT)
    settled = guard.wait_said(rf"^{hog.pid} .* came back of")
    assert int(settled["OOMD_FREED_KIB"]) > 0 and settled["OOMD_VICTIM_UNIT"] == UNIT
    explained = telling.run(f"journalctl -x --no-pager OOMD_VICTIM_PID={hog.pid}")
    assert f"Process {hog.pid} (eater) was killed to free memory" in explained
    assert f"The memory of process {hog.pid} came back" in explained

    # The unit.
    assert telling.result() == "oom-kill"
    assert "Result: oom-kill" in telling.run(f"systemctl status {UNIT}", check=False).replace(
        "result 'oom-kill'", "Result: oom-kill"
    )
    assert "decided at" in telling.run(f"journalctl --no-pager -u {UNIT}")

    # The admin's programs, in this order.
    wanted = shlex.quote(f"killed {hog.pid} {UNIT}")
    telling.run(f"until grep -qx {wanted} {TOLD}; do sleep 0.1; done")
    assert telling.run(f"cat {TOLD}").splitlines() == [
        "warn nobody none",
        f"killed {hog.pid} {UNIT}",
    ]

    # Whoever is logged in.
    for words in ("memory is getting short", f"process {hog.pid} (eater) of uid 0 was killed"):
        telling.run(f"until grep -qF {shlex.quote(words)} {SCREEN}; do sleep 0.1; done")
    guard.check_untouched()


def test_a_unit_that_goes_on_is_not_ended_by_it_later(telling: Telling, guard: Guarded) -> None:
    # An orphan of the unit's is systemd's own child: when it ends, systemd looks.
    script = f'(until [ -e {TOLD} ]; do sleep 0.2; done &); "$@" & exec sleep infinity'
    under = f"sh -c {shlex.quote(script)} sh"
    hog = telling.hog_in_unit("--mib 100 --hold", under)
    telling.by_hand()
    entry = guard.wait_said(rf"^decided at manual: kill {hog.pid} ")
    assert entry["OOMD_VICTIM_UNIT"] == UNIT
    guard.wait_said(rf"^{hog.pid} .* came back of")
    # Taken back, and only the count is left.
    script = shlex.quote(XATTRS)
    telling.run(f'until [ "$(python3 -c {script})" = user.oomd_kill ]; do sleep 0.5; done')
    telling.run(f"touch {TOLD}; while pgrep -P 1 -f 'until . -e {TOLD}'; do sleep 0.1; done")
    # A job of systemd's own, so that it has been through what came before.
    telling.run("systemd-run --quiet --wait true")
    assert telling.run(f"systemctl is-active {UNIT}").strip() == "active"
    guard.check_untouched()
