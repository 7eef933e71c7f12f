"""``oom_badness()``: points in pages, and who never has any."""

from typing import Any

import pytest

from oomd.mm.oom_badness import c_div, ineligible, oom_badness, oom_score
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import PF_KTHREAD, Task
from oomd.oom import Constraint, OomControl
from tests.mm.machine import BOTH, NODES, case, memcg_of, task

MILLION = 1_000_000


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_rss_page_tables_and_swap_count_alike(policy: Policy) -> None:
    sizes = task(5, 1_000, pgtables_pages=200, swapents_pages=30, total_vm_pages=9_999)
    assert oom_badness(sizes, MILLION, policy) == 1_230


@pytest.mark.parametrize(
    ("fields", "el7"),
    [
        ({"cap_sys_admin": True, "init_user_ns": True}, 9_708),
        # Not readable: it counts as the initial one, where most capabilities are.
        ({"cap_sys_admin": True, "init_user_ns": None}, 9_708),
        ({"cap_sys_admin": True, "init_user_ns": False}, 10_008),
        ({"cap_sys_admin": False, "init_user_ns": True, "uid": 0}, 10_008),
        ({"cap_sys_admin": True, "init_user_ns": True, "uid": 1000}, 9_708),
    ],
)
def test_root_discount_is_for_the_capability(fields: dict[str, Any], el7: int) -> None:
    """Three hundredths, rounded down: 10,008 * 3 / 100 is 300."""
    root = task(5, 10_008, **fields)
    assert oom_badness(root, MILLION, EL7) == el7
    assert oom_badness(root, MILLION, MAINLINE) == 10_008


@pytest.mark.parametrize(("rss_pages", "discount"), [(33, 0), (34, 1), (66, 1), (67, 2)])
def test_root_discount_is_rounded_down(rss_pages: int, discount: int) -> None:
    root = task(5, rss_pages, cap_sys_admin=True)
    assert oom_badness(root, MILLION, EL7) == rss_pages - discount


def test_root_discount_comes_before_the_adjustment() -> None:
    root = task(5, 1_000, oom_score_adj=100, cap_sys_admin=True)
    assert oom_badness(root, MILLION, EL7) == 1_000 - 30 + 100_000


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    ("adj", "totalpages", "points"),
    [
        (1, 1_999, 101),
        (1, 2_000, 102),
        (500, 1_999, 600),
        (1_000, 999, 100),
        (1_000, MILLION, 1_000_100),
        (-50, 1_999, 50),
    ],
)
def test_totalpages_are_divided_before_they_are_multiplied(
    policy: Policy, adj: int, totalpages: int, points: int
) -> None:
    assert oom_badness(task(5, 100, oom_score_adj=adj), totalpages, policy) == points


@pytest.mark.parametrize(
    ("rss_pages", "adj", "el7", "mainline"),
    [
        (0, 0, 1, 0),
        (1, 0, 1, 1),
        (1_000, -1, 1, 0),
        (1_000, -2, 1, -1_000),
        (1_000, -999, 1, -998_000),
    ],
)
def test_floor(rss_pages: int, adj: int, el7: int, mainline: int) -> None:
    low = task(5, rss_pages, oom_score_adj=adj)
    assert oom_badness(low, MILLION, EL7) == el7
    assert oom_badness(low, MILLION, MAINLINE) == mainline


def test_public_report_of_a_3_10_0_862_machine() -> None:
    totalpages = 33_456_799 - 603_108 + 33_554_428 // 4
    mysqld = task(5, 10_068_578, pgtables_pages=27_987, swapents_pages=8_552, cap_sys_admin=True)
    assert oom_score(oom_badness(mysqld, totalpages, EL7), totalpages) == 237


@pytest.mark.parametrize(
    ("dividend", "divisor", "quotient"),
    [(7, 2, 3), (-7, 2, -3), (7, -2, -3), (-7, -2, 3), (-1, 1000, 0), (0, 5, 0), (-2000, 1000, -2)],
)
def test_c_division_is_towards_zero(dividend: int, divisor: int, quotient: int) -> None:
    assert c_div(dividend, divisor) == quotient


@pytest.mark.parametrize(
    ("points", "score"), [(0, 0), (999, 0), (1_000, 1), (-999, 0), (-1_000, -1), (-1_999, -1)]
)
def test_score_in_the_log(points: int, score: int) -> None:
    assert oom_score(points, MILLION) == score


HOG = task(200, 1_000)
IDENT = frozenset({HOG.ident})


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    ("process", "why"),
    [
        (HOG, ""),
        (HOG._replace(oom_score_adj=-999), ""),
        (HOG._replace(mm_tid=201), ""),
        (HOG._replace(tracer_pid=5), ""),
        (task(1, 1_000), "global init"),
        (HOG._replace(flags=PF_KTHREAD), "kernel thread"),
        (HOG._replace(state="Z"), "exited already"),
        (HOG._replace(state="X"), "exited already"),
        (HOG._replace(state="x"), "exited already"),
        (HOG._replace(refused="status: EACCES"), "not readable (status: EACCES)"),
        (HOG._replace(has_mm=False), "no mm"),
        (HOG._replace(oom_score_adj=-1000), "oom_score_adj -1000"),
    ],
)
def test_ineligible(policy: Policy, process: Task, why: str) -> None:
    assert ineligible(process, case(policy)) == why


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    ("oc", "why"),
    [
        (OomControl(spared=IDENT), "oomd itself"),
        (OomControl(passed_over=IDENT), "passed over (MMF_OOM_SKIP)"),
        (OomControl(victims=IDENT), ""),
    ],
)
def test_ineligible_by_what_is_asked(policy: Policy, oc: OomControl, why: str) -> None:
    assert ineligible(HOG, case(policy, oc)) == why
    # Another process with the same pid is not meant.
    assert ineligible(HOG._replace(starttime_ticks=999), case(policy, oc)) == ""


def test_vfork_is_known_to_mainline_alone() -> None:
    oc = OomControl(vforking=IDENT)
    assert ineligible(HOG, case(MAINLINE, oc)) == "in vfork"
    assert ineligible(HOG, case(EL7, oc)) == ""


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_outside_the_memory_cgroup(policy: Policy) -> None:
    asked = case(policy, OomControl(constraint=Constraint.MEMCG), memcg=memcg_of((HOG,)))
    assert ineligible(HOG, asked) == ""
    assert ineligible(task(201, 1_000), asked) == "outside the memory cgroup"


NO_NODE = "no allowed node in common with current"


@pytest.mark.parametrize(
    ("constraint", "mems_allowed", "el7", "mainline"),
    [
        (Constraint.CPUSET, 0b10, NO_NODE, NO_NODE),
        # A cpuset does not matter where a mempolicy is what limits.
        (Constraint.MEMORY_POLICY, 0b10, "", ""),
        (Constraint.MEMCG, 0b10, NO_NODE, ""),
        (Constraint.CPUSET, 0b11, "", ""),
        (Constraint.CPUSET, None, "", ""),
    ],
)
def test_nodes(constraint: Constraint, mems_allowed: int | None, el7: str, mainline: str) -> None:
    process = HOG._replace(mems_allowed=mems_allowed)
    oc = OomControl(constraint=constraint, nodemask=0b01)
    fields = {"nodes": NODES, "memcg": memcg_of((HOG,))}
    assert ineligible(process, case(EL7, oc, **fields)) == el7
    assert ineligible(process, case(MAINLINE, oc, **fields)) == mainline
