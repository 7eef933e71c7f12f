"""The JSON of an audit: its schema, that it is stable, and that a recording gives it again."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oomd.mm_types import MemInfo, Node, Sysctls
from tests.audit.commands import Json, Oomd
from tests.audit.machines import AMPLE, HOG, INIT, SHORT, TASKS
from tests.audit.schema import problems
from tests.proc.hostile import HOSTILE_COMMS
from tests.roots import Row, make_root

STEP_NAMES = [
    "oom_notify_list",
    "task_will_free_mem",
    "check_panic_on_oom",
    "oom_kill_allocating_task",
    "select_bad_process",
    "no_killable_process",
    "oom_kill_process",
]

DYING: Row = {"pid": 20, "comm": "victim", "rss_pages": 5_000, "sigkill_pending": True}
CHILD: Row = {"pid": 20, "comm": "worker", "ppid": 10, "rss_pages": 100}
SECRET: Row = {"pid": 20, "refusals": {"status": "EACCES"}}

MACHINES: dict[str, dict[str, Any]] = {
    "kill": {"tasks": TASKS},
    "child": {"tasks": [*TASKS, CHILD]},
    "wait": {"tasks": [*TASKS, DYING]},
    "panic": {"tasks": TASKS, "sysctls": Sysctls(panic_on_oom=2)},
    "nobody": {"tasks": [INIT]},
    "refused": {"tasks": [*TASKS, SECRET]},
    "short": {"tasks": TASKS, "meminfo": SHORT},
    "no pressure": {"tasks": TASKS, "pressure": None},
    "bare": {"tasks": TASKS, "pressure": None, "sysctls": None},
    "swap": {"tasks": TASKS, "meminfo": AMPLE._replace(swap_total_kib=4000, swap_free_kib=1)},
    "nodes": {"tasks": TASKS, "nodes": [Node(0, 600_000, 500_000)]},
    "large pages": {"tasks": TASKS, "page_size_bytes": 65536},
    "zram": {
        "tasks": TASKS,
        "files": {
            "sys/block/zram0/disksize": "1073741824\n",
            "sys/block/zram0/mm_stat": "  400  100  8192  0  8192  0  0  0  0\n",
            "sys/block/zram1/disksize": "0\n",
        },
    },
    "hostile": {
        "tasks": [INIT]
        + [
            {"pid": 20 + n, "comm": comm.decode("utf-8", "surrogateescape"), "rss_pages": 9 + n}
            for n, comm in enumerate(HOSTILE_COMMS)
        ]
    },
}


def check(found: Json) -> None:
    """What the schema says, and what it cannot say."""
    assert problems(found) == []
    trace = found["decision"]["trace"]
    assert [step["step"] for step in trace] == [1, 2, 3, 4, 5, 6, 7]
    assert [step["name"] for step in trace] == STEP_NAMES
    assert [one["name"] for one in found["thresholds"]] == ["exhaustion", "stall"]
    assert found["would_act_now"] == any(one["crossed"] for one in found["thresholds"])
    for task in found["tasks"]:
        assert task["eligible"] == (task["points"] is not None) == (not task["reason"])
    points = [task["points"] for task in found["tasks"] if task["eligible"]]
    assert points == sorted(points, reverse=True)


@pytest.mark.parametrize("policy", ["el7", "mainline"])
@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_every_fake_machine_keeps_to_the_schema(
    oomd: Oomd, tree: Path, machine: dict[str, Any], policy: str
) -> None:
    make_root(tree, **{"meminfo": AMPLE, **machine})
    check(oomd.json(tree, "--policy", policy))


@pytest.mark.live
@pytest.mark.parametrize("policy", ["el7", "mainline", "auto"])
def test_this_machine_keeps_to_the_schema(oomd: Oomd, policy: str) -> None:
    ran = oomd.audit("--json", "--policy", policy)
    assert ran.status in (0, 1), ran.err
    check(json.loads(ran.out))


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the schema names a key: mappings with keys of their own are left out."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*path, key)
            if key != "detail":
                yield from _places(inner, (*path, key))
    elif isinstance(value, list) and value:
        yield from _places(value[0], (*path, 0))


def test_the_check_finds_whatever_is_missing_or_of_another_type(oomd: Oomd, tree: Path) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    text = json.dumps(oomd.json(tree))
    places = list(_places(json.loads(text)))
    assert len(places) > 60
    for *path, key in places:
        broken = json.loads(text)
        at = broken
        for step in path:
            at = at[step]
        at[key] = object()
        assert problems(broken), f"{path} {key} may be anything"
        del at[key]
        assert problems(broken), f"{path} {key} may be missing"
        at[f"{key}2"] = 0
        assert any("not in the schema" in one for one in problems(broken))


def without_time(found: Json) -> Json:
    return {key: value for key, value in found.items() if key != "scan_us"}


def test_the_same_tree_gives_the_same_bytes(oomd: Oomd, tree: Path) -> None:
    make_root(tree, TASKS, meminfo=AMPLE)
    first, second = (
        oomd.audit("--root", tree, "--json").out.splitlines(keepends=True) for _ in range(2)
    )
    differing = [a for a, b in zip(first, second, strict=True) if a != b]
    assert [line for line in differing if '"scan_us"' not in line] == []
    # One object, the keys in the order in which they are documented, and a newline.
    assert first[-1] == "}\n"


@pytest.mark.parametrize("machine", MACHINES.values(), ids=MACHINES.keys())
def test_a_recorded_fake_machine_is_judged_the_same(
    oomd: Oomd, tree: Path, tmp_path: Path, machine: dict[str, Any]
) -> None:
    make_root(tree, **{"meminfo": AMPLE, **machine})
    recorded = oomd.json(tree, "--record", tmp_path / "recording")
    again = oomd.json(tmp_path / "recording")
    assert without_time(again) == without_time(recorded)


@pytest.mark.live
def test_this_machine_recorded_is_judged_the_same(oomd: Oomd, tmp_path: Path) -> None:
    recording = tmp_path / "recording"
    ran = oomd.audit("--json", "--record", recording)
    assert ran.status in (0, 1), ran.err
    assert without_time(oomd.json(recording)) == without_time(json.loads(ran.out))
    # Names and sizes of every user's processes.
    assert stat.S_IMODE(recording.stat().st_mode) == 0o700
    names = {path.name for path in recording.rglob("*")}
    assert "manifest.json" in names
    assert not names & {"cmdline", "environ", "maps", "smaps"}


def test_of_a_recording_the_what_if_questions_can_be_asked(
    oomd: Oomd, tree: Path, tmp_path: Path
) -> None:
    nodes = [Node(0, 600_000, 500_000), Node(1, 400_000, 400_000)]
    make_root(tree, TASKS, meminfo=AMPLE, nodes=nodes, same_mm=[(10, 11, False)])
    assert oomd.json(tree, "--record", tmp_path / "r")["decision"]["verdict"] == "kill"
    found = oomd.json(tmp_path / "r", "--assume", "vm.panic_on_oom=1")
    assert found["decision"]["verdict"] == "panic"
    found = oomd.json(tmp_path / "r", "--nodes", "1", "--policy", "mainline")
    assert found["decision"]["totalpages"] == 400_000


def test_pages_are_those_of_the_tree(oomd: Oomd, tree: Path) -> None:
    make_root(tree, [INIT, HOG], meminfo=AMPLE, page_size_bytes=65536)
    found = oomd.json(tree)
    assert found["page_size_bytes"] == 65536
    assert found["decision"]["totalpages"] == AMPLE.mem_total_kib // 64


def test_thresholds_say_what_is_compared_with_what(oomd: Oomd, tree: Path) -> None:
    pressure = (
        "some avg10=30.00 avg60=0.00 avg300=0.00 total=5\n"
        "full avg10=25.50 avg60=1.00 avg300=0.25 total=4\n"
    )
    meminfo = MemInfo(4_000_000, 100_000, 400_000)
    make_root(tree, TASKS, meminfo=meminfo, pressure=pressure)
    found = oomd.json(tree)
    exhaustion, stall = found["thresholds"]
    assert (exhaustion["value"], exhaustion["limit"]) == (400_000, 200_000)
    assert (exhaustion["unit"], exhaustion["crossed"]) == ("KiB", False)
    assert (stall["value"], stall["limit"], stall["unit"]) == (25.5, 20.0, "%")
    # 12.5 % of the memory are 500,000 KiB.
    assert stall["crossed"]
    assert found["would_act_now"]
    assert found["pressure"]["full"] == {
        "avg10_percent": 25.5,
        "avg60_percent": 1.0,
        "avg300_percent": 0.25,
        "total_us": 4,
    }
