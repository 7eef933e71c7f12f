"""Boots a kernel, gives it populations, keeps what came of each as one line of JSON."""

import json
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.oracle.population import Population
from tests.vm.image import Image
from tests.vm.machine import GuestError, Machine

__all__ = ["play", "prepare", "read_results", "run_all", "started"]

GUEST = Path(__file__).with_name("guest")
PYTHON = "/opt/oomd/current/bin/python"
DRIVER_DIR = "/run/oracle"
MEMORY_MIB = 640
SWAP_MIB = 192
# A machine that dies takes so many populations with it at most; they are tried again.
AT_A_TIME = 5
POPULATION_TIMEOUT_S = 300.0
MACHINES_LOST_IN_A_ROW = 3

NUMA = (
    *("-object", "memory-backend-ram,id=ram0,size=512M"),
    *("-object", "memory-backend-ram,id=ram1,size=128M"),
    *("-numa", "node,nodeid=0,cpus=0-1,memdev=ram0"),
    *("-numa", "node,nodeid=1,memdev=ram1"),
)

# The emulator of Debian 12 loses flags around cmpxchg16b, of which 6.12's slab allocator dies now
# and then; without that instruction it takes another way. The last -cpu counts.
PROCESSOR = ("-cpu", "qemu64,+rdrand,-cx16")

Json = dict[str, Any]


def prepare(machine: Machine) -> None:
    """The machine has two nodes already; it gets swap, the driver, and nobody else who kills."""
    machine.run(["systemctl", "stop", "oomd"])
    machine.run("modprobe zram num_devices=1")
    machine.run(f"echo {SWAP_MIB}M > /sys/block/zram0/disksize && mkswap /dev/zram0")
    package = f"{DRIVER_DIR}/tests/oracle/guest"
    machine.run(["mkdir", "-p", package])
    # Empty: what these two import is the host's affair.
    for name in ("tests", "tests/oracle"):
        machine.put(f"{DRIVER_DIR}/{name}/__init__.py", "")
    for module in GUEST.glob("*.py"):
        machine.put(f"{package}/{module.name}", module.read_bytes())


@contextmanager
def started(image: Image, log_dir: Path) -> Iterator[Machine]:
    """A machine that is ready to be asked."""
    qemu_args = (*NUMA, *PROCESSOR)
    with Machine(image, log_dir=log_dir, memory_mib=MEMORY_MIB, qemu_args=qemu_args) as machine:
        prepare(machine)
        yield machine


def play(machine: Machine, populations: Iterable[Population]) -> Iterator[Json]:
    """The raw results, in batches: each is whole, or the machine has failed."""
    waiting = list(populations)
    while waiting:
        batch, waiting = waiting[:AT_A_TIME], waiting[AT_A_TIME:]
        machine.put("/run/populations", "".join(f"{json.dumps(p.as_json())}\n" for p in batch))
        machine.run(["rm", "-f", "/run/results"])
        files = "/run/populations /run/results"
        # Without the agent's environment, which is about the agent's memory.
        command = f"env -i -C {DRIVER_DIR} {PYTHON} -m tests.oracle.guest.main {files}"
        driver = machine.start(command, oom_score_adj=-1000)
        for population in batch:
            driver.wait_line(rf"^done {population.number}$", POPULATION_TIMEOUT_S)
        driver.wait()
        for line in machine.get("/run/results").decode().splitlines():
            yield json.loads(line)


def read_results(path: Path) -> list[Json]:
    """What a folder's file has so far. A line that was cut off is no result."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def run_all(
    image: Image,
    populations: Iterable[Population],
    path: Path,
    about: Json,
    told: Callable[[Json], None],
) -> None:
    """Everything that ``path`` has no result of yet, however many machines it takes.

    ``about`` is kept with every result.
    """
    done = {result["population"]["number"] for result in read_results(path)}
    waiting = [one for one in populations if one.number not in done]
    lost = 0
    while waiting:
        try:
            with tempfile.TemporaryDirectory() as log, started(image, Path(log)) as machine:
                for result in play(machine, list(waiting)):
                    with path.open("a") as file:
                        file.write(json.dumps({**about, **result}) + "\n")
                    waiting = [p for p in waiting if p.number != result["population"]["number"]]
                    told(result)
                    lost = 0
        except GuestError as error:
            lost += 1
            print(f"a machine was lost: {error}", file=sys.stderr)
            if lost > MACHINES_LOST_IN_A_ROW:
                raise
