"""An OOM of a cgroup or of some nodes: who is judged, against how many pages, who goes with it."""

from pathlib import Path
from typing import Literal

import pytest

from oomd.mm_types import Node, Sysctls
from tests.audit.commands import Json, Oomd
from tests.audit.machines import AMPLE, DB, HOG, INIT, TASKS, TOTALPAGES
from tests.audit.test_verdicts import BOTH, steps, victims
from tests.roots import Cgroup, Row, make_root

NODES = [Node(0, 600_000, 500_000), Node(1, 400_000, 400_000)]


def judged(found: Json) -> tuple[str, int]:
    return found["decision"]["constraint"], found["decision"]["totalpages"]


# --- nodes


@BOTH
@pytest.mark.parametrize(
    ("nodes", "constraint"),
    [
        ("0", "CONSTRAINT_CPUSET"),
        ("cpuset:0", "CONSTRAINT_CPUSET"),
        ("mempolicy:0", "CONSTRAINT_MEMORY_POLICY"),
    ],
)
def test_nodes_bind_the_memory_and_the_candidates(
    oomd: Oomd, tree: Path, policy: str, nodes: str, constraint: str
) -> None:
    elsewhere: Row = {"pid": 20, "comm": "far", "rss_pages": 600_000, "mems_allowed": 0b10}
    make_root(tree, [*TASKS, elsewhere], meminfo=AMPLE, nodes=NODES)
    found = oomd.json(tree, "--policy", policy, "--nodes", nodes)
    # What the node spans for el7, what is present for mainline.
    assert judged(found) == (constraint, 600_000 if policy == "el7" else 500_000)
    reasons = {one["pid"]: one["reason"] for one in found["tasks"]}
    # A mempolicy's OOM asks for other tasks' mempolicies, and not for their cpusets.
    by_cpuset = constraint == "CONSTRAINT_CPUSET"
    assert victims(found) == [(10 if by_cpuset else 20, "chosen")]
    assert reasons[20] == ("no allowed node in common with current" if by_cpuset else "")


@pytest.mark.parametrize("nodes", ["0-1", "0,1", "1,0-0"])
def test_all_nodes_are_no_constraint(oomd: Oomd, tree: Path, nodes: str) -> None:
    make_root(tree, TASKS, meminfo=AMPLE, nodes=NODES)
    assert judged(oomd.json(tree, "--nodes", nodes)) == ("CONSTRAINT_NONE", TOTALPAGES)


def test_a_tree_without_nodes_says_that_they_are_not_observable(oomd: Oomd, tree: Path) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    found = oomd.json(tree, "--nodes", "0")
    assert judged(found) == ("CONSTRAINT_CPUSET", TOTALPAGES)
    (scan,) = (one for one in found["decision"]["trace"] if one["step"] == 5)
    assert scan["detail"]["totalpages_are"] == "RAM + swap: nodes are not observable"


@BOTH
def test_a_constrained_oom_panics_only_if_it_is_compulsory(
    oomd: Oomd, tree: Path, policy: str
) -> None:
    make_root(tree, TASKS, meminfo=AMPLE, nodes=NODES, sysctls=Sysctls(panic_on_oom=1))
    found = oomd.json(tree, "--policy", policy, "--nodes", "0")
    assert found["decision"]["verdict"] == "kill"
    found = oomd.json(tree, "--policy", policy, "--nodes", "0", "--assume", "panic_on_oom=2")
    message = "Out of memory: compulsory panic_on_oom is enabled"
    assert found["decision"]["message"] == message


# --- memory cgroups

STAT = "cache 0\nrss 819200000\ninactive_file 0\nactive_file 0\n"


def boxed(tree: Path, version: Literal[1, 2], tasks: list[Row], *cgroups: Cgroup) -> None:
    """A machine on which /box may use 200,000 pages and uses all but 10."""
    mount = "sys/fs/cgroup" if version == 2 else "sys/fs/cgroup/memory"
    box: Cgroup = {"path": "/box", "limit_pages": 200_000, "usage_pages": 199_990}
    make_root(
        tree,
        tasks,
        meminfo=AMPLE,
        cgroups=[box, *cgroups],
        cgroup_version=version,
        files={f"{mount}/box/memory.stat": STAT},
    )


VERSIONS = pytest.mark.parametrize("version", [1, 2])


@VERSIONS
@BOTH
def test_of_a_memcg_only_its_own_tasks_are_judged(
    oomd: Oomd, tree: Path, version: Literal[1, 2], policy: str
) -> None:
    small: Row = {"pid": 20, "comm": "small", "rss_pages": 10}
    boxed(tree, version, [*TASKS, small], {"path": "/box/a", "pids": [11, 20]})
    found = oomd.json(tree, "--memcg", "/box", "--policy", policy)
    assert judged(found) == ("CONSTRAINT_MEMCG", 200_000)
    assert found["decision"]["message"] == "Memory cgroup out of memory"
    assert found["decision"]["chosen"] == {
        "pid": 11,
        "comm": "db",
        "points": 100_007,
        "score": 500,
    }
    assert {one["pid"] for one in found["tasks"]} == {11, 20}
    assert steps(found)[1] == "a memcg OOM calls no notifiers"


@VERSIONS
def test_the_thresholds_of_a_memcg_are_held_against_its_own_memory(
    oomd: Oomd, tree: Path, version: Literal[1, 2]
) -> None:
    boxed(tree, version, TASKS, {"path": "/box/a", "pids": [11]})
    ran = oomd.audit("--root", tree, "--json", "--memcg", "/box")
    # Ten pages are left below the limit; the machine has half of its memory available.
    assert ran.status == 1
    found = oomd.json(tree, "--memcg", "/box")
    exhaustion = found["thresholds"][0]
    assert (exhaustion["value"], exhaustion["limit"]) == (40, 40_000)
    assert oomd.audit("--root", tree).status == 0


@VERSIONS
@BOTH
def test_a_memcg_with_nobody_to_kill_does_not_panic(
    oomd: Oomd, tree: Path, version: Literal[1, 2], policy: str
) -> None:
    boxed(tree, version, TASKS, {"path": "/box/a", "pids": [12]})
    found = oomd.json(tree, "--memcg", "/box", "--policy", policy)
    assert found["decision"]["verdict"] == "none_killable"
    assert found["decision"]["message"] == "Out of memory and no killable processes..."
    assert victims(found) == []
    text = oomd.audit("--root", tree, "--memcg", "/box", "--policy", policy).out
    assert 'oomd would kill nobody: "Out of memory and no killable processes...".' in text


def test_a_v1_memcg_without_an_oom_killer_lets_its_tasks_wait(oomd: Oomd, tree: Path) -> None:
    make_root(
        tree,
        TASKS,
        meminfo=AMPLE,
        cgroups=[{"path": "/box", "limit_pages": 9, "pids": [10], "oom_kill_disable": True}],
        files={"sys/fs/cgroup/memory/box/memory.stat": STAT},
    )
    found = oomd.json(tree, "--memcg", "/box")
    assert found["decision"]["verdict"] == "none_killable"
    assert "memory.oom_control is 1" in steps(found)[1]


@VERSIONS
def test_a_memcg_that_is_not_there_is_no_decision(
    oomd: Oomd, tree: Path, version: Literal[1, 2]
) -> None:
    boxed(tree, version, TASKS)
    ran = oomd.audit("--root", tree, "--memcg", "/nowhere")
    assert (ran.status, ran.out) == (3, "")
    assert ran.err.startswith("oomd: cannot decide: /nowhere: no such cgroup")
    ran = oomd.audit("--root", tree, "--memcg", "/../../etc")
    assert (ran.status, ran.out) == (3, "")


GROUP: list[Row] = [
    {"pid": 20, "comm": "member", "rss_pages": 10},
    {"pid": 21, "comm": "exempt", "rss_pages": 10, "oom_score_adj": -1000},
    {"pid": 22, "comm": "outside", "rss_pages": 10},
]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("mainline", [(11, "chosen"), (20, "oom_group")]), ("el7", [(11, "chosen")])],
)
@pytest.mark.parametrize("constraint", [["--memcg", "/box"], []], ids=["memcg", "global"])
def test_an_oom_group_dies_as_a_whole_on_mainline(
    oomd: Oomd,
    tree: Path,
    policy: str,
    expected: list[tuple[int, str]],
    constraint: list[str],
) -> None:
    cgroups: tuple[Cgroup, ...] = (
        {"path": "/box/job", "oom_group": True},
        {"path": "/box/job/a", "oom_group": True, "pids": [11]},
        {"path": "/box/job/b", "pids": [20, 21]},
        {"path": "/box/other", "pids": [22]},
    )
    boxed(tree, 2, [INIT, DB, *GROUP], *cgroups)
    found = oomd.json(tree, "--policy", policy, *constraint)
    assert victims(found) == expected


def test_a_group_above_the_oom_domain_does_not_count(oomd: Oomd, tree: Path) -> None:
    cgroups: tuple[Cgroup, ...] = (
        {"path": "/box/job", "oom_group": True, "limit_pages": 100_000},
        {"path": "/box/job/a", "limit_pages": 100_000, "pids": [11]},
        {"path": "/box/job/b", "pids": [20]},
    )
    boxed(tree, 2, [INIT, DB, HOG, *GROUP], *cgroups)
    (tree / "sys/fs/cgroup/box/job/a/memory.stat").write_text(STAT)
    found = oomd.json(tree, "--policy", "mainline", "--memcg", "/box/job/a")
    assert victims(found) == [(11, "chosen")]
