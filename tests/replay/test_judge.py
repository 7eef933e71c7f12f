"""What is made of a report: every branch of the judgement, on synthetic reports.

In a machine of 1,000,000 pages a score is the points' thousands, which can be checked by eye.
"""

import pytest

from tests.replay.reading import explained, judged, only, points
from tests.replay.synthetic import ERAS, Process, memcg_lines, report

BIG = Process(200, 500_000, "big", pgtables=1000)
SMALL = Process(100, 2_000, "small")
ROOT = Process(300, 501_000, "root", uid=0, pgtables=500)


# --- every format


@pytest.mark.parametrize("era", ERAS)
def test_a_report_of_each_time(era: str) -> None:
    found = only(report(era, [SMALL, BIG], 200, 501))
    assert found.profile.policy.name == ("el7" if era == "el7" else "mainline")
    assert found.report.kernel == ERAS[era].release
    assert found.report.complete
    assert found.total.pages == 1_000_000
    assert found.agrees is True
    assert found.score_agrees is (True if ERAS[era].scored else None)
    assert points(found) == (200, 501_000)


@pytest.mark.parametrize("era", ERAS)
def test_a_kernel_that_chose_another_one(era: str) -> None:
    found = only(report(era, [SMALL, BIG], 100, 2))
    assert found.agrees is False
    assert explained(found, "the policy chooses 200 (big)")
    assert explained(found, "501,000 points against 2,010")


def test_a_score_that_is_not_the_tables() -> None:
    found = only(report("el7", [SMALL, BIG], 200, 499))
    assert (found.agrees, found.score_agrees) == (True, False)
    assert explained(found, "the kernel's score is 499, by the table it is 501")


def test_without_the_line_that_names_the_kernel_the_table_does() -> None:
    for era in ERAS:
        lines = [line for line in report(era, [SMALL, BIG], 200, 501) if "CPU:" not in line]
        found = only(lines)
        assert found.report.kernel == ""
        assert found.profile.policy.name == ("el7" if era == "el7" else "mainline")
        assert found.agrees is True


# --- root


def test_the_score_says_that_root_had_its_capability() -> None:
    found = only(report("el7", [SMALL, ROOT], 300, 486))
    assert (found.agrees, found.score_agrees) == (True, True)
    assert points(found) == (300, 486_455)
    assert explained(found, "a task with CAP_SYS_ADMIN (uid 0; without it: 501)")


def test_the_score_says_that_root_had_it_not() -> None:
    found = only(report("el7", [SMALL, ROOT], 300, 501))
    assert (found.agrees, found.score_agrees) == (True, True)
    assert points(found) == (300, 501_500)
    assert explained(found, "a task without CAP_SYS_ADMIN (uid 0; with it: 486)")


def test_the_score_says_that_a_user_had_it() -> None:
    found = only(report("el7", [SMALL, BIG], 200, 485))
    assert (found.agrees, found.score_agrees) == (True, True)
    assert explained(found, "a task with CAP_SYS_ADMIN (uid 1000; without it: 501)")


def test_the_choice_says_that_another_root_had_it() -> None:
    found = only(report("el7", [BIG, ROOT], 200, 501))
    assert found.agrees is True
    assert explained(found, "300 (root), uid 0, had CAP_SYS_ADMIN: without it, it would have been")


def test_root_without_it_would_do_but_the_score_cannot_tell() -> None:
    tiny = [Process(10, 40, "user"), Process(20, 41, "root", uid=0)]
    found = only(report("el7", tiny, 20, 0))
    assert (found.agrees, found.score_agrees) == (None, True)
    assert explained(found, "only if 20 (root), uid 0, had no CAP_SYS_ADMIN")


def test_root_is_like_anybody_since_4_17() -> None:
    assert points(only(report("4.16", [SMALL, ROOT], 300, 486))) == (300, 486_455)
    found = only(report("4.19", [SMALL, ROOT], 300, 501))
    assert points(found) == (300, 501_500)
    assert not explained(found, "CAP_SYS_ADMIN")


def test_before_3_14_roots_discount_was_another() -> None:
    found = only(report("el7", [SMALL, ROOT], 100, 2, release="3.10.11-vanilla"))
    assert found.agrees is False
    assert explained(found, "before 3.14 the root discount was 3 % of all memory")
    assert not explained(only(report("el7", [SMALL, ROOT], 100, 2)), "before 3.14")


# --- children, sharers, groups, threads


def test_a_child_dies_for_its_parent() -> None:
    found = only(report("el7", [SMALL, BIG], 200, 501, killed=100))
    assert found.agrees is True
    assert found.answer is not None and found.answer.plan is not None
    assert found.answer.plan.victim.pid == 100
    assert explained(found, "100 (small) died for it: whose child it is, the report does not show")


def test_a_child_that_may_not_die_for_anybody() -> None:
    found = only(report("el7", [SMALL._replace(adj=-1000), BIG], 200, 501, killed=100))
    assert found.agrees is False


def test_a_child_made_after_the_table() -> None:
    lines = report("el7", [SMALL, BIG], 200, 501)
    lines[-1] = lines[-1].replace("process 200 (big)", "process 999 (new)")
    found = only(lines)
    assert found.agrees is True
    assert explained(found, "999 (new) has no row")


def test_nobody_dies_for_a_parent_since_5_1() -> None:
    lines = report("5.10", [SMALL, BIG], 200)
    lines[-1] = lines[-1].replace("process 200 (big)", "process 100 (small)")
    assert only(lines).agrees is False


def test_those_who_share_its_memory() -> None:
    other = Process(201, 500_000, "sharer", pgtables=1000)
    lines = report("el7", [BIG, other, SMALL], 200, 501)
    lines.append("Kill process 201 (sharer) sharing same memory")
    found = only(lines)
    assert found.agrees is True
    assert [one.pid for one in found.report.killed] == [200, 201]
    exempt = report("el7", [BIG, other._replace(adj=-1000), SMALL], 200, 501)
    assert only([*exempt, lines[-1]]).agrees is False


def test_a_group_that_dies_as_a_whole() -> None:
    memory = memcg_lines(2_400_000, swap=(0, 0))
    lines = report("5.10", [SMALL, BIG], 200, memory=memory, memcg="/box")
    lines.append("Tasks in /box are going to be killed due to memory.oom.group set")
    victim = lines[-2]
    lines.append(victim.replace("process 200 (big)", "process 100 (small)"))
    lines.append(victim)
    found = only(lines)
    assert [one.pid for one in found.report.killed] == [200, 100]
    assert found.agrees is True
    assert found.answer is not None
    assert [one.task.pid for one in found.answer.companions] == [100]
    # el7 knows no groups.
    assert only(lines, "el7").agrees is False


def test_a_thread_has_no_row() -> None:
    lines = report("el7", [SMALL, BIG], 200, 501)
    lines[-2] = lines[-2].replace("process 200", "process 207")
    found = only(lines)
    assert found.agrees is True
    assert explained(found, "207 (big) is a thread's pid, and died as 200 (big)")
    lines[-1] = lines[-1].replace("process 200", "process 207")
    found = only(lines)
    assert found.agrees is None
    assert explained(found, "207 (big) is not in the table")


def test_a_living_thread_of_an_exited_leader() -> None:
    lines = report("5.10", [SMALL, BIG._replace(tid=205)], 200)
    lines[-1] = lines[-1].replace("process 200", "process 205")
    assert only(lines).agrees is True


# --- ties, and who is passed over


def test_a_tie_goes_to_the_first_until_5_3_and_to_the_last_since() -> None:
    twins = [Process(10, 5_000, "first"), Process(20, 5_000, "last")]
    for era in ("el7", "4.19", "5.0"):
        assert points(only(report(era, twins, 10, 5)))[0] == 10
    for era in ("5.10", "6.8"):
        assert points(only(report(era, twins, 20)))[0] == 20
        found = only(report(era, twins, 10))
        assert found.agrees is False
        assert explained(found, "both have 5,010 points")


def test_an_old_memcgs_order_is_not_shown() -> None:
    twins = [Process(10, 5_000, "first"), Process(20, 5_000, "last")]
    memory = memcg_lines(40_000, memsw=(0, 40_000))
    for era in ("el7", "4.19"):
        both = [
            only(report(era, twins, chosen, 501, memory=memory, memcg="/box"))
            for chosen in (10, 20)
        ]
        # The policy has its guess at the order; another outcome is no difference.
        assert {found.agrees for found in both} == {True, None}
        assert any(explained(found, "in which order this kernel met them") for found in both)
        assert all(found.score_agrees for found in both)


def test_an_earlier_victim_is_passed_over() -> None:
    first = report("5.10", [SMALL, BIG], 200)
    second = report("5.10", [SMALL, BIG], 100)
    one, two = judged([*first, *second])
    assert (one.agrees, two.agrees) == (True, True)
    assert explained(two, "passed over (MMF_OOM_SKIP): 200 (big)")
    # Its pid may be another's by now.
    renamed = [line.replace("big", "new") for line in second]
    assert [one.agrees for one in judged([*first, *renamed])] == [True, False]


def test_figures_move_between_the_choice_and_the_table() -> None:
    close = [BIG, Process(250, 500_900, "near", pgtables=1000)]
    found = only(report("5.10", close, 200))
    assert found.agrees is False
    assert explained(found, "sizes may have moved")
    assert not explained(only(report("5.10", [SMALL, BIG], 100)), "sizes may have moved")
