"""A recorded decision, taken once more by the same pure functions and compared bit by bit."""

import json
from typing import Any, NamedTuple

from oomd.mm.constraint import case_of
from oomd.mm.oom_badness import Case, ineligible, points_of
from oomd.mm.oom_kill_process import plan_kill
from oomd.mm.out_of_memory import out_of_memory
from oomd.oom import Decision, Kill, KillPlan
from oomd.records.load import Answer, Recorded
from oomd.report.asked import decision_as_json
from oomd.report.trace import full_trace, trace_as_json

__all__ = ["Difference", "Replayed", "replay_record"]


class Difference(NamedTuple):
    """One place in which the two answers are not the same. Values as JSON has them."""

    where: str
    """Such as ``trace[4].detail.points``."""
    recorded: str
    """Empty: it is not there."""
    replayed: str


class Replayed(NamedTuple):
    """What the policy says now."""

    decision: Decision
    plan: KillPlan | None
    differences: tuple[Difference, ...]
    """Empty: the same decision, bit by bit."""


def _ranking(recorded: Recorded, case: Case) -> list[dict[str, Any]]:
    rows = []
    for task in recorded.snapshot.tasks:
        reason = ineligible(task, case)
        points = None if reason else points_of(task, case)
        rows.append({"pid": task.pid, "points": points, "reason": reason})
    return rows


def _members(value: object) -> dict[str, object]:
    """What is inside a value, by how it is reached."""
    if isinstance(value, dict):
        return {f".{name}": one for name, one in value.items()}
    if isinstance(value, list):
        return {f"[{number}]": one for number, one in enumerate(value)}
    return {}


def _text(value: object) -> str:
    # Not ==: to Python true is 1, and 1 is 1.0.
    return json.dumps(value)


def _differences(where: str, recorded: object, replayed: object) -> list[Difference]:
    if _text(recorded) == _text(replayed):
        return []
    was, now = _members(recorded), _members(replayed)
    found = []
    for name in dict.fromkeys((*was, *now)):
        inside = f"{where}{name}"
        if name not in now:
            found.append(Difference(inside, _text(was[name]), ""))
        elif name not in was:
            found.append(Difference(inside, "", _text(now[name])))
        else:
            found += _differences(inside, was[name], now[name])
    # Of two kinds, or the same in another order.
    return found or [Difference(where, _text(recorded), _text(replayed))]


def replay_record(recorded: Recorded) -> Replayed:
    """Ask ``out_of_memory()`` what the daemon asked it; where the answers differ, if they do."""
    oc, snapshot, policy = recorded.oc, recorded.snapshot, recorded.policy
    decision = out_of_memory(oc, snapshot, recorded.sysctls, policy, freed=recorded.freed)
    case = case_of(oc, snapshot, policy)
    plan = None
    if isinstance(decision, Kill) and recorded.relatives is not None:
        plan = plan_kill(decision, recorded.relatives, case)
    now = Answer(
        decision_as_json(decision),
        trace_as_json(full_trace(decision, plan)),
        _ranking(recorded, case),
    )
    differences: list[Difference] = []
    for name, was, again in zip(Answer._fields, recorded.answer, now, strict=True):
        differences += _differences(name.replace("ranking", "candidates"), was, again)
    return Replayed(decision, plan, tuple(differences))
