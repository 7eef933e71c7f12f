"""mainline passes over a child of vfork(): it lives on its parent's memory until it calls exec."""

from pathlib import Path

import pytest

from tests.audit.commands import Oomd
from tests.audit.machines import AMPLE, INIT
from tests.roots import Row, make_root

PARENT: Row = {"pid": 20, "comm": "shell", "rss_pages": 5000, "state": "D"}
CHILD: Row = {"pid": 21, "ppid": 20, "comm": "shell", "rss_pages": 5000, "oom_score_adj": 1}
OTHER: Row = {"pid": 30, "comm": "other", "rss_pages": 4000}


def chosen(oomd: Oomd, tree: Path, rows: list[Row], policy: str, *arguments: str) -> int:
    make_root(tree, [INIT, *rows], meminfo=AMPLE)
    pid: int = oomd.json(tree, "--policy", policy, *arguments)["decision"]["chosen"]["pid"]
    return pid


@pytest.mark.parametrize(("policy", "pid"), [("mainline", 20), ("el7", 21)])
def test_the_parent_is_chosen_in_its_place(oomd: Oomd, tree: Path, policy: str, pid: int) -> None:
    assert chosen(oomd, tree, [PARENT, CHILD, OTHER], policy) == pid


def test_the_audit_says_why(oomd: Oomd, tree: Path) -> None:
    make_root(tree, [INIT, PARENT, CHILD, OTHER], meminfo=AMPLE)
    found = oomd.json(tree, "--policy", "mainline")
    assert {one["pid"]: one["reason"] for one in found["tasks"]}[21] == "in vfork"


def test_any_thread_of_the_parent_may_have_called_it(oomd: Oomd, tree: Path) -> None:
    waiting: Row = {**PARENT, "state": "S", "threads": [{"tid": 22}, {"tid": 23, "state": "D"}]}
    assert chosen(oomd, tree, [waiting, CHILD, OTHER], "mainline") == 20
    idle: Row = {**PARENT, "state": "S", "threads": [{"tid": 22}, {"tid": 23}]}
    assert chosen(oomd, tree, [idle, CHILD, OTHER], "mainline") == 21


@pytest.mark.parametrize(
    "parent",
    [
        {**PARENT, "state": "S"},
        {**PARENT, "pid": 19},
        {**PARENT, "rss_pages": 4999},
        {**PARENT, "has_mm": False, "rss_pages": 0},
    ],
    ids=["asleep", "not its parent", "another size", "no mm"],
)
def test_who_only_looks_alike_is_not_passed_over(oomd: Oomd, tree: Path, parent: Row) -> None:
    assert chosen(oomd, tree, [parent, CHILD, OTHER], "mainline") == 21


def test_the_allocating_task_is_not_asked(oomd: Oomd, tree: Path) -> None:
    asked = ("--current", "21", "--assume", "vm.oom_kill_allocating_task=1")
    assert chosen(oomd, tree, [PARENT, CHILD, OTHER], "mainline", *asked) == 21
