"""``constrained_alloc()``: the constraint in force, and the pages that the OOM is about."""

from typing import Any

import pytest

from oomd.mm.constraint import constrained_alloc
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import MemCgroup, MemInfo, Node
from oomd.oom import Constraint, Kill, OomControl
from tests.mm.machine import BOTH, NODES, judge, machine, memcg_of, task

SWAP_KIB = 200_000 * 4
SWAPPY = MemInfo(4_000_000, 0, 0, swap_total_kib=SWAP_KIB)
NODE_CONSTRAINTS = [Constraint.CPUSET, Constraint.MEMORY_POLICY]


def pages(policy: Policy, oc: OomControl, **fields: Any) -> tuple[Constraint, int]:
    allocation = constrained_alloc(oc, machine((), **({"meminfo": SWAPPY} | fields)), policy)
    return allocation.constraint, allocation.totalpages


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    ("page_size_bytes", "expected"), [(4096, 1_200_000), (16384, 300_000), (65536, 75_000)]
)
def test_none_is_ram_and_swap_in_pages(policy: Policy, page_size_bytes: int, expected: int) -> None:
    got = pages(policy, OomControl(), page_size_bytes=page_size_bytes)
    assert got == (Constraint.NONE, expected)


def test_no_part_of_a_page_counts() -> None:
    odd = MemInfo(64 * 10 + 63, 0, 0, swap_total_kib=64 * 5 + 63)
    got = pages(EL7, OomControl(), meminfo=odd, page_size_bytes=65536)
    assert repr(got[1]) == "15"


@pytest.mark.parametrize("constraint", NODE_CONSTRAINTS)
def test_nodes_count_as_spanned_on_el7_and_as_present_later(constraint: Constraint) -> None:
    oc = OomControl(constraint=constraint, nodemask=0b01)
    assert pages(EL7, oc, nodes=NODES) == (constraint, 700_000)
    assert pages(MAINLINE, oc, nodes=NODES) == (constraint, 650_000)


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize("constraint", NODE_CONSTRAINTS)
@pytest.mark.parametrize(
    ("nodemask", "nodes"),
    [
        (None, NODES),
        (0b11, NODES),
        (0b111, NODES),
        (0b01, (Node(0, 10, 10), Node(1, 0, 0))),
    ],
    ids=["no mask", "every node", "more than every node", "every node with memory"],
)
def test_all_the_memory_is_no_constraint(
    policy: Policy, constraint: Constraint, nodemask: int | None, nodes: tuple[Node, ...]
) -> None:
    oc = OomControl(constraint=constraint, nodemask=nodemask)
    assert pages(policy, oc, nodes=nodes) == (Constraint.NONE, 1_200_000)


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_unseen_nodes_leave_the_constraint_and_the_source_says_so(policy: Policy) -> None:
    oc = OomControl(constraint=Constraint.CPUSET, nodemask=0b01)
    assert pages(policy, oc, nodes=()) == (Constraint.CPUSET, 1_200_000)
    step = judge(policy, task(200, 1_000), oc=oc).trace[4]
    assert step.detail["totalpages_are"] == "RAM + swap: nodes are not observable"


V1, V2 = {"version": 1}, {"version": 2}
MEMCG_LIMITS = [
    ("v1: limit + swap", V1, 300_000),
    ("v1: memsw below that", V1 | {"memsw_limit_pages": 150_000}, 150_000),
    ("v1: memsw above that", V1 | {"memsw_limit_pages": 900_000}, 300_000),
    ("v1: swappiness 0", V1 | {"swappiness": 0, "memsw_limit_pages": 150_000}, 100_000),
    ("v2: max + swap", V2, 300_000),
    ("v2: swap.max below the swap", V2 | {"swap_limit_pages": 30_000}, 130_000),
    ("v2: swap.max above the swap", V2 | {"swap_limit_pages": 999_000}, 300_000),
    ("v2: no swap", V2 | {"swap_limit_pages": 0}, 100_000),
    ("v2: swappiness 0", V2 | {"swappiness": 0}, 100_000),
    ("v1: a limit of nothing", V1 | {"limit_pages": 0, "swappiness": 0}, 1),
    ("v2: a limit of nothing", V2 | {"limit_pages": 0, "swap_limit_pages": 0}, 1),
    ("a limit above the machine's memory", V2 | {"limit_pages": 9_000_000}, 9_200_000),
    ("no limit", V2 | {"limit_pages": None}, 1_200_000),
]


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize(
    ("fields", "expected"), [row[1:] for row in MEMCG_LIMITS], ids=[row[0] for row in MEMCG_LIMITS]
)
def test_memcg(policy: Policy, fields: dict[str, Any], expected: int) -> None:
    memcg: MemCgroup = memcg_of((), **fields)
    got = pages(policy, OomControl(constraint=Constraint.MEMCG), memcg=memcg)
    assert got == (Constraint.MEMCG, expected)


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_memcg_without_the_machines_swap(policy: Policy) -> None:
    memcg = memcg_of((), version=1, memsw_limit_pages=900_000)
    dry = MemInfo(4_000_000, 0, 0)
    got = pages(policy, OomControl(constraint=Constraint.MEMCG), memcg=memcg, meminfo=dry)
    assert got == (Constraint.MEMCG, 100_000)


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
def test_limit_lowered_below_usage_scores_above_1000(policy: Policy) -> None:
    hog = task(200, 250_000)
    memcg = memcg_of((hog,), limit_pages=2_500, swappiness=0, usage_pages=250_000)
    decision = judge(policy, hog, oc=OomControl(constraint=Constraint.MEMCG), memcg=memcg)
    assert isinstance(decision, Kill)
    assert decision.trace[4].detail["score"] == 100_000
