"""What reading a process costs, against the bare system calls of the same three files.

    python -m tests.bench.scan [PROCESSES]

Spawns that many sleepers (1,000 by default), ends them again, and prints microseconds per process:
the best of many short rounds, bare and ours by turns, so that both meet the machine in one mood.
"""

import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from oomd.proc.root import Root
from oomd.proc.task import parse_stat, parse_status, read_task

FILES = ("stat", "oom_score_adj", "status")
ROUNDS = 15
BATCH = 100
"""Processes per round: short enough to be left alone by the other inhabitants of the machine."""


def bare(pids: Sequence[int]) -> None:
    """open, read, close: the floor."""
    for pid in pids:
        for name in FILES:
            fd = os.open(f"/proc/{pid}/{name}", os.O_RDONLY | os.O_CLOEXEC)
            os.read(fd, 8192)
            os.close(fd)


def ours(pids: Sequence[int]) -> None:
    """The whole record."""
    root = Root()
    for pid in pids:
        read_task(root, pid, 4096)


def namespaces(pids: Sequence[int]) -> None:
    """A part of ours: asked only of those with CAP_SYS_ADMIN, as root's sleepers have."""
    root = Root()
    for pid in pids:
        root.user_ns_inode(pid)


def best_us(kinds: Sequence[Callable[[Sequence[int]], None]], pids: Sequence[int]) -> list[float]:
    """Microseconds per process of each kind: the mean over batches of each batch's best round."""
    totals = [0.0] * len(kinds)
    batches = [pids[start : start + BATCH] for start in range(0, len(pids), BATCH)]
    for batch in batches:
        best = [float("inf")] * len(kinds)
        for _ in range(ROUNDS):
            for number, kind in enumerate(kinds):
                begin = time.perf_counter_ns()
                kind(batch)
                best[number] = min(best[number], time.perf_counter_ns() - begin)
        totals = [total + each for total, each in zip(totals, best, strict=True)]
    return [total / len(pids) / 1000 for total in totals]


def parsing_us(pid: int) -> float:
    """Microseconds to parse one process's stat and status, no system call."""
    root = Root()
    stat, status = (root.read_record(f"proc/{pid}/{name}") for name in ("stat", "status"))
    best = float("inf")
    for _ in range(2000):
        begin = time.perf_counter_ns()
        for _ in range(20):
            parse_stat(stat)
            parse_status(status)
        best = min(best, (time.perf_counter_ns() - begin) / 20)
    return best / 1000


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    sleepers = [subprocess.Popen(["sleep", "3600"]) for _ in range(count)]
    try:
        pids = [sleeper.pid for sleeper in sleepers]
        floor, mine, inodes = best_us((bare, ours, namespaces), pids)
        parsing = parsing_us(pids[0])
    finally:
        for sleeper in sleepers:
            sleeper.kill()
        for sleeper in sleepers:
            sleeper.wait()
    print(f"{time.strftime('%Y-%m-%d')}, Linux {platform.release()}, {platform.machine()},")
    print(
        f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}"
    )
    print(f"µs per process, {count:,} sleepers:")
    print(f"  bare open/read/close of {', '.join(FILES)}: {floor:.1f}")
    print(f"  read_task(): {mine:.1f}, {mine / floor:.2f} times that")
    print(f"    of which the user namespace (root's only): {inodes:.1f}")
    print(f"    of which parsing stat and status: {parsing:.1f}")


if __name__ == "__main__":
    main()
