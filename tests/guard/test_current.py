"""Who is current to the loop: seen in direct reclaim, or who takes most; and what comes of it."""

from pathlib import Path

import pytest

from oomd.event import Event
from oomd.mm_types import PF_MEMALLOC, Sysctls
from oomd.oom import Kill
from oomd.proc.allocating import AllocatingSampler
from oomd.proc.meminfo import read_meminfo
from tests.audit.machines import AMPLE, SHORT, TASKS
from tests.guard.fake_act import Guarded
from tests.roots import Row, make_root

ON = Sysctls(oom_kill_allocating_task=1)
WORST = 10
SMALL: Row = {"pid": 20, "comm": "small", "rss_pages": 9}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is sought for long."""
    monkeypatch.setattr("oomd.current.SEEK_MS", 50)


def killed(event: Event) -> tuple[int, str]:
    """Who, and in which words."""
    assert isinstance(event.decision, Kill)
    return event.decision.chosen.pid, event.decision.message


def taking(
    path: Path, monkeypatch: pytest.MonkeyPatch, sysctls: Sysctls, shorter_kib: int = 0
) -> Guarded:
    """Nobody is in direct reclaim, and the small one takes 600 pages between two looks.

    Of what is available, ``shorter_kib`` are gone by then.
    """
    guarded = Guarded(path, tasks=[*TASKS, SMALL], sysctls=sysctls)
    look = AllocatingSampler.sample
    faults = 0

    def sample(sampler: AllocatingSampler, now_ms: int) -> None:
        nonlocal faults
        look(sampler, now_ms)
        faults += 600
        left_kib = SHORT.mem_available_kib - faults // 600 * shorter_kib
        left = SHORT._replace(mem_available_kib=left_kib)
        make_root(path, [*TASKS, {**SMALL, "faults": faults}], meminfo=left, sysctls=sysctls)

    monkeypatch.setattr(AllocatingSampler, "sample", sample)
    guarded.memory(SHORT)
    return guarded


def test_the_allocating_task_is_found_and_dies_for_it_if_the_sysctl_says_so(
    tmp_path: Path,
) -> None:
    allocating: Row = {**SMALL, "flags": PF_MEMALLOC}
    guarded = Guarded(tmp_path, tasks=[*TASKS, allocating], sysctls=ON)
    guarded.memory(SHORT)
    guarded.turn()
    (event,) = guarded.act.events
    assert killed(event) == (20, "Out of memory (oom_kill_allocating_task)")
    assert event.case.oc.current is not None
    assert event.case.oc.current.took_pages == 0


def test_where_nobody_reclaims_who_takes_most_dies_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guarded = taking(tmp_path, monkeypatch, ON)
    guarded.turn()
    (event,) = guarded.act.events
    assert killed(event) == (20, "Out of memory (oom_kill_allocating_task)")
    current = event.case.oc.current
    assert current is not None
    assert current.took_pages > 0


@pytest.mark.parametrize(("shorter_kib", "looks"), [(18_000, 3), (30_000, 2), (149_000, 1)])
def test_nobody_is_sought_any_more_when_a_quarter_of_what_was_left_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shorter_kib: int, looks: int
) -> None:
    """The kernel would not wait. The limit is at 200,000 KiB, and the first look sees 150,000."""
    monkeypatch.setattr("oomd.current.SEEK_MS", 600_000)
    monkeypatch.setattr("oomd.current.SEEK_AT_MOST_MS", 600_000)
    guarded = taking(tmp_path, monkeypatch, ON, shorter_kib)
    guarded.turn()
    (event,) = guarded.act.events
    current = event.case.oc.current
    left_kib = read_meminfo(guarded.root).mem_available_kib
    assert left_kib == SHORT.mem_available_kib - looks * shorter_kib
    if looks == 1:
        # Who has taken most is known from the second look on.
        assert killed(event) == (WORST, "Out of memory")
    else:
        assert current is not None and current.took_pages > 0
        assert killed(event) == (20, "Out of memory (oom_kill_allocating_task)")


def test_where_nobody_reclaims_or_takes_the_worst_dies(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, sysctls=ON)
    guarded.memory(SHORT)
    guarded.turn()
    (event,) = guarded.act.events
    assert killed(event) == (WORST, "Out of memory")
    assert event.case.oc.current is None


@pytest.mark.parametrize("by_hand", [False, True])
def test_who_takes_most_is_nobody_where_it_is_not_to_die_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_hand: bool
) -> None:
    guarded = taking(tmp_path, monkeypatch, ON if by_hand else Sysctls())
    if by_hand:
        guarded.guard.ask()
    guarded.turn()
    (event,) = guarded.act.events
    assert killed(event) == (WORST, "Out of memory")
    assert event.case.oc.current is None


@pytest.mark.parametrize(
    ("sysctls", "available_kib", "samples"),
    [(ON, 900_000, 1), (ON, 1_100_000, 0), (Sysctls(), 900_000, 0)],
    ids=["little", "enough", "the sysctl is off"],
)
def test_who_takes_what_is_looked_at_before_anybody_waits_for_memory(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sysctls: Sysctls,
    available_kib: int,
    samples: int,
) -> None:
    looks: list[int] = []
    look = AllocatingSampler.sample

    def sample(sampler: AllocatingSampler, now_ms: int) -> None:
        looks.append(now_ms)
        look(sampler, now_ms)

    monkeypatch.setattr(AllocatingSampler, "sample", sample)
    guarded = Guarded(tmp_path, sysctls=sysctls)
    # The guard of the stall threshold is at 500,000 KiB.
    guarded.memory(AMPLE._replace(mem_available_kib=available_kib))
    # The second turn is too soon for another look.
    guarded.turn(2)
    assert len(looks) == samples
    assert guarded.verdicts() == []
