"""How fast memory can be filled, which bounds the guard's sleep: prints README's line.

    .venv/bin/python -m tests.bench.fill [--write]

The kernel fills fastest where it is asked to: MADV_POPULATE_WRITE (Linux 5.14) faults page after
page without a return to user space in between. Once by one process, once by as many as there are
processors, in pages of 4 KiB and in huge ones, of an eighth of what is available in all. The
fastest of some rounds counts: the bound has to hold for it, and memory that the host has to find
first is slower.
"""

import argparse
import mmap
import os
import re
import struct
import sys
import time
from pathlib import Path

from tests.bench.figures import README, machine, replace

ROUNDS = 8
SHARE = 8
# include/uapi/asm-generic/mman-common.h; mmap has no name for it yet.
MADV_POPULATE_WRITE = 23
GIB = 1 << 30
PAGES = {"4 KiB": mmap.MADV_NOHUGEPAGE, "huge": mmap.MADV_HUGEPAGE}


def fill(size: int, advice: int) -> float:
    """Bytes a second."""
    with mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.madvise(advice)
        begin = time.monotonic()
        memory.madvise(MADV_POPULATE_WRITE)
        return size / (time.monotonic() - begin)


def fill_by(processes: int, size: int, advice: int) -> float:
    """Bytes a second of each process, the mean, as all fill their part at the same time."""
    pids = []
    reader, writer = os.pipe()
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writer, struct.pack("d", fill(size // processes, advice)))
            finally:
                # Whatever happened: the parent sees that there is no answer.
                os._exit(0)
        pids.append(pid)
    os.close(writer)
    with open(reader, "rb") as answers:
        rates: list[float] = [rate for (rate,) in struct.iter_unpack("d", answers.read())]
    for pid in pids:
        os.waitpid(pid, 0)
    if len(rates) != processes:
        sys.exit("fill: MADV_POPULATE_WRITE failed: it takes Linux 5.14")
    return sum(rates) / processes


def line() -> str:
    """What is in README."""
    text = Path("/proc/meminfo").read_text()
    available_kib = int(re.search(r"^MemAvailable:\s+(\d+)", text, re.MULTILINE)[1])  # type: ignore[index]
    size = available_kib * 1024 // SHARE // mmap.PAGESIZE * mmap.PAGESIZE
    words = []
    for name, advice in PAGES.items():
        for processes in sorted({1, os.cpu_count() or 1}):
            rates = [fill_by(processes, size, advice) for _ in range(ROUNDS)]
            by = "one process alone" if processes == 1 else f"each of {processes}"
            words.append(f"{by} {max(rates) / GIB:.1f} GiB/s in {name} pages")
    return f"{', '.join(words)} (the fastest of {ROUNDS} rounds; {machine()}; tests/bench/fill.py)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fill", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--write", action="store_true", help="into README.md")
    options = parser.parse_args()
    text = line() + "\n"
    print(text, end="")
    if options.write:
        README.write_text(replace(README.read_text(), "fill", text))


if __name__ == "__main__":
    main()
