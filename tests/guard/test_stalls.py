"""What counts as a stall: of the window, of ten seconds, and with swap left."""

from pathlib import Path

import pytest

from oomd.mm_types import MemInfo
from tests.audit.machines import AMPLE
from tests.guard.watched import LOW, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_stall_is_a_share_of_the_whole_window(machine: Machine) -> None:
    machine.stalled(5000)
    assert machine.percent(0) == 0
    # One long wait right after the first look is not all the time.
    machine.stalled(5200)
    assert machine.percent(400) == pytest.approx(10)
    machine.stalled(5300)
    assert machine.percent(1000) == pytest.approx(15)
    machine.stalled(5400)
    assert machine.percent(2000) == pytest.approx(20)
    # The window moves on: from the look at 400 ms, then from the one at 1000 ms.
    machine.stalled(5900)
    assert machine.percent(2500) == pytest.approx(700 / 2100 * 100)
    assert machine.percent(3000) == pytest.approx(30)


def test_a_crawl_that_goes_on_is_a_stall(machine: Machine) -> None:
    machine.memory(LOW)
    # 12 % of the time: never 20 % of 2 s.
    seen = []
    for now_ms in range(0, 12_000, 500):
        machine.stalled(now_ms * 12 // 100)
        seen.append(machine.watch.look(now_ms).crossed)
    assert seen.index("stall") == 8500 // 500
    machine.watch.acted()
    assert machine.watch.look(12_000).crossed is None


def test_swap_that_fills_while_all_wait_is_no_stall_until_it_fills_no_more(
    machine: Machine,
) -> None:
    with_swap = LOW._replace(swap_total_kib=1_000_000, swap_free_kib=1_000_000)
    machine.memory(with_swap)
    machine.stalled(0)
    assert machine.watch.look(0).crossed is None
    machine.memory(with_swap._replace(swap_free_kib=900_000))
    for now_ms in range(500, 10_500, 500):
        machine.stalled(now_ms)
        assert machine.watch.look(now_ms).crossed is None
    # Ten seconds after it has filled they still wait.
    machine.stalled(10_500)
    assert machine.watch.look(10_500).crossed == "stall"


def test_swap_that_was_switched_on_meanwhile_fills_like_any(machine: Machine) -> None:
    machine.memory(LOW)
    machine.stalled(0)
    assert machine.watch.look(0).crossed is None
    # There was none free at first, and now there is: what tells is how much is used.
    machine.memory(LOW._replace(swap_total_kib=1_000_000, swap_free_kib=900_000))
    machine.stalled(3000)
    look = machine.watch.look(3000)
    assert look.thresholds[1].detail["swapped_kib"] == 100_000
    assert look.crossed is None


@pytest.mark.parametrize(
    ("mm_stat", "crossed"),
    [
        # Three quarters of what it holds are taken, and a page more.
        (b"40000000 29000000 30000000 0 30000000 0 0 0 0", None),
        (b"40000000 29000000 30004096 0 30004096 0 0 0 0", "stall"),
        (b"1000000 1000000 1100000 0 0 0 0 0 0", None),
        (b"torn", None),
    ],
    ids=["squeezed", "not squeezed", "too little to tell", "torn"],
)
def test_zram_that_squeezes_nothing_is_no_swap(
    machine: Machine, mm_stat: bytes, crossed: str | None
) -> None:
    device = machine.path / "sys/block/zram0"
    device.mkdir(parents=True)
    (device / "mm_stat").write_bytes(mm_stat)
    machine.memory(LOW._replace(swap_total_kib=1_000_000, swap_free_kib=900_000))
    machine.stalled(0)
    machine.watch.look(0)
    machine.stalled(400)
    assert machine.watch.look(1000).crossed == crossed


@pytest.mark.parametrize(
    ("mm_stat", "crossed"),
    [
        (b"40000000 29000000 30000000 0 30000000 0 0 0 0", None),
        (b"40000000 29000000 30004096 0 30004096 0 0 0 0", "exhaustion"),
        # On a machine of 256 MB, 2 MB can tell.
        (b"2000000 2000000 2100000 0 0 0 0 0 0", "exhaustion"),
        (b"1900000 1900000 2100000 0 0 0 0 0 0", None),
    ],
    ids=["squeezed", "not squeezed", "enough to tell", "too little to tell"],
)
def test_nor_does_it_put_exhaustion_off(
    machine: Machine, mm_stat: bytes, crossed: str | None
) -> None:
    device = machine.path / "sys/block/zram0"
    device.mkdir(parents=True)
    (device / "mm_stat").write_bytes(mm_stat)
    small = {"mem_total_kib": 250_000, "swap_total_kib": 200_000, "swap_free_kib": 190_000}
    machine.memory(LOW._replace(mem_available_kib=12_501, **small))
    assert machine.watch.look(0).crossed is None
    machine.memory(LOW._replace(mem_available_kib=12_500, **small))
    look = machine.watch.look(0)
    assert look.crossed == crossed
    assert ("does not compress" in look.thresholds[0].verdict) is (crossed is not None)


def test_what_went_to_zram_last_tells_what_will(machine: Machine) -> None:
    mib = 1 << 20
    device = machine.path / "sys/block/zram0"
    device.mkdir(parents=True)
    swap = {"mem_total_kib": 4_000_000, "swap_total_kib": 4_000_000, "swap_free_kib": 3_000_000}

    def crossed(stored_mib: int, taken_mib: int, available_kib: int = 200_000) -> str | None:
        line = f"{stored_mib * mib} {taken_mib * mib} {taken_mib * mib} 0 0 0 0 0 0"
        (device / "mm_stat").write_text(line)
        machine.memory(LOW._replace(mem_available_kib=available_kib, **swap))
        return machine.watch.look(0).crossed

    # What was there before is squeezed to a third of it.
    assert crossed(300, 100) is None
    # 16 MiB can tell, and 64 of them in a row, as much as they are: not one that compresses.
    for more in (16, 32, 48):
        assert crossed(300 + more, 100 + more) is None
    assert crossed(400, 158) is None
    assert crossed(463, 221) is None
    assert crossed(479, 237) == "exhaustion"
    # And as much again is asked for where memory was not short meanwhile: 16 MiB of it once there
    # is less than half of the limit.
    assert crossed(490, 248, available_kib=300_000) is None
    assert crossed(491, 249) is None
    assert crossed(506, 264, available_kib=99_000) is None
    assert crossed(507, 265, available_kib=100_000) is None
    assert crossed(507, 265, available_kib=99_000) == "exhaustion"
    # What is given back is not counted, nor against what comes after it.
    assert crossed(508, 266, available_kib=300_000) is None
    assert crossed(509, 267, available_kib=99_000) is None
    assert crossed(400, 158, available_kib=99_000) is None
    assert crossed(416, 174, available_kib=99_000) == "exhaustion"


def test_swap_that_is_used_up_is_no_excuse(machine: Machine) -> None:
    machine.memory(LOW._replace(swap_total_kib=1_000_000, swap_free_kib=100_000))
    machine.stalled(0)
    machine.watch.look(0)
    machine.stalled(400)
    assert machine.watch.look(1000).crossed == "stall"


def test_what_happened_long_ago_says_nothing_about_now(machine: Machine) -> None:
    machine.stalled(0)
    assert machine.percent(0) == 0
    machine.stalled(4001)
    assert machine.percent(4001) == 0
    machine.stalled(4501)
    assert machine.percent(5001) == pytest.approx(25)


def test_a_count_that_begins_anew_is_no_stall(machine: Machine) -> None:
    machine.stalled(9000)
    assert machine.percent(0) == 0
    machine.stalled(10)
    assert machine.percent(1000) == 0


def test_once_something_was_done_a_stall_is_counted_anew(machine: Machine) -> None:
    machine.stalled(0)
    machine.percent(0)
    machine.stalled(900)
    assert machine.percent(1000) == pytest.approx(45)
    machine.watch.acted()
    assert machine.percent(1600) == 0


@pytest.mark.parametrize(("meminfo", "crossed"), [(AMPLE, None), (LOW, "stall")])
def test_a_stall_counts_only_where_there_is_little_memory(
    machine: Machine, meminfo: MemInfo, crossed: str | None
) -> None:
    machine.memory(meminfo)
    machine.stalled(0)
    assert machine.watch.look(0).crossed is None
    machine.stalled(399)
    assert machine.watch.look(1000).crossed is None
    machine.stalled(400)
    assert machine.watch.look(1100).crossed == crossed
    # Whether memory is still short; that it stalled is not asked again.
    assert machine.watch.still("stall") == (crossed is not None)
    assert not machine.watch.still("exhaustion")
