"""A mempolicy's OOM passes over who is bound to other nodes by a mempolicy, not by a cpuset."""

from pathlib import Path

import pytest

from oomd.mm_types import Node
from oomd.proc.mempolicy import parse_numa_maps
from tests.audit.commands import Oomd
from tests.audit.machines import AMPLE, INIT
from tests.roots import Row, make_root

NODES = [Node(0, 500_000, 500_000), Node(1, 500_000, 500_000)]
BIG: Row = {"pid": 20, "comm": "big", "rss_pages": 9000, "mems_allowed": 0b11}
SMALL: Row = {"pid": 21, "comm": "small", "rss_pages": 5000, "mems_allowed": 0b11}
MAPS = "55d0 {policy} file=/bin/big mapped=3\n7f10 bind:1 anon=1\n7ffc {policy} stack anon=3 N0=3\n"


def chosen(oomd: Oomd, tree: Path, policy: str, maps: str, nodes: str) -> int:
    make_root(tree, [INIT, BIG, SMALL], meminfo=AMPLE, nodes=NODES)
    (tree / "proc/20/numa_maps").write_text(maps)
    pid: int = oomd.json(tree, "--policy", policy, "--nodes", nodes)["decision"]["chosen"]["pid"]
    return pid


@pytest.mark.parametrize(
    ("mempolicy", "el7", "mainline"),
    [
        ("bind:0", 21, 21),
        ("bind=static:0", 21, 21),
        ("interleave:0", 21, 20),
        ("prefer:0", 20, 20),
        ("default", 20, 20),
        ("bind:0-1", 20, 20),
        ("bind:1", 20, 20),
        ("bind:nonsense", 20, 20),
    ],
)
def test_who_is_passed_over(
    oomd: Oomd, tree: Path, mempolicy: str, el7: int, mainline: int
) -> None:
    maps = MAPS.format(policy=mempolicy)
    assert chosen(oomd, tree, "el7", maps, "mempolicy:1") == el7
    assert chosen(oomd, tree, "mainline", maps, "mempolicy:1") == mainline
    # A cpuset's OOM asks for cpusets.
    assert chosen(oomd, tree, "mainline", maps, "cpuset:1") == 20


@pytest.mark.parametrize(("second", "pid"), [("bind:0", 21), ("default", 20)])
def test_one_thread_that_is_not_bound_is_enough(
    oomd: Oomd, tree: Path, second: str, pid: int
) -> None:
    make_root(tree, [INIT, {**BIG, "threads": [{"tid": 22}]}, SMALL], meminfo=AMPLE, nodes=NODES)
    for tid, mempolicy in ((20, "bind:0"), (22, second)):
        maps = tree / f"proc/20/task/{tid}/numa_maps"
        maps.write_text(MAPS.format(policy=mempolicy))
    found = oomd.json(tree, "--policy", "mainline", "--nodes", "mempolicy:1")
    assert found["decision"]["chosen"]["pid"] == pid


def test_a_leader_that_has_exited_binds_to_nothing(oomd: Oomd, tree: Path) -> None:
    make_root(tree, [INIT, {**BIG, "mm_tid": 22}, SMALL], meminfo=AMPLE, nodes=NODES)
    for file in ("proc/20/numa_maps", "proc/20/task/22/numa_maps"):
        (tree / file).write_text(MAPS.format(policy="bind:0"))
    found = oomd.json(tree, "--policy", "mainline", "--nodes", "mempolicy:1")
    assert found["decision"]["chosen"]["pid"] == 20


def test_a_file_that_is_not_there_binds_nobody(oomd: Oomd, tree: Path) -> None:
    make_root(tree, [INIT, BIG, SMALL], meminfo=AMPLE, nodes=NODES)
    assert oomd.json(tree, "--nodes", "mempolicy:1")["decision"]["chosen"]["pid"] == 20


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", ("default", 0)),
        (b"7f00", ("default", 0)),
        (b"7f00 bind:0,2-3 anon=1\n", ("bind", 0b1101)),
        (b"7f00 default stack\n", ("default", 0)),
        (b"7f00 bind:1\n7f10 weighted interleave:0 stack\n", ("weighted", 0)),
        (b"7f00 bind:0-99999999999\n", ("bind", 0)),
    ],
)
def test_the_process_s_own_policy_is_the_stacks(data: bytes, expected: tuple[str, int]) -> None:
    assert parse_numa_maps(data) == expected
