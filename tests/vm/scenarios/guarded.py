"""A machine under guard, as a scenario sees it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.vm.machine import GuestProcess, Machine

__all__ = ["Guarded", "Hog"]

CONFIG = "/etc/oomd/oomd.toml.d/50-scenario.toml"
# Emulated, and with others on the same two cores: an upper bound, not an expectation.
PATIENCE_S = 180.0
LOG_KERN = 0


class Hog:
    """A hog that has said it is ready, or one that grows without end."""

    def __init__(self, process: GuestProcess, pid: int) -> None:
        self.process = process
        self.pid = pid
        """The process's id in the guest."""

    @property
    def alive(self) -> bool:
        """Nobody has killed it, and it has not ended."""
        return self.process.poll() is None

    def died_of(self) -> int:
        """Waits for its end; the signal that it died of, 0 for none."""
        return -min(self.process.wait(PATIENCE_S).returncode, 0)


class Guarded:
    """One scenario on a machine whose oomd.service runs."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._oom_kills = machine.vmstat("oom_kill")
        self._started: list[GuestProcess] = []
        self._sysctls: dict[str, str] = {}
        self.since = machine.journal_cursor()
        self.main_pid = self.show("MainPID")
        self.bystanders = [self.hog("--mib 4", name=f"bystander{n}") for n in (1, 2)]

    def show(self, name: str) -> str:
        """A property of oomd.service."""
        return self.machine.run(["systemctl", "show", "-P", name, "oomd"]).stdout.strip()

    # --- setting the scene

    def configure(self, toml: str) -> None:
        """Settings for this scenario, in force when this returns."""
        self.machine.run(["mkdir", "-p", str(Path(CONFIG).parent)])
        self.machine.put(CONFIG, toml)
        self._reload()

    def _reload(self) -> None:
        cursor = self.machine.journal_cursor()
        self.machine.run(["systemctl", "reload", "oomd"])
        self.machine.wait_journal(r"^reloaded:", since=cursor, unit="oomd.service")

    def sysctl(self, name: str, value: int) -> None:
        """Set a sysctl, until the scenario ends."""
        before = self.machine.run(["sysctl", "-n", name]).stdout.strip()
        self._sysctls.setdefault(name, before)
        self.machine.run(["sysctl", "-w", f"{name}={value}"])

    @contextmanager
    def zram_swap(self, mib: int) -> Iterator[None]:
        """Swap in compressed memory."""
        self.machine.run("modprobe zram num_devices=1")
        self.machine.run(
            f"echo {mib}M > /sys/block/zram0/disksize && mkswap /dev/zram0 && swapon /dev/zram0"
        )
        try:
            yield
        finally:
            self.machine.run("swapoff /dev/zram0; echo 1 > /sys/block/zram0/reset")

    @contextmanager
    def small_file_system(self, path: str = "/mnt") -> Iterator[None]:
        """A file system of its own, which may be frozen."""
        self.machine.run(
            f"truncate -s 32M /var/tmp/fs.img && mkfs.ext4 -qF /var/tmp/fs.img && "
            f"mount -o loop /var/tmp/fs.img {path} && udevadm settle"
        )
        try:
            yield
        finally:
            self.machine.run(f"fsfreeze -u {path} 2>/dev/null; umount -l {path}", check=False)

    def meminfo_mib(self, name: str) -> int:
        """A line of /proc/meminfo."""
        text = self.machine.get("/proc/meminfo").decode()
        found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
        assert found, f"no {name} in meminfo"
        return int(found.group(1)) // 1024

    def to_limit_mib(self, percent: float = 5.0) -> int:
        """How much may be taken until the exhaustion threshold is crossed."""
        return self.meminfo_mib("MemAvailable") - int(self.meminfo_mib("MemTotal") * percent / 100)

    def hog(
        self, arguments: str, *, name: str = "hog", oom_score_adj: int = 0, under: str = ""
    ) -> Hog:
        """Start a hog and wait until it has said "ready"."""
        command = f"{under} hog {arguments} --name {name}".strip()
        process = self.machine.start(command, oom_score_adj=oom_score_adj)
        # Before it is ready: one that never is must not stand in the next scenario's way.
        self._started.append(process)
        line = process.wait_line(r"^ready \d+$", PATIENCE_S)
        return Hog(process, int(line.split()[1]))

    def children_of(self, hog: Hog) -> list[int]:
        """The hog's children, whichever thread has made them."""
        found = self.machine.run(["pgrep", "-P", str(hog.pid)], check=False)
        return [int(pid) for pid in found.stdout.split()]

    def lives(self, pid: int) -> bool:
        """There is such a process, and it is no zombie."""
        stat = self.machine.run(["cat", f"/proc/{pid}/stat"], check=False).stdout
        return bool(stat) and stat.rsplit(")", 1)[1].split()[0] not in "ZX"

    # --- what came of it

    def wait_killed(self, pid: int | str) -> str:
        """The kernel-log line by which oomd killed ``pid``, which may be a pattern."""
        entry = self.machine.wait_journal(
            rf"Killed process {pid} ", since=self.since, kernel=True, timeout_s=PATIENCE_S
        )
        # The kernel's own words are the same. What comes through /dev/kmsg is never "kern".
        line = str(entry["MESSAGE"])
        assert entry["SYSLOG_FACILITY"] != LOG_KERN, f"the kernel's killer was first: {line}"
        return line

    def wait_said(self, pattern: str, since: str = "") -> dict[str, Any]:
        """An entry that oomd.service has written to the journal."""
        return self.machine.wait_journal(
            pattern, since=since or self.since, unit="oomd.service", timeout_s=PATIENCE_S
        )

    def said(self) -> list[str]:
        """All that oomd.service has said in this scenario."""
        return self.machine.journal(self.since, unit="oomd.service")

    def kernel_said(self) -> list[str]:
        """All that is in the kernel's log of this scenario, oomd's lines among them."""
        return self.machine.journal(self.since, kernel=True)

    def killed_pids(self) -> list[int]:
        """Whom oomd says to have killed in this scenario, by the kernel's log."""
        pattern = re.compile(r"Kill(?:ed)? process (\d+) .*(?:total-vm|sharing same memory)")
        return [int(one.group(1)) for line in self.kernel_said() if (one := pattern.search(line))]

    def check_untouched(self) -> None:
        """The kernel killed nobody, the bystanders live, and the daemon is the same one."""
        assert self.machine.vmstat("oom_kill") == self._oom_kills, "the kernel's killer was first"
        assert all(one.alive for one in self.bystanders), "a bystander died"
        assert self.show("MainPID") == self.main_pid, "the daemon was restarted"
        assert self.show("ActiveState") == "active"

    def close(self) -> None:
        """Leave the machine as it was found."""
        for process in self._started:
            process.kill()
        for process in self._started:
            process.wait(PATIENCE_S)
        for name, value in self._sysctls.items():
            self.machine.run(["sysctl", "-w", f"{name}={value}"])
        if self.machine.run(["rm", CONFIG], check=False).returncode == 0:
            self._reload()
