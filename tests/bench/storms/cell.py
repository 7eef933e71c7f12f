"""One cell of the table: a daemon in a storm, in a machine of its own, as many times as wanted."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.storms.daemons import OURS, Daemon
from tests.bench.storms.measure import Raw, raw_result
from tests.bench.storms.scenes import Storm
from tests.vm.machine import GuestProcess, Machine

__all__ = ["Cell", "hardware"]

GUEST = Path(__file__).with_name("guest")
PROGRAMS = ("observer", "beat", "vice")
DIR = "/run/storms"
UNITS = "/run/systemd/system"
TRACING = "/sys/kernel/tracing"

# The crossing that all daemons are measured from: where earlyoom, the first of them, acts.
CROSSING_PERCENT = 10
# Below it no more for so long: over.
QUIET_S = 3
BYSTANDERS = {"database": 60, **{f"innocent{number}": 4 for number in range(1, 5)}}
"""Each a service of its own, with so many MiB."""
HEARTBEAT = f"{DIR}/beat heartbeat 4 1 /usr/bin/python3.11"
STARTED_S = 60

DISK_MIB = 200
# What a cloud's ordinary disk grants (AWS gp3's baseline). The host's own cache is no disk at all.
DISK_LIMITS = "throttling.iops-total=3000,throttling.bps-total=131072000"


def hardware(storm: Storm, folder: Path) -> Sequence[str]:
    """QEMU's arguments for the disk, if the storm takes one; its file is in ``folder``."""
    if not storm.disk:
        return ()
    disk = folder / "walked.img"
    disk.write_bytes(b"")
    os.truncate(disk, DISK_MIB << 20)
    drive = f"file={disk},format=raw,if=none,id=walked,{DISK_LIMITS}"
    return ("-drive", drive, "-device", "nvme,drive=walked,serial=walked")


def _compiled(folder: Path) -> Iterator[Path]:
    for name in PROGRAMS:
        output = folder / name
        flags = ["-std=gnu17", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Werror"]
        command = ["gcc", *flags, "-o", str(output), str(GUEST / f"{name}.c")]
        subprocess.run(command, check=True)
        yield output


def _unit(command: str, kind: str = "simple") -> str:
    service = f"[Service]\nType={kind}\nExecStart={command}\n"
    return f"[Unit]\nStartLimitIntervalSec=0\n{service}"


class Cell:
    """A booted machine with the daemon at work."""

    def __init__(self, machine: Machine, daemon: Daemon, storm: Storm) -> None:
        self.machine = machine
        self._daemon = daemon
        self._storm = storm
        self._units = [f"culprit{n}.service" for n in range(1, len(storm.commands) + 1)]
        self.kernel = machine.run(["uname", "-r"]).stdout.strip()

    # --- before the first run

    def prepare(self) -> None:
        """Once for a boot."""
        machine, storm = self.machine, self._storm
        machine.run(["mkdir", "-p", DIR])
        with tempfile.TemporaryDirectory() as folder:
            for path in _compiled(Path(folder)):
                machine.put(f"{DIR}/{path.name}", path.read_bytes(), 0o755)
        self._own_cgroup()
        for name, content in self._daemon.drop_ins:
            machine.run(["mkdir", "-p", f"{UNITS}/{Path(name).parent}"])
            machine.put(f"{UNITS}/{name}", content)
        for name, mib in BYSTANDERS.items():
            # All of it is touched once a second.
            unit = _unit(f"{DIR}/beat {name} {mib} 50", "notify")
            machine.put(f"{UNITS}/{name}.service", unit)
        machine.run(["systemctl", "daemon-reload"])
        machine.run(f"mountpoint -q {TRACING} || mount -t tracefs tracefs {TRACING}")
        event = f"{TRACING}/events/signal/signal_generate"
        machine.run(
            f"echo mono > {TRACING}/trace_clock && echo 64 > {TRACING}/buffer_size_kb && "
            f"echo 'sig==9 || sig==15' > {event}/filter && echo 1 > {event}/enable"
        )
        if storm.swap_mib:
            machine.run("modprobe zram num_devices=1")
        if self._daemon.unit:
            machine.run(["systemctl", "start", self._daemon.unit])

    def _own_cgroup(self) -> None:
        """Cgroup killers take no notice of oom_score_adj: the harness is beside their slices."""
        cgroup = "/sys/fs/cgroup/storms"
        agent = "$(systemctl show -P MainPID vm-agent)"
        self.machine.run(f"mkdir {cgroup} && echo {agent} > {cgroup}/cgroup.procs")
        omit = f"import os; os.setxattr('{cgroup}', 'user.oomd_omit', b'1')"
        self.machine.run(["python3", "-I", "-c", omit])

    # --- a run

    def _reset(self) -> None:
        """As after the boot: everybody lives, nothing is cached, swapped or left over."""
        machine, storm = self.machine, self._storm
        machine.run(["systemctl", "reset-failed"])
        machine.run(["systemctl", "start", *(f"{name}.service" for name in BYSTANDERS)])
        if self._daemon.unit:
            machine.run(["systemctl", "start", self._daemon.unit])
        if storm.swap_mib:
            zram = "/dev/zram0"
            machine.run(
                f"swapoff {zram} 2> /dev/null; echo 1 > /sys/block/zram0/reset && "
                f"echo {storm.swap_mib}M > /sys/block/zram0/disksize && "
                f"mkswap {zram} > /dev/null && swapon {zram}"
            )
        machine.run("sync; echo 3 > /proc/sys/vm/drop_caches")

    def _available_mib(self) -> int:
        text = self.machine.get("/proc/meminfo").decode()
        return next(
            int(line.split()[1]) // 1024
            for line in text.splitlines()
            if line.startswith("MemAvailable")
        )

    def _write_storm(self) -> None:
        fill = self._available_mib() - self._storm.leave_mib
        for unit, command in zip(self._units, self._storm.commands, strict=True):
            text = _unit(command.format(fill=fill))
            self.machine.put(f"{UNITS}/{unit}", text)
        if any("tmpfs" in command for command in self._storm.commands):
            self.machine.run("mountpoint -q /mnt || mount -t tmpfs -o size=100% tmpfs /mnt")
        self.machine.run(["systemctl", "daemon-reload"])

    def _start(self, command: str) -> GuestProcess:
        process = self.machine.start(command, oom_score_adj=-1000)
        process.wait_line("^ready$", STARTED_S)
        return process

    def run(self) -> Raw:
        """One storm from its beginning to its end."""
        machine, storm = self.machine, self._storm
        self._reset()
        heartbeat = self._start(HEARTBEAT)
        self._write_storm()
        kills = machine.vmstat("oom_kill")
        since = machine.journal_cursor()
        machine.run(f"echo > {TRACING}/trace")
        observer = self._start(f"{DIR}/observer {CROSSING_PERCENT} {QUIET_S} {storm.limit_s}")
        storm_ms = float(machine.get("/proc/uptime").split()[0]) * 1000
        machine.run(["systemctl", "start", "--no-block", *self._units])
        self._stand_still()
        observed = observer.wait(storm.limit_s * 10).stdout
        raw = self._raw(observed, heartbeat, storm_ms)
        raw["kernel_kills"] = machine.vmstat("oom_kill") - kills
        raw["daemon_lives"] = self._daemon_lives()
        raw["said"] = self._said(since)
        machine.run(["systemctl", "stop", *self._units], check=False)
        return raw

    def _stand_still(self) -> None:
        for stall_s in self._storm.stalls_s:
            time.sleep(3)
            self.machine.qmp("stop")
            time.sleep(stall_s)
            self.machine.qmp("cont")

    def _raw(self, observed: str, heartbeat: GuestProcess, storm_ms: float) -> Raw:
        heartbeat.kill(15)
        beaten = heartbeat.wait().stdout
        trace = self.machine.run(["cat", f"{TRACING}/trace"]).stdout
        return raw_result(observed, beaten, trace, storm_ms)

    def _daemon_lives(self) -> bool:
        unit = self._daemon.unit
        return (
            not unit
            or self.machine.run(["systemctl", "-q", "is-active", unit], check=False).returncode == 0
        )

    def _said(self, since: str) -> list[str]:
        """Why our own daemon did what it did."""
        if self._daemon.name != OURS:
            return []
        return self.machine.journal(since, unit=self._daemon.unit)
