"""What is made of a report: every branch of the judgement, on synthetic reports.

In a machine of 1,000,000 pages a score is the points' thousands, which can be checked by eye.
"""

import pytest

from oomd.oom import Kill
from oomd.replay.findings import Judgement
from tests.replay.reading import judged, only
from tests.replay.synthetic import ERAS, Process, machine_lines, memcg_lines, report

BIG = Process(200, 500_000, "big", pgtables=1000)
SMALL = Process(100, 2_000, "small")
ROOT = Process(300, 501_000, "root", uid=0, pgtables=500)


def points(judgement: Judgement) -> tuple[int, int]:
    """Whom the policy chooses, and with how many points."""
    assert judgement.answer is not None
    decision = judgement.answer.decision
    assert isinstance(decision, Kill)
    return decision.chosen.pid, decision.points


def explained(judgement: Judgement, words: str) -> bool:
    return any(words in note for note in judgement.notes)


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


# --- totalpages


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


# --- the other ways it can end


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
