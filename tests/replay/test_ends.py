"""Reports that end without a kill, another kernel's rules, and what cannot be judged."""

import pytest

from tests.replay.reading import explained, only, points
from tests.replay.synthetic import Process, memcg_lines, report

BIG = Process(200, 500_000, "big", pgtables=1000)
SMALL = Process(100, 2_000, "small")
ROOT = Process(300, 501_000, "root", uid=0, pgtables=500)


def test_panic_by_sysctl() -> None:
    for word, value in (("system-wide", 1), ("compulsory", 2)):
        end = [f"Kernel panic - not syncing: Out of memory: {word} panic_on_oom is enabled"]
        found = only(report("5.10", [SMALL, BIG], 200, end=end))
        assert found.agrees is True
        assert found.answer is not None
        assert found.answer.decision.trace[2].detail["vm.panic_on_oom"] == value


@pytest.mark.parametrize(
    ("era", "end"),
    [
        ("el7", ["Kernel panic - not syncing: Out of memory and no killable processes..."]),
        (
            "5.10",
            [
                "Out of memory and no killable processes...",
                "Kernel panic - not syncing: System is deadlocked on memory",
            ],
        ),
    ],
)
def test_panic_for_want_of_a_victim(era: str, end: list[str]) -> None:
    exempt = [one._replace(adj=-1000) for one in (SMALL, BIG)]
    found = only([*report(era, exempt, 200, end=end), "---[ end " + end[-1] + " ]---"])
    assert (found.agrees, found.report.complete) == (True, True)
    found = only(report(era, [SMALL, BIG], 200, end=end))
    assert found.agrees is False


def test_a_memcg_with_nobody_to_kill() -> None:
    exempt = [one._replace(adj=-1000) for one in (SMALL, BIG)]
    memory = memcg_lines(400_000, swap=(0, 0))
    end = ["Out of memory and no killable processes..."]
    found = only(report("5.10", exempt, 200, memory=memory, memcg="/box", end=end))
    assert found.agrees is True


def test_the_allocating_task() -> None:
    words = "Out of memory (oom_kill_allocating_task)"
    for era in ("el7", "5.10"):
        found = only(report(era, [SMALL, BIG], 100, 0, words=words, current=100))
        assert found.agrees is True
        assert points(found) == (100, 0)
    assert found.report.message == words


def test_the_chosen_one_was_exiting() -> None:
    end = ["Out of memory: OOM victim 200 (big) is already exiting. Skip killing the task"]
    found = only(report("5.10", [SMALL, BIG], 200, end=end))
    assert found.agrees is True
    assert found.report.killed == []


def test_by_hand() -> None:
    for era in ("el7", "5.10"):
        found = only(report(era, [SMALL, BIG], 200, 501, manual=True))
        assert (found.report.manual, found.agrees) == (True, True)


# --- what another kernel would have done


def test_the_policy_of_another_kernel() -> None:
    el7 = report("el7", [BIG, ROOT], 200, 501)
    assert only(el7).agrees is True
    other = only(el7, "mainline")
    assert other.agrees is False
    assert points(other) == (300, 501_500)
    assert explained(other, "judged by the rules of mainline, which are not this kernel's")
    assert not explained(only(el7, "el7"), "which are not this kernel's")


# --- what cannot be judged


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("[  pid  ]", "no task table"),
        ("oom-kill:|Killed process", "before it says what the kernel did"),
        (r"[    100]|[    200]", "the task table is empty"),
    ],
)
def test_what_is_not_there_cannot_be_judged(missing: str, says: str) -> None:
    words = missing.split("|")
    lines = report("5.10", [SMALL, BIG], 200)
    found = only([line for line in lines if not any(word in line for word in words)])
    assert (found.agrees, found.score_agrees, found.answer) == (None, None, None)
    assert explained(found, says)
    assert not found.report.complete


def test_a_table_from_before_page_tables_counted() -> None:
    lines = [
        line.replace(" nr_ptes swapents ", " cpu oom_adj ") for line in report("el7", [BIG], 200)
    ]
    found = only(lines)
    assert found.agrees is None
    assert explained(found, "no page tables")


def test_lines_that_the_logger_dropped() -> None:
    lines = report("5.10", [SMALL, BIG], 100)
    lines.insert(-3, "printk: 12 messages suppressed.")
    found = only(lines)
    assert found.agrees is None
    assert explained(found, "lines of the task table are missing")
