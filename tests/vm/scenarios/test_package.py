"""The Debian package on a plain Debian: installed, upgraded when memory runs out, purged."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging.debs import built_deb, newer_deb
from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.scenarios.guarded import PATIENCE_S, Guarded

pytestmark = pytest.mark.vm

# Where a package may leave things. What users and dpkg itself do there is not the package's.
FOLDERS = "/etc /lib/systemd /opt /run /usr /var"
NOT_ITS_OWN = re.compile(
    r"/etc/(?:group|gshadow|passwd|shadow)-?|/usr/lib/oomd-vm/.*|/usr/local/.*|/run/(?:log|user)/.*"
    r"|/var/(?:cache|log|lib/dpkg|lib/systemd/catalog)/.*|/run/systemd/(?:units|journal|transient)/.*"
    r"|/run/udev/.*|/var/lib/systemd/deb-systemd-helper-(?:enabled|masked)"
    r"|.*/__pycache__(?:/.*)?|/var/tmp/.*|/run/credentials.*|/run/put-tree.*"
)

ROOM_MIB = 100


def names(machine: Machine) -> set[str]:
    """Every file there is."""
    found = machine.run(f"find {FOLDERS} -xdev -print", timeout_s=PATIENCE_S).stdout.splitlines()
    return {name for name in found if not NOT_ITS_OWN.fullmatch(name)}


def put(machine: Machine, deb: Path) -> list[str]:
    """Has it there; the command that installs it, without waiting for an emulated disk."""
    machine.put(f"/root/{deb.name}", deb.read_bytes())
    return ["dpkg", "--force-unsafe-io", "-i", f"/root/{deb.name}"]


def guarded_after(machine: Machine, cursor: str) -> int:
    """When the guard that was started after this was ready, in microseconds."""
    said = machine.wait_journal(
        "^guarding$", since=cursor, unit="oomd.service", timeout_s=PATIENCE_S
    )
    return int(said["__MONOTONIC_TIMESTAMP"])


def test_a_package_from_its_installation_to_its_purge(
    vm_image: Image, tmp_path: Path, figure: Callable[[str], None]
) -> None:
    with Machine(vm_image, log_dir=tmp_path / "plain") as machine:
        before = names(machine)
        cursor = machine.journal_cursor()
        machine.run(put(machine, built_deb()), timeout_s=PATIENCE_S)
        guarded_after(machine, cursor)
        guard = Guarded(machine)
        assert guard.show("UnitFileState") == "enabled"
        assert guard.show("FragmentPath") == "/lib/systemd/system/oomd.service"
        hog = guard.hog("--forever")
        guard.wait_killed(hog.pid)
        guard.check_untouched()

        upgraded(guard, figure)
        purged(guard)
        assert names(machine) - before == set()


def upgraded(guard: Guarded, figure: Callable[[str], None]) -> None:
    """A newer version comes where memory is nearly used up, and it is used up as soon as it has."""
    machine = guard.machine
    machine.put("/etc/oomd/oomd.toml.d/10-admin.toml", 'policy = "mainline"\n')
    install = put(machine, newer_deb())
    # Room for dpkg, and for a guard that starts.
    mib = guard.to_limit_mib() - ROOM_MIB
    hog = guard.hog(f"--mib {mib} --on-usr1 grow --rate 50", name="grower")
    cursor, old = machine.journal_cursor(), guard.main_pid
    dpkg = machine.start(install)
    stopped = machine.wait_journal(
        "^stopped$", since=cursor, unit="oomd.service", timeout_s=PATIENCE_S
    )
    ready_us = guarded_after(machine, cursor)
    hog.process.kill(10)
    away_ms = (ready_us - int(stopped["__MONOTONIC_TIMESTAMP"])) // 1000
    figure(f"away for {away_ms} ms in an upgrade")
    guard.wait_killed(hog.pid)
    assert hog.died_of() == 9
    assert dpkg.wait(PATIENCE_S).returncode == 0
    guard.main_pid = guard.show("MainPID")
    assert guard.main_pid != old
    guard.check_untouched()
    guard.wait_said(r"^oomd \S+\+1, policy mainline", cursor)


def purged(guard: Guarded) -> None:
    """It takes all with it: its own files, the admin's settings, and its records."""
    machine = guard.machine
    # A record for each kill, the second by the daemon that was started in between.
    machine.run("until [ $(ls /var/lib/oomd/decisions | wc -l) = 2 ]; do sleep 0.2; done")
    guard.close()
    machine.run(["dpkg", "--purge", "oomd-kernelpolicy"], timeout_s=PATIENCE_S)
    state = machine.run("systemctl is-active oomd", check=False).stdout.strip()
    assert state == "inactive"
    assert machine.run("systemctl cat oomd", check=False).returncode != 0
    assert machine.run(["pgrep", "-f", "sentinel.py"], check=False).returncode != 0
