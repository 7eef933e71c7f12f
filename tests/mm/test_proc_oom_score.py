"""``/proc/PID/oom_score`` and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.mm.oom_badness import oom_badness
from oomd.mm.policy import EL7, MAINLINE
from oomd.mm.proc_oom_score import (
    NEVER,
    NOTHING,
    ScoreBound,
    proc_oom_score,
    score_of_nothing,
    weighs_nothing,
)
from oomd.mm_types import Task
from tests.mm.machine import TOTALPAGES, task

totals = st.one_of(st.just(TOTALPAGES), st.integers(1_000, 1 << 40))


@st.composite
def processes(draw: st.DrawFn) -> tuple[Task, int]:
    """A process and the machine's total: anything from a page to all of it."""
    totalpages = draw(totals)
    rss_pages = draw(st.one_of(st.integers(0, totalpages // 200), st.integers(0, totalpages)))
    adj = draw(st.one_of(st.just(0), st.integers(-999, 1000)))
    capable = draw(st.booleans())
    one = task(7, rss_pages, oom_score_adj=adj, cap_sys_admin=capable, pgtables_pages=3)
    return one, totalpages


@given(processes())
def test_bounds_the_points_of_both_profiles(process: tuple[Task, int]) -> None:
    one, totalpages = process
    badness = oom_badness(one, totalpages, MAINLINE)
    score = proc_oom_score(badness, totalpages)
    for policy in (EL7, MAINLINE):
        bound = ScoreBound(totalpages, floor_points=policy.floor_points)
        assert oom_badness(one, totalpages, policy) <= bound.points_at_most(score)
        assert bound.badness_at_least(score) <= badness <= bound.badness_at_most(score)
        assert bound.fits(one, score)


@given(totals.filter(lambda total: total >= 2_000), st.integers(1, 1332))
def test_the_bounds_are_tight(totalpages: int, score: int) -> None:
    """The next page would be another score: the bound leaves out whoever can be left out."""
    bound = ScoreBound(totalpages)
    low, high = bound.badness_at_least(score), bound.badness_at_most(score)
    assert proc_oom_score(low, totalpages) == proc_oom_score(high, totalpages) == score
    assert proc_oom_score(low - 1, totalpages) == score - 1
    assert proc_oom_score(high + 1, totalpages) == score + 1


@given(totals.filter(lambda total: total >= 2_000), st.integers(-950, 950))
def test_next_to_nothing_is_at_most_three_thousandths(totalpages: int, adj: int) -> None:
    def weighs(rss_pages: int) -> bool:
        return not weighs_nothing(task(7, rss_pages), totalpages)

    assert not weighs(0)
    assert not weighs((totalpages - 1) // 1000)
    assert weighs(totalpages // 1000 + 1)
    adjusted = task(7, 3 * totalpages // 1000 + 1, oom_score_adj=adj)
    cancelled = proc_oom_score(oom_badness(adjusted, totalpages, MAINLINE), totalpages) == NOTHING
    assert weighs_nothing(adjusted, totalpages) is cancelled
    assert weighs_nothing(task(7, 1, oom_score_adj=adj), totalpages)


@pytest.mark.parametrize(
    ("badness", "score"), [(0, NOTHING), (-999_000, 0), (1_000_000, 1333), (2_000_000, 2000)]
)
def test_the_kernels_own_range(badness: int, score: int) -> None:
    assert proc_oom_score(badness, 1_000_000) == score


def test_what_is_allowed_for() -> None:
    bound = ScoreBound(1_000_000, blur_pages=7, raised_pages=100)
    plain = ScoreBound(1_000_000)
    assert bound.points_at_most(NOTHING) == plain.points_at_most(NOTHING) + 107 == 999 + 107
    assert bound.badness_at_least(700) == plain.badness_at_least(700) - 7
    assert ScoreBound(1_000_000, floor_points=1).points_at_most(NEVER) == 1
    assert plain.points_at_most(NEVER) < 0
    # It grew, or shrank, between its score and its figures.
    grown = task(7, 200_000)
    assert not plain.fits(grown, proc_oom_score(100_000, 1_000_000))
    assert plain.fits(grown, *(proc_oom_score(one, 1_000_000) for one in (100_000, 300_000)))
    assert score_of_nothing(-300, 1_000_000) == score_of_nothing(-300, 1_000_001)
