"""Eight times the input takes about eight times as long, and nowhere near sixty-four.

Processor time, the best of several tries, and a margin of three: only what grows faster than in
proportion fails, however busy the machine is.
"""

import json
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import pytest

from tests.fuzz import samples
from tests.fuzz.target import SEEDS, check
from tests.fuzz.targets import TARGETS

_TIMES: Final = 8
_MARGIN: Final = 3
_TRIES: Final = 4
# Below this a ratio says nothing.
_FLOOR_S: Final = 0.002


class Shape(NamedTuple):
    """An input that can be had in any size."""

    target: str
    name: str
    make: Callable[[int], bytes]
    size: int
    """Of the smaller one."""


def _seed(name: str) -> bytes:
    return (SEEDS / name).read_bytes()


def _lines(form: str) -> Callable[[int], bytes]:
    """So many lines, each with its number in it."""
    return lambda count: "".join(form.replace("N", str(n)) for n in range(count)).encode()


def _around(name: str, at: bytes, form: str) -> Callable[[int], bytes]:
    """A good sample with so many lines put before ``at``."""
    head, found, tail = _seed(name).partition(at)
    assert found, at
    lines = _lines(form)
    return lambda count: head + lines(count) + found + tail


def _json(**keys: Callable[[int], object]) -> Callable[[int], bytes]:
    return lambda count: json.dumps({name: of(count) for name, of in keys.items()}).encode()


def _candidates(count: int) -> bytes:
    record = json.loads(samples.record("el7"))
    one = record["candidates"][0]
    record["candidates"] = [{**one, "pid": 1000 + n} for n in range(count)]
    return json.dumps(record).encode()


_KILLED: Final = "Memory cgroup out of memory: Killed process 1N (hog) total-vm:1kB, anon-rss:1kB\n"
_ROW: Final = "[    1N]     0   1N     1312     1029    45056        0             0 member\n"
_END: Final = b"oom-kill:constraint"


def _dying_group(count: int) -> bytes:
    """A table, and a memory.oom.group of all that is in it."""
    head, _, tail = _seed("report/memcg_group").partition(_END)
    return head + _lines(_ROW)(count) + _END + tail + _lines(_KILLED)(count)


def _plan_of(count: int) -> bytes:
    plan = json.loads(samples.plan()[0])
    plan["plugins"] = [{"source": f"/etc/oomd/notifiers.d/{n}.py"} for n in range(count)]
    return json.dumps(plan).encode()


_INVOKED: Final = "hog invoked oom-killer: gfp_mask=0x1, order=0, oom_score_adj=0\n"


def _summary(count: int) -> bytes:
    words = ",mems_allowed=,oom_memcg=,task_memcg=,task=,pid=1,uid=1"
    line = f"oom-kill:constraint=CONSTRAINT_A,nodemask=,cpuset={words * count}x"
    # Shorter than what is too long for a line: it's for the pattern to cope.
    return f"{_INVOKED}{line}\n".encode()


def _clashing(count: int) -> bytes:
    """Numbers whose hashes are all the same."""
    record = json.loads(samples.record("el7"))
    record["control"]["victims"] = [[n * (2**61 - 1), 7] for n in range(count)]
    return json.dumps(record).encode()


SHAPES: Final = (
    Shape("status", "groups", _around("status/init", b"NStgid", "Groups:\t N N N\n"), 8000),
    Shape("stat", "comm", lambda count: b"1 (" + b") " * count + _seed("stat/init")[2:], 50_000),
    Shape("meminfo", "names", _around("meminfo/machine", b"Buffers", "NameN: 5 kB\n"), 8000),
    Shape("zoneinfo", "zones", _lines("Node 0, zone N\n spanned 5\n present 5\n"), 4000),
    Shape("pcp", "processors", _lines("\n              count: N\n"), 8000),
    Shape("pressure", "lines", _lines("some avg10=0.00 avg60=0.00 avg300=0.00 total=N\n"), 4000),
    Shape("children", "pids", _lines("N "), 20_000),
    Shape("procs", "pids", _lines("N\n"), 20_000),
    Shape("memory_stat", "names", _lines("total_N 5\n"), 8000),
    Shape("swaps", "names", _lines("/swapN file 5 0 0\n"), 8000),
    Shape(
        "manifest",
        "clashing pids",
        # Their hashes are all the same.
        _json(
            oomd_recording=lambda count: 1,
            same_mm=lambda count: [[n * (2**61 - 1), 7, True] for n in range(count)],
        ),
        4000,
    ),
    Shape("settings", "tables", _lines("[notifiers.nN]\nx = 1\n"), 400),
    Shape(
        "settings", "long header", lambda n: b"[" + b"a" * n * 8 + b"]\n" + _lines("kN=1\n")(n), 600
    ),
    Shape("settings", "dotted key", lambda count: b"a." * count + b"a = 1\n", 1500),
    Shape("settings", "array", lambda n: b"[notifiers.x]\ny = [\n" + b'"a",\n' * n + b"]\n", 600),
    Shape("lines", "unknown", _lines("keyN=1\n"), 8000),
    Shape("plan", "plugins", _plan_of, 800),
    Shape("log_line", "spaces", lambda count: b"[" + b" " * count, 8000),
    Shape("report", "rows", _around("report/memcg_group", _END, _ROW), 500),
    Shape("report", "group", _dying_group, 700),
    Shape("report", "reports", lambda count: _seed("report/memcg_group") * count, 5),
    Shape("report", "hosts", _lines("Sep 29 08:12:34 hN kernel: hog invoked oom-killer: x\n"), 500),
    Shape("report", "one line", lambda n: _seed("report/el7").replace(b"\n", b"#012") * n, 10),
    Shape("report", "words", _summary, 17),
    Shape("record", "candidates", _candidates, 60),
    Shape("record", "clashing victims", _clashing, 1500),
)


def _seconds(shape: Shape, data: bytes) -> float:
    target = TARGETS[shape.target]
    begin_s = time.process_time()
    try:
        target.call(data)
    except target.errors:
        pass
    return max(time.process_time() - begin_s, _FLOOR_S)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.target} {shape.name}")
def test_time_grows_with_size(shape: Shape) -> None:
    small, large = shape.make(shape.size), shape.make(shape.size * _TIMES)
    least_s, most_s = float("inf"), float("inf")
    for _ in range(_TRIES):
        least_s = min(least_s, _seconds(shape, small))
        most_s = min(most_s, _seconds(shape, large))
        if most_s < _TIMES * _MARGIN * least_s:
            return
    pytest.fail(f"{len(small)} bytes: {least_s:.3f} s, {len(large)} bytes: {most_s:.3f} s")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.target} {shape.name}")
def test_size_does_not_break_a_promise(shape: Shape) -> None:
    check(TARGETS[shape.target], shape.make(shape.size))
