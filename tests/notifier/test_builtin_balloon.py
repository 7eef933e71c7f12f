"""The balloon: real memory, really locked; how much there is left is the tree's to say."""

import re
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomd.notifier.builtin.balloon import Balloon
from oomd.notifier.builtin.growth import RETRY_S, Growth
from tests.notifier.kernel_files import KernelFiles, event, kernel_files

pytestmark = pytest.mark.live
MIB = 1 << 20
CALM_S = 60


@pytest.fixture
def root(tmp_path: Path) -> KernelFiles:
    return kernel_files(tmp_path)


@pytest.fixture
def balloon(root: KernelFiles) -> Iterator[Balloon]:
    one = make_balloon(root)
    yield one
    one.release(event())


def make_balloon(root: KernelFiles, size_mib: int = 13) -> Balloon:
    return Balloon(root, size_mib=size_mib, step_mib=8, reinflate_after_s=CALM_S, keep_percent=25.0)


def locked_bytes() -> int:
    """What this process has locked, by the kernel's count."""
    found = re.search(r"VmLck:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) * 1024


def fill(balloon: Balloon, now: float) -> float:
    """Let it have what it wants; the time at which it is content."""
    while (wait_s := balloon.calm(now)) is not None:
        assert wait_s != RETRY_S, "there was no room"
        now += wait_s
    return now


def test_it_holds_locked_memory_and_gives_all_of_it_back(balloon: Balloon) -> None:
    before_bytes = locked_bytes()
    balloon.start()
    fill(balloon, 0.0)
    assert balloon.held_bytes == 13 * MIB
    assert locked_bytes() - before_bytes == 13 * MIB
    # Whatever is wanted.
    assert balloon.release(event(wanted_bytes=1)) == 13 * MIB
    assert balloon.held_bytes == 0
    assert locked_bytes() == before_bytes
    assert balloon.release(event()) == 0


def test_what_there_is_no_time_for_is_given_back_the_next_time(balloon: Balloon) -> None:
    balloon.start()
    fill(balloon, 0.0)
    late = event()._replace(deadline=time.monotonic())
    freed = [balloon.release(late) for _ in range(4)]
    # 13 MiB in pieces of 4, from the end.
    assert freed == [1 * MIB, 4 * MIB, 4 * MIB, 4 * MIB]
    assert balloon.release(late) == 0


def test_it_inflates_again_slowly_once_it_was_calm_for_long_enough(balloon: Balloon) -> None:
    balloon.start()
    fill(balloon, 0.0)
    balloon.storm()
    balloon.release(event())
    assert balloon.calm(1000.0) == CALM_S
    assert balloon.calm(1059.0) == 1.0
    assert balloon.held_bytes == 0
    assert balloon.calm(1060.0) == 1.0
    assert 0 < balloon.held_bytes <= 8 * MIB
    fill(balloon, 1061.0)
    assert balloon.release(event()) == 13 * MIB


def test_another_storm_begins_the_wait_anew(balloon: Balloon) -> None:
    balloon.storm()
    assert balloon.calm(1000.0) == CALM_S
    balloon.storm()
    assert balloon.calm(1050.0) == CALM_S
    assert balloon.calm(1060.0) == 50.0


def test_it_takes_nothing_where_memory_is_not_plentiful(
    root: KernelFiles, balloon: Balloon
) -> None:
    # A quarter of 16 GiB is to stay; less than a piece is there beyond it.
    root.memory(mem_available_kib=(4 << 20) + 3 * 1024)
    balloon.start()
    assert balloon.calm(0.0) == RETRY_S
    assert balloon.held_bytes == 0
    # Room for a piece, and not for the whole step.
    root.memory(mem_available_kib=(4 << 20) + 5 * 1024)
    assert balloon.calm(RETRY_S) != RETRY_S
    assert balloon.held_bytes == 4 * MIB


def test_nobody_may_be_waiting_for_memory(root: KernelFiles, balloon: Balloon) -> None:
    line = "avg10=1.50 avg60=0.00 avg300=0.00 total=9"
    root.put("proc/pressure/memory", f"some {line}\nfull {line}\n")
    balloon.start()
    assert balloon.calm(0.0) == RETRY_S
    assert balloon.held_bytes == 0


def test_a_kernel_without_pressure_files_will_do(root: KernelFiles) -> None:
    Path(root.path, "proc/pressure/memory").unlink()
    assert Growth(root, 25.0, 1).room_bytes() == 8 << 30
    Path(root.path, "proc/meminfo").write_text("torn")
    assert Growth(root, 25.0, 1).room_bytes() == 0


def test_a_storm_ends_a_step_that_is_under_way(root: KernelFiles) -> None:
    balloon = make_balloon(root, size_mib=64)
    balloon.start()
    balloon.release(event())
    # Between release and calm the storm is on: what asks for a step now gets nothing.
    assert balloon._step() == 0
    assert balloon.held_bytes == 0


def test_giving_back_while_it_inflates_loses_no_memory(root: KernelFiles) -> None:
    balloon = make_balloon(root, size_mib=32)
    before_bytes = locked_bytes()
    balloon.start()
    stop = threading.Event()

    def inflate() -> None:
        while not stop.is_set():
            balloon.calm(time.monotonic())

    thread = threading.Thread(target=inflate)
    thread.start()
    given_bytes = 0
    while given_bytes < 64 * MIB:
        freed_bytes = balloon.release(event())
        assert isinstance(freed_bytes, int)
        given_bytes += freed_bytes
    stop.set()
    thread.join()
    balloon.release(event())
    assert locked_bytes() == before_bytes


NOT_ALLOWED = """
import sys
sys.path.insert(0, sys.argv[1])
from oomd.notifier.builtin import make
from oomd.proc.root import WritableRoot
try:
    make("balloon", {"size_mib": 4}, WritableRoot(sys.argv[2])).start()
except OSError as error:
    print(error)
"""


def test_a_limit_on_locked_memory_is_named_at_the_start(root: KernelFiles) -> None:
    tree = str(Path(__file__).parents[2])

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))

    # As nobody: CAP_IPC_LOCK would lift the limit.
    result = subprocess.run(
        [sys.executable, "-c", NOT_ALLOWED, tree, root.path],
        capture_output=True,
        text=True,
        check=True,
        user=65534,
        preexec_fn=limited,
    )
    assert "mlock of 4096 bytes: " in result.stdout
    assert "LimitMEMLOCK=infinity" in result.stdout
