"""The figures in README: prints them, and with --write puts them there.

    .venv/bin/python -m tests.bench.figures [--write]

Run it on a machine that does nothing else. What the daemon costs is in tests/bench/calm.py.
"""

import argparse
import datetime
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

TREE = Path(__file__).parents[2]
README = TREE / "README.md"
RUNS = 15


def machine() -> str:
    """What the figures were taken on, and when."""
    meminfo = Path("/proc/meminfo").read_text()
    total_kib = int(re.search(r"^MemTotal:\s+(\d+)", meminfo, re.MULTILINE)[1])  # type: ignore[index]
    today = datetime.date.today().isoformat()
    return (
        f"Linux {platform.release()}, {os.cpu_count()} processors, {total_kib / 2**20:.0f} GiB, "
        f"Python {platform.python_version()}, {today}"
    )


def audit(*arguments: str) -> str:
    command = [str(TREE / ".venv/bin/oomd"), "--dry-run", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout


def audit_figures() -> Iterator[str]:
    scans_us, whole_ms = [], []
    tasks = 0
    for _ in range(RUNS):
        begin = time.monotonic()
        report = audit("--json")
        whole_ms.append((time.monotonic() - begin) * 1000)
        scans_us.append(int(re.search(r'"scan_us": (\d+)', report)[1]))  # type: ignore[index]
        tasks = report.count('"starttime_ticks"')
    scan = statistics.median(scans_us)
    yield f"audit: {tasks} processes read and judged in {scan / 1000:.1f} ms (median of {RUNS})"
    yield f"audit, the whole command: {statistics.median(whole_ms):.0f} ms"


def replace(text: str, name: str, content: str) -> str:
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    head, _, rest = text.partition(begin)
    if not rest:
        sys.exit(f"figures: README.md has no {begin.strip()}")
    return head + begin + content + end + rest.partition(end)[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--write", action="store_true", help="into README.md")
    options = parser.parse_args()
    figures = audit_figures()
    shown = f"```\n{audit('--top', '5')}```\n"
    table = "".join(f"- {one}\n" for one in figures) + f"\n({machine()}; tests/bench/figures.py)\n"
    print(shown + table)
    if options.write:
        text = replace(README.read_text(), "audit", shown)
        README.write_text(replace(text, "figures", table))


if __name__ == "__main__":
    main()
