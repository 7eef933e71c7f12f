"""What a large log costs: time and memory of ``oomd replay``.

    python3 -m tests.replay.bench_log [MIB]        1024 by default; needs as much room in /tmp

The log is what a busy machine's syslog is: other programs' lines, and now and then a report.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tests.replay.synthetic import Process, report

__all__ = ["Cost", "run_replay", "write_log"]

_CHATTER = "".join(
    f"Sep 29 08:12:{n % 60:02d} web01 {program}[{n}]: {words} {n * 7919} of user {n % 13}\n"
    for n, (program, words) in enumerate(
        (
            ("sshd", "Accepted publickey for deploy from 10.0.0.7 port 51234 ssh2: session"),
            ("nginx", 'GET /api/v1/items?limit=50 HTTP/1.1" 200 5213 "-" "curl/8.0" request'),
            ("kernel", "[75669.581768] eth0: renewed lease, link is up at 1000 Mbps, frame"),
            ("systemd", "Started Session of an ordinary kind; the unit is active (running), job"),
        )
        * 2500
    )
).encode()


class Cost(NamedTuple):
    """Of one run."""

    seconds: float
    processor_seconds: float
    """Of the machine's own load apart."""
    peak_kib: int
    last_line: str
    status: int


def _report() -> bytes:
    processes = [Process(1000 + n, 50 * n, f"worker{n}") for n in range(300)]
    lines = report("5.10", processes, 1299)
    return "".join(
        f"Sep 29 08:12:34 web01 kernel: [75669.581768] {line}\n" for line in lines
    ).encode()


def write_log(log: BinaryIO, mib: int) -> int:
    """Write about so much; how many reports are in it."""
    one, written, count = _report(), 0, 0
    while written < mib << 20:
        if count * (8 << 20) <= written:
            log.write(one)
            written += len(one)
            count += 1
        log.write(_CHATTER)
        written += len(_CHATTER)
    log.flush()
    return count


# The process tells its own peak: what wait4(2) says of it has its parent's in it, from before exec.
_RUN = """
import sys
from oomd.cli import main
status = main(["replay", "-"])
with open("/proc/self/status") as file:
    print(next(line for line in file if line.startswith("VmHWM")).split()[1], file=sys.stderr)
sys.exit(status)
"""


def run_replay(log: BinaryIO) -> Cost:
    """Replay what ``log`` holds, from standard input."""
    log.seek(0)
    began = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-c", _RUN],
        stdin=log,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        last = ""
        for line in process.stdout:
            last = line.strip() or last
        peak_kib = int(process.stderr.read())
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - began
    return Cost(seconds, usage.ru_utime + usage.ru_stime, peak_kib, last, process.returncode)


def main() -> int:
    mib = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    with tempfile.TemporaryFile(dir=Path(tempfile.gettempdir())) as log:
        count = write_log(log, mib)
        cost = run_replay(log)
    print(
        f"{mib} MiB, {count} reports: {cost.seconds:.1f} s ({cost.processor_seconds:.1f} s of "
        f"processor time), peak RSS {cost.peak_kib} KiB"
    )
    print(cost.last_line)
    return cost.status


if __name__ == "__main__":
    sys.exit(main())
