"""A machine full of processes, and a large one among them."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SOURCE = Path(__file__).with_name("crowd.c")
HOG_MIB = 512
# Each takes 93 KiB here, nearly all of it the kernel's.
KIB_EACH = 150
# Of the machine's process numbers, so many are left to everybody else.
PIDS_LEFT = 1_500

HOLD = "import sys; held = b'x' * (int(sys.argv[1]) << 20); print(flush=True); sys.stdin.read()"


def build(folder: Path) -> Path:
    """The program that makes them. A C compiler is needed."""
    program = folder / "crowd"
    subprocess.run(["cc", "-O1", "-static", "-o", program, SOURCE], check=True)
    return program


def room_for(count: int) -> str:
    """Why there is none, or an empty string."""
    available = re.search(r"MemAvailable:\s+(\d+)", Path("/proc/meminfo").read_text())
    assert available is not None
    if int(available[1]) < 2 * (count * KIB_EACH + (HOG_MIB << 10)):
        return "it would take half of the memory that is available"
    running = sum(name.isdecimal() for name in os.listdir("/proc"))
    if running + count + PIDS_LEFT > int(Path("/proc/sys/kernel/pid_max").read_text()):
        return "kernel.pid_max is too low"
    return ""


@contextmanager
def crowd(program: Path, count: int) -> Iterator[None]:
    """So many small processes, until the end of the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen([program, str(count)], stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        made = int(process.stdout.readline())
        if made < count:
            sys.exit(f"decision: only {made:,} of {count:,} processes could be started")
        yield


@contextmanager
def hog() -> Iterator[int]:
    """The pid of the large one."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-I", "-S", "-c", HOLD, str(HOG_MIB)]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
