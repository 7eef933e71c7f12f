"""The way back from a record to what ``out_of_memory()`` was asked. Strict: what is not exactly a
record is refused, with one line that names what is wrong.
"""

import json
from typing import Any, NamedTuple, NoReturn

from oomd.mm.policy import POLICIES, Policy
from oomd.mm_types import MemCgroup, MemInfo, Node, Snapshot, Sysctls, Task, TaskId
from oomd.oom import Notified, NotifierChain, OomControl, Relatives, Step
from oomd.records.fields import BadRecord, Keys, as_type, as_value
from oomd.report.record import SCHEMA

__all__ = [
    "BYTES_AT_MOST",
    "About",
    "Answer",
    "BadRecord",
    "Recorded",
    "load_record",
    "parse_record",
]

# Some hundred times what a record takes.
BYTES_AT_MOST = 4 << 20

# What datetime can show.
_YEAR_9999_S = 253_370_764_800

# MAX_NUMNODES, include/linux/numa.h.
_MAX_NODES = 1024


class Answer(NamedTuple):
    """What the policy said, as data: see ``decision_as_json()`` and ``trace_as_json()``."""

    decision: dict[str, Any]
    trace: list[dict[str, Any]]
    ranking: list[dict[str, Any]]
    """Of each candidate its ``pid``, its ``points`` and the ``reason`` why it has none."""


class About(NamedTuple):
    """When it was, why, and what came of it."""

    time_s: float
    """Since 1970, UTC."""
    trigger: str
    """The threshold that was crossed, or ``manual``."""
    verdict: str
    """What came of it in a word: also ``missed`` for a kill that was too late."""
    victims: tuple[str, ...]
    """Who was killed, the victim first, in words."""
    settled: str
    """How the kill ended, in words. Empty: not known."""


class Recorded(NamedTuple):
    """A decision that a daemon has taken."""

    about: About
    oc: OomControl
    snapshot: Snapshot
    """Its tasks are those that the daemon held."""
    sysctls: Sysctls
    policy: Policy
    freed: NotifierChain
    relatives: Relatives | None
    """None: nobody was to be killed, so step 7 was not reached."""
    answer: Answer


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) != len(pairs):
        raise ValueError("twice")
    return content


def parse_record(data: bytes) -> dict[str, Any]:
    """The JSON object of a record, and no more said of it. Raises BadRecord."""
    if len(data) > BYTES_AT_MOST:
        raise BadRecord("", f"larger than {BYTES_AT_MOST >> 20} MiB")
    try:
        content = json.loads(data, parse_constant=_no_constant, object_pairs_hook=_no_twins)
    except (ValueError, RecursionError):
        raise BadRecord("", "not JSON, or cut short") from None
    if not isinstance(content, dict) or content.get("kind") != "decision":
        raise BadRecord("", "not the record of a decision")
    if content.get("schema") != SCHEMA:
        raise BadRecord("schema", f"is not {SCHEMA}: another version of oomd has written it")
    return content


def _candidate(value: object, where: str) -> Task:
    """The task; what was made of it is part of the answer."""
    rest = {"points", "reason"}
    bare = (
        {k: one for k, one in value.items() if k not in rest} if isinstance(value, dict) else value
    )
    task: Task = as_type(Task, bare, where)
    return task


def _memcg(value: object) -> MemCgroup | None:
    memcg: MemCgroup | None = as_type(MemCgroup | None, value, "memcg")
    if memcg is not None and memcg.version not in (1, 2):
        raise BadRecord("memcg.version", "is neither 1 nor 2")
    return memcg


def _since(keys: Keys, name: str) -> int | None:
    # A number that earlier records have not got: then everybody was read in full.
    value: int | None = as_type(int | None, keys.raw(name), name) if name in keys.names() else None
    return value


def _snapshot(keys: Keys) -> Snapshot:
    page_size_bytes = keys.take("page_size_bytes", int)
    if page_size_bytes < 1:
        raise BadRecord("page_size_bytes", "is not a size")
    nodes: list[Node] = [as_type(Node, one, where) for where, one in keys.array("nodes")]
    if any(not 0 <= node.nid < _MAX_NODES for node in nodes):
        raise BadRecord("nodes", "has a node that no kernel has")
    tasks = [_candidate(one, where) for where, one in keys.array("candidates")]
    return Snapshot(
        tuple(tasks),
        keys.take("meminfo", MemInfo),
        page_size_bytes,
        keys.take("kernel", str),
        tuple(nodes),
        _memcg(keys.raw("memcg")),
        keys.take("tasks_seen", int),
        keys.take("scan_us", int),
        _since(keys, "tasks_read"),
        _since(keys, "upper_bound_pages"),
    )


def _chain(keys: Keys) -> NotifierChain:
    results: list[Notified] = [
        as_type(Notified, one, where) for where, one in keys.array("notifiers")
    ]
    notified = Keys(keys.raw("notified"), "notified")
    notified.only("called", "freed_pages", "came_back")
    return NotifierChain(
        tuple(results),
        notified.take("called", bool),
        notified.take("freed_pages", int),
        notified.take("came_back", bool),
    )


def _ranked(value: object, where: str) -> dict[str, Any]:
    keys = Keys(value, where)
    points: int | None = as_type(int | None, keys.raw("points"), keys.path("points"))
    reason = keys.take("reason", str)
    return {"pid": keys.take("pid", int), "points": points, "reason": reason}


def _step(value: object, where: str) -> None:
    keys = Keys(value, where)
    keys.only(*Step._fields)
    keys.take("step", int)
    keys.take("name", str)
    keys.take("verdict", str)
    detail = Keys(keys.raw("detail"), keys.path("detail"))
    for name in detail.names():
        as_value(detail.raw(name), keys.path("detail"))


def _answer(keys: Keys) -> Answer:
    decision = Keys(keys.raw("decision"), "decision")
    decision.take("verdict", str)
    for name in decision.names():
        value = decision.raw(name)
        if isinstance(value, list):
            as_type(TaskId, value, "decision")
        else:
            as_value(value, "decision")
    for where, one in keys.array("trace"):
        _step(one, where)
    return Answer(
        keys.raw("decision"),
        keys.raw("trace"),
        [_ranked(one, where) for where, one in keys.array("candidates")],
    )


def _about(keys: Keys) -> About:
    time_s = keys.take("time", float)
    if not 0 <= time_s < _YEAR_9999_S:
        raise BadRecord("time", "is no time")
    victims = []
    for where, one in keys.array("victims"):
        victim = Keys(one, where)
        pid, why = victim.take("pid", int), victim.take("why", str)
        victims.append(f"{pid} ({victim.take('comm', str)}, {why})")
    settled = keys.raw("settled") if "settled" in keys.names() else None
    return About(
        time_s,
        keys.take("trigger", str),
        keys.take("verdict", str),
        tuple(victims),
        "" if settled is None else Keys(settled, "settled").take("text", str),
    )


def load_record(data: bytes) -> Recorded:
    """What was asked and what was answered, from the bytes of a record. Raises BadRecord."""
    content = parse_record(data)
    keys = Keys(content)
    name = keys.take("policy", str)
    if name not in POLICIES:
        raise BadRecord("policy", f"is none of {', '.join(POLICIES)}")
    return Recorded(
        _about(keys),
        keys.take("control", OomControl),
        _snapshot(keys),
        keys.take("sysctls", Sysctls),
        POLICIES[name],
        _chain(keys),
        as_type(Relatives | None, keys.raw("relatives"), "relatives"),
        _answer(keys),
    )
