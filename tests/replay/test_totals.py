"""``totalpages`` from what a report shows: exact, or between bounds that the score narrows."""

import pytest

from tests.replay.reading import explained, only, points
from tests.replay.synthetic import Process, machine_lines, memcg_lines, report

BIG = Process(200, 500_000, "big", pgtables=1000)
SMALL = Process(100, 2_000, "small")
ROOT = Process(300, 501_000, "root", uid=0, pgtables=500)


def test_swap_counts() -> None:
    memory = machine_lines(1_100_000, 600_000, 2_000_000)
    found = only(report("el7", [SMALL, BIG], 200, 501, memory=memory))
    assert found.total.pages == 1_000_000
    assert found.score_agrees is True


@pytest.mark.parametrize(
    ("lines", "pages"),
    [
        (memcg_lines(400_000, swap=(0, 0)), 100_000),
        (memcg_lines(400_000, swap=(40_000, 40_000)), 110_000),
        (memcg_lines(400_000, memsw=(400_000, 400_000)), 100_000),
        (memcg_lines(400_000, memsw=(440_000, 440_000)), 110_000),
    ],
)
def test_a_memcg_whose_swap_is_known(lines: list[str], pages: int) -> None:
    found = only(report("5.10", [SMALL, BIG], 200, memory=lines, memcg="/box"))
    assert found.total.pages == pages
    assert found.agrees is True


@pytest.mark.parametrize("adj", [-90, -3, 0, 3, 300, 1000])
@pytest.mark.parametrize("swap_kib", [4_000, 400_000, 2_000_000, 3_999_999])
@pytest.mark.parametrize("limit_kib", [400_000, 3_999_996])
def test_the_hosts_swap_is_what_the_score_leaves(adj: int, swap_kib: int, limit_kib: int) -> None:
    size, total = limit_kib // 4, (limit_kib + swap_kib) // 4
    memory = memcg_lines(limit_kib, memsw=(limit_kib, 9007199254740988))
    box = [Process(10, size, "grep", adj=adj), Process(20, 9, "bash", adj=-999)]
    score = max(size + 10 + adj * (total // 1000), 1) * 1000 // total
    found = only(report("el7", box, 10, score, memory=memory, memcg="/box"))
    assert (found.agrees, found.score_agrees) == (True, None)
    assert found.total.pages is None
    assert found.total.low_pages <= total <= found.total.high_pages
    assert explained(found, "GiB of swap")
    assert explained(found, "the report does not show the host's swap")


def test_a_score_that_no_swap_explains() -> None:
    memory = memcg_lines(400_000, memsw=(400_000, 400_000 + 40_000))
    box = [Process(10, 90_000, "grep"), Process(20, 9_000, "bash")]
    found = only(report("el7", box, 10, 17, memory=memory, memcg="/box"))
    assert (found.agrees, found.score_agrees) == (True, False)
    assert explained(found, "the kernel's score 17 fits no totalpages")


def test_a_choice_that_hangs_on_the_hosts_swap() -> None:
    memory = memcg_lines(400_000, swap=(0, 9007199254740988))
    box = [Process(10, 90_000, "large"), Process(20, 9_000, "raised", adj=500)]
    for chosen in (10, 20):
        found = only(report("5.10", box, chosen, memory=memory, memcg="/box"))
        assert found.agrees is None
        assert explained(found, "which one it is depends on the host's swap")


def test_without_memory_lines_equal_adjustments_still_decide() -> None:
    lines = report("5.10", [SMALL, BIG], 200)
    torn = [line for line in lines if "pages" not in line and "swap =" not in line]
    found = only(torn)
    assert found.total.pages is None
    assert not found.report.complete
    assert found.agrees is True
    found = only([line.replace("    0 small", " 1000 small") for line in torn])
    assert found.agrees is None
    assert explained(found, "depends on how much RAM and swap there is")


def test_nodes_that_are_present_are_shown_and_those_that_are_spanned_are_not() -> None:
    memory = machine_lines(1_000_000, 0, 0, nodes=2)
    mixed = [SMALL, BIG]
    new = report("5.10", mixed, 200, memory=memory)
    new[-2] = new[-2].replace("CONSTRAINT_NONE", "CONSTRAINT_CPUSET")
    found = only(new)
    assert (found.total.pages, found.agrees) == (500_000, True)
    old = only(report("el7", mixed, 200, 981, memory=memory))
    assert (old.total.pages, old.agrees, old.score_agrees) == (None, True, None)
    assert explained(old, "concluded from mems_allowed")
    assert explained(old, "the pages that its nodes span, holes included")


def test_pages_are_of_the_machines_size() -> None:
    lines = report("5.10", [SMALL, BIG], 200)
    lines = [
        line.replace(f"total-vm:{BIG.rss * 8}kB", f"total-vm:{BIG.rss * 128}kB") for line in lines
    ]
    # 64 KiB a page: the 4 MB of page tables are 62 of them.
    assert points(only(lines)) == (200, 500_062)
