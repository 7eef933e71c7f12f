"""earlyoom and nohang as Debian packages them, deciding again and again and unable to kill.

They run as a user whom no process belongs to, without any capability: the kernel refuses every
signal that they might send. Nothing is installed.
"""

import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PACKAGES = ("earlyoom", "nohang")

# Nobody's, and not nobody's either, whose processes there may be.
UID = 65533
_HARMLESS = (
    *("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"),
    *("--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"),
)


class Rival:
    """One that is running while its time is taken, and stopped while that of others is."""

    def __init__(self, process: "subprocess.Popen[str]", decided: str) -> None:
        self._process = process
        self._decided = decided

    def _until_decided(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(self._decided):
                return
        raise RuntimeError("it has ended")

    def _used_ms(self) -> float:
        # Documentation/scheduler/sched-stats.rst: time spent on the cpu, in ns.
        text = Path(f"/proc/{self._process.pid}/schedstat").read_text()
        return int(text.split()[0]) / 1e6

    def cpu_ms(self, decisions: int) -> float:
        """Processor time of one turn of its loop, the mean of so many."""
        self._process.send_signal(signal.SIGCONT)
        # What it was stopped in, and the word of which may not have been read.
        self._until_decided()
        self._until_decided()
        begin = self._used_ms()
        for _ in range(decisions):
            self._until_decided()
        used_ms = self._used_ms() - begin
        self.rest()
        return used_ms / decisions

    def rest(self) -> None:
        """Not in the way of others."""
        self._process.send_signal(signal.SIGSTOP)


def fetch(folder: Path) -> dict[str, str]:
    """Unpacks the packages there, and names their versions."""
    versions = {}
    for package in PACKAGES:
        debs = list(folder.glob(f"{package}_*.deb"))
        if not debs:
            subprocess.run(["apt-get", "-qq", "download", package], check=True, cwd=folder)
            debs = list(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg", "-x", debs[0], folder / "root"], check=True)
        versions[package] = debs[0].name.split("_")[1].replace("%2b", "+")
    return versions


@contextmanager
def _running(command: list[str], decided: str) -> Iterator[Rival]:
    pipe, joined = subprocess.PIPE, subprocess.STDOUT
    with subprocess.Popen(command, stdout=pipe, stderr=joined, text=True, cwd="/") as process:
        try:
            rival = Rival(process, decided)
            rival.cpu_ms(1)
            yield rival
        finally:
            process.kill()


@contextmanager
def earlyoom(folder: Path) -> Iterator[Rival]:
    """With a floor above MemTotal, so that memory is always low, and in a dry run."""
    meminfo = Path("/proc/meminfo").read_text()
    total = re.search(r"MemTotal:\s+(\d+)", meminfo)
    assert total is not None
    floor_kib = int(total[1]) * 1005 // 1000
    program = str(folder / "root/usr/bin/earlyoom")
    command = [*_HARMLESS, program, "--dryrun", "-r", "0", "-M", str(floor_kib)]
    with _running(command, "dryrun, not actually") as rival:
        yield rival


@contextmanager
def nohang(folder: Path) -> Iterator[Rival]:
    """With a meminfo of its own that says that memory is low; nobody is bad enough to be killed."""
    config, made_up = folder / "nohang.conf", folder / "meminfo"
    text = (folder / "root/etc/nohang/nohang.conf").read_text()
    config.write_text(re.sub(r"(?m)^min_badness\b.*", "min_badness = 1000000000", text))
    low = re.sub(r"MemAvailable:.*", "MemAvailable: 100000 kB", Path("/proc/meminfo").read_text())
    made_up.write_text(low)
    for file in (config, made_up):
        file.chmod(0o644)
    program = folder / "root/usr/sbin/nohang"
    python = f"/usr/bin/python3 -u -W ignore {program} --monitor --config {config}"
    # In a mount namespace of its own, which ends with it.
    script = f"mount --bind {made_up} /proc/meminfo && exec {' '.join(_HARMLESS)} {python}"
    with _running(["unshare", "--mount", "sh", "-c", script], "<<=== FINISHING") as rival:
        yield rival
