"""Sleeping on after a glance: as long as nothing has changed, and not one sleep longer."""

from collections.abc import Callable
from pathlib import Path

import pytest

from oomd.mm_types import MemInfo
from oomd.proc.meminfo import Glance, read_meminfo
from oomd.proc.root import Root
from oomd.settings import Settings, StallSettings
from oomd.stalls import SAMPLE_MS
from oomd.watch import Watch
from tests.audit.machines import AMPLE, SHORT, TASKS
from tests.effects.children import open_fds
from tests.guard.watched import LOW
from tests.proc.formats import meminfo_text
from tests.roots import make_root

# 1,800,000 KiB above the limit, at 3,600 MiB/s.
SLEEP_MS = 488
LONGEST_MS = 20_000
NO_STALLS = Settings(stall=StallSettings(full_percent=0))


class Sleeper(Watch):
    """While it sleeps, something happens: once for each sleep, as long as there is any."""

    slept_ms: list[int]
    happens: list[Callable[[], tuple[int, ...] | None]]

    def wait(self, timeout_ms: int) -> tuple[int, ...]:
        self.slept_ms.append(timeout_ms)
        return (self.happens.pop(0)() or ()) if self.happens else ()


class Bed:
    """A machine's tree, and who sleeps on it."""

    def __init__(self, path: Path, settings: Settings = NO_STALLS) -> None:
        self._file = path / "proc/meminfo"
        root = make_root(path, tasks=TASKS, meminfo=AMPLE)
        self.watch = Sleeper(root, settings, cpus=1)
        self.watch.slept_ms, self.watch.happens = [], []

    def becomes(self, **changes: int) -> Callable[[], None]:
        return lambda: self.show(AMPLE._replace(**changes))

    def show(self, memory: MemInfo) -> None:
        self._file.write_text(meminfo_text(memory))

    def doze(self) -> tuple[int, ...]:
        return self.watch.doze(self.watch.look(0), SLEEP_MS, LONGEST_MS)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def test_where_nothing_changes_it_sleeps_on_for_as_long_as_it_may(bed: Bed) -> None:
    assert bed.doze() == ()
    assert bed.watch.slept_ms == [SLEEP_MS] * (LONGEST_MS // SLEEP_MS)
    assert bed.watch.glances == len(bed.watch.slept_ms) - 1
    bed.watch.look(0)
    assert bed.watch.glances == 0


def test_each_sleep_is_what_the_last_glance_allows(bed: Bed) -> None:
    later = (1_900_000, 1_800_000, 2_000_000, 1_700_000)
    bed.watch.happens = [bed.becomes(mem_available_kib=kib) for kib in later]
    bed.doze()
    # With an eighth of it gone, a look is due.
    assert bed.watch.slept_ms == [SLEEP_MS, 461, 434, SLEEP_MS]
    # It is known until when there was more.
    assert bed.watch.glanced is not None
    assert bed.watch.glanced.now_ms == SLEEP_MS + 461 + 434
    assert bed.watch.glanced.meminfo.mem_available_kib == 2_000_000


@pytest.mark.parametrize(
    "changes",
    [
        {"mem_total_kib": 4_100_000},
        {"swap_total_kib": 1_000, "swap_free_kib": 1_000},
        {"mem_available_kib": LOW.mem_available_kib},
    ],
)
def test_what_is_out_of_the_ordinary_is_looked_at(bed: Bed, changes: dict[str, int]) -> None:
    bed.watch.happens = [lambda: None, bed.becomes(**changes)]
    bed.doze()
    assert len(bed.watch.slept_ms) == 2


def test_what_wakes_it_up_is_told(bed: Bed) -> None:
    bed.watch.happens = [lambda: None, lambda: (7,)]
    assert bed.doze() == (7,)
    assert len(bed.watch.slept_ms) == 2


@pytest.mark.parametrize("name", ["_tripped_until_ms", "_reopen_ms"])
def test_a_stall_and_a_lost_trigger_end_it(bed: Bed, name: str) -> None:
    bed.watch.happens = [lambda: None, lambda: setattr(bed.watch, name, 5_000)]
    bed.doze()
    assert len(bed.watch.slept_ms) == 2
    # And until that is over, each sleep ends in a look.
    bed.doze()
    assert len(bed.watch.slept_ms) == 3


def test_with_little_memory_glances_stand_in_for_looks_for_a_moment(bed: Bed) -> None:
    bed.show(LOW._replace(mem_available_kib=300_000))
    look = bed.watch.look(0)
    bed.watch.doze(look, 27, LONGEST_MS)
    assert bed.watch.slept_ms == [27] * (SAMPLE_MS // 27)


def test_used_up_is_seen_at_the_next_glance(bed: Bed) -> None:
    bed.show(LOW._replace(mem_available_kib=300_000))
    look = bed.watch.look(0)
    bed.watch.happens = [lambda: None, lambda: bed.show(SHORT)]
    bed.watch.doze(look, 27, LONGEST_MS)
    assert bed.watch.slept_ms == [27, 27]


def test_while_stalls_are_polled_each_sleep_ends_in_a_look(tmp_path: Path) -> None:
    bed = Bed(tmp_path, Settings())
    bed.doze()
    assert bed.watch.slept_ms == [SLEEP_MS]


# --- the glance


def test_it_says_what_proc_says() -> None:
    seen = read_meminfo(Root())
    before = open_fds()
    glance = Glance(Root())
    found = glance.take()
    assert found is not None
    total_kib, free_kib, available_kib, swap_kib, swap_free_kib = found
    assert (total_kib, swap_kib) == (seen.mem_total_kib, seen.swap_total_kib)
    assert abs(free_kib - seen.mem_free_kib) < total_kib // 10
    assert abs(available_kib - seen.mem_available_kib) < total_kib // 10
    assert abs(swap_free_kib - seen.swap_free_kib) <= swap_kib // 10
    glance.close()
    assert glance.take() is None
    glance.close()
    assert open_fds() == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("MemTotal", "MemTota"),
        ("MemAvailable:", "Available:"),
        ("2000000 kB", "2000o00 kB"),
        ("SwapTotal", "SwapTota"),
        ("SwapFree:              0 kB", ""),
        ("SwapFree", "Swapped"),
    ],
)
def test_torn_or_strange_it_says_nothing(tmp_path: Path, old: str, new: str) -> None:
    root = make_root(tmp_path, tasks=TASKS, meminfo=AMPLE)
    glance = Glance(root)
    file = tmp_path / "proc/meminfo"
    # Nothing else behind it, as where the file is torn.
    text = file.read_text().partition("AnonPages")[0]
    file.write_text(text)
    assert glance.take() == (4_000_000, 1_000_000, 2_000_000, 0, 0)
    assert old in text
    file.write_text(text.replace(old, new))
    assert glance.take() is None
    glance.close()


def test_without_a_descriptor_there_is_none(tmp_path: Path) -> None:
    root = make_root(tmp_path, tasks=TASKS, meminfo=AMPLE)
    (tmp_path / "proc/meminfo").unlink()
    assert Glance(root).take() is None
