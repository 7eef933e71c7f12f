"""What a guard costs while nothing happens, beside its rivals: prints README's table.

    sudo .venv/bin/python -m tests.bench.calm [--write] [--seconds 120] [--folder DIR]

All of them run at the same time, for so long, on this machine, and none of them can harm it: the
sentinel has thresholds that this machine cannot cross, earlyoom and nohang (Debian's packages in
their default settings, unpacked and not installed) run as a user whom no process belongs to, and
with no capability but the one to lock their memory, as their services do.

Wake-ups are times that a thread has gone to sleep (/proc/PID/task/TID/status), processor time is
the scheduler's (schedstat): nothing is traced.
"""

import argparse
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.figures import README, TREE, machine, replace
from tests.bench.rivals import fetch

SECONDS = 120
STARTS = 7
# After its start, until it is as it stays.
SETTLED_S = 10

# Nobody's, and not nobody's either, whose processes there may be.
_UID = 65532
_HARMLESS: tuple[str, ...] = (
    "setpriv",
    f"--reuid={_UID}",
    f"--regid={_UID}",
    "--clear-groups",
    "--no-new-privs",
)
_HARMLESS += tuple(
    f"--{which}=-all,+ipc_lock" for which in ("inh-caps", "ambient-caps", "bounding-set")
)

PYTHON = "/usr/bin/python3"
# As the unit's launcher starts it, but from this tree.
START = (
    "import sys; sys.path.append(sys.argv.pop(1)); from oomd.daemon import main; sys.exit(main())"
)
OF_THE_UNIT = {"LC_ALL": "C", "WATCHDOG_USEC": "60000000"}
NEVER_CROSSED = (
    "[exhaustion]\navailable_percent = 0.1\navailable_max_mib = 16\n[stall]\nfull_percent = 0\n"
)
WATCHES_DEVICES = "[notifiers]\nwatch_devices = true\n"


class Used(NamedTuple):
    """What a process has used so far, all of its threads together."""

    cpu_ns: int
    wakeups: int


class Size(NamedTuple):
    """What processes hold, in kB: more than one count together."""

    rss: int
    anon: int
    once: int
    """As if nobody else had the same files mapped: the pages of a file count once."""


class Row(NamedTuple):
    """One line of the table."""

    name: str
    size: Size
    wakeups_per_s: float
    cpu_us_per_s: float


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def used(pids: list[int]) -> Used:
    """Field 1 of schedstat is ns on a processor (Documentation/scheduler/sched-stats.rst)."""
    cpu_ns = wakeups = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            cpu_ns += int((task / "schedstat").read_text().split()[0])
            found = re.search(
                r"^voluntary_ctxt_switches:\s+(\d+)", (task / "status").read_text(), re.M
            )
            wakeups += int(found[1]) if found else 0
    return Used(cpu_ns, wakeups)


def size(pids: list[int]) -> Size:
    rss = anon = 0
    files: dict[str, int] = {}
    for pid in pids:
        status = dict(
            re.findall(r"^(\w+):\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.M)
        )
        rss += int(status["VmRSS"])
        anon += int(status["RssAnon"])
        of_file: dict[str, int] = {}
        for mapping in re.split(
            r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text(), flags=re.M
        ):
            words = mapping.partition("\n")[0].split()
            figures = dict(re.findall(r"^(Rss|Anonymous):\s+(\d+) kB", mapping, re.M))
            if len(words) > 5 and figures:
                held = int(figures["Rss"]) - int(figures["Anonymous"])
                of_file[words[5]] = of_file.get(words[5], 0) + held
        for name, held in of_file.items():
            files[name] = max(files.get(name, 0), held)
    return Size(rss, anon, anon + sum(files.values()))


@contextmanager
def daemon(settings: str = "") -> Iterator[tuple[int, float]]:
    """The sentinel as the unit starts it: its pid, and the ms until READY=1."""
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
    ):
        config = Path(folder) / "oomd.toml"
        config.write_text(NEVER_CROSSED + settings)
        ready.bind(f"{folder}/notify")
        ready.settimeout(60)
        begin = time.monotonic()
        process = subprocess.Popen(
            [PYTHON, "-I", "-S", "-c", START, str(TREE), "--config", str(config)],
            env={**os.environ, **OF_THE_UNIT, "NOTIFY_SOCKET": f"{folder}/notify"},
            stderr=subprocess.DEVNULL,
        )
        try:
            while b"READY=1" not in ready.recv(4096):
                pass
            yield process.pid, (time.monotonic() - begin) * 1000
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


@contextmanager
def running(command: list[str]) -> Iterator[int]:
    dropped = subprocess.DEVNULL
    with subprocess.Popen(command, stdout=dropped, stderr=dropped, cwd="/") as process:
        try:
            yield process.pid
        finally:
            process.send_signal(signal.SIGTERM)


def rivals(folder: Path, started: ExitStack) -> Iterator[tuple[str, list[int]]]:
    versions = fetch(folder)
    root = folder / "root"
    # The packages' own arguments: /etc/default/earlyoom, nohang.service.
    commands = {
        "earlyoom": [str(root / "usr/bin/earlyoom"), "--dryrun", "-r", "3600"],
        "nohang": [
            "/usr/bin/python3",
            str(root / "usr/sbin/nohang"),
            "--monitor",
            "--config",
            str(root / "etc/nohang/nohang.conf"),
        ],
    }
    for name, command in commands.items():
        pid = started.enter_context(running([*_HARMLESS, *command]))
        yield f"{name} {versions[name]}", [pid]


def rows(folder: Path, seconds: float) -> Iterator[Row]:
    # What Python has to compile is compiled, as in a package.
    with daemon():
        pass
    with ExitStack() as started:
        guards: list[tuple[str, list[int]]] = []
        pid, _ = started.enter_context(daemon())
        guards.append(("oomd", [pid]))
        pid, _ = started.enter_context(daemon(WATCHES_DEVICES))
        with_worker = len(guards)
        guards.append(("oomd, and the worker that watches devices", [pid]))
        guards.extend(rivals(folder, started))
        time.sleep(SETTLED_S)
        guards[with_worker] = (guards[with_worker][0], [pid, *children(pid)])
        before = [used(pids) for _, pids in guards]
        begin = time.monotonic()
        time.sleep(seconds)
        after = [used(pids) for _, pids in guards]
        elapsed_s = time.monotonic() - begin
        for (name, pids), first, last in zip(guards, before, after, strict=True):
            wakeups = (last.wakeups - first.wakeups) / elapsed_s
            yield Row(name, size(pids), wakeups, (last.cpu_ns - first.cpu_ns) / 1000 / elapsed_s)


def start_ms() -> float:
    took_ms = []
    for _ in range(STARTS):
        with daemon() as (_, ready_ms):
            took_ms.append(ready_ms)
    return statistics.median(took_ms)


def shown(table: list[Row], seconds: float) -> str:
    lines = [
        "| guard | memory | of it anonymous | wake-ups a minute | processor time a second |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {row.name} | {row.size.once / 1000:.1f} MB | {row.size.anon / 1000:.1f} MB "
        f"| {row.wakeups_per_s * 60:.1f} | {row.cpu_us_per_s:.0f} µs |"
        for row in table
    ]
    start = f"oomd, start to READY=1: {start_ms():.0f} ms (median of {STARTS})"
    how = (
        f"all at once, for {seconds:.0f} s; of two processes, the pages of a file count once; "
        f"load average {os.getloadavg()[0]:.1f}"
    )
    return "\n".join(
        [*lines, "", f"{start}.", "", f"({machine()}; {how}; tests/bench/calm.py)", ""]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--write", action="store_true", help="into README.md")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--folder", type=Path, help="where the rivals' packages are kept")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        # The rivals' user reads their programs there.
        folder.chmod(0o755)
        text = shown(list(rows(folder, options.seconds)), options.seconds)
    sys.stdout.write(text)
    if options.write:
        README.write_text(replace(README.read_text(), "calm", text))


if __name__ == "__main__":
    main()
