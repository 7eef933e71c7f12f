"""A decision as a plain record, for the journal and for a file that ``oomd replay`` can judge
again: what was seen, decided and done."""

import time

from oomd import __version__
from oomd.event import Event
from oomd.mm.oom_badness import ineligible, oom_score, points_of
from oomd.mm_types import Pressure, TaskId
from oomd.oom import Companion, Kill, KillPlan
from oomd.report.asked import asked, task_as_json
from oomd.report.kernel_log import dump_tasks, printable
from oomd.report.trace import Victim, full_trace, trace_as_json, verdict_of, victims_of
from oomd.typed import Any, Iterable

__all__ = ["SCHEMA", "Record", "decision_record", "settled_record"]

Record = dict[str, Any]
"""Only what JSON has a word for."""

SCHEMA = 1
"""Of the records of decisions. Another one: what was asked or answered is told differently."""


def settled_record(text: str, fields: dict[str, int | str], ident: TaskId | None = None) -> Record:
    """How a kill ended: a sentence, and the figures that a machine may want of it.

    ``ident``: whose end it is, for the record of the decision that led to it.
    """
    record: Record = {"kind": "settled", "time": time.time(), "text": text, "fields": fields}
    return record if ident is None else {**record, "task": [*ident]}


def _candidates(event: Event) -> list[Record]:
    rows = []
    for task in event.snapshot.tasks:
        reason = ineligible(task, event.case)
        points = None if reason else points_of(task, event.case)
        rows.append({**task_as_json(task), "points": points, "reason": reason})
    return rows


def _pressure(pressure: Pressure | None) -> Record | None:
    if pressure is None:
        return None
    return {"some": pressure.some._asdict(), "full": pressure.full._asdict()}


def _victim(one: Victim) -> Record:
    pid, starttime_ticks = one.task.ident
    return {
        "pid": pid,
        "starttime_ticks": starttime_ticks,
        "comm": printable(one.task.comm),
        "uid": one.task.uid,
        "why": one.why,
    }


def decision_record(
    event: Event, plan: KillPlan | None, companions: Iterable[Companion], lines: Iterable[str]
) -> Record:
    """The decision with its trace, the kernel's lines, and the candidates that were held."""
    decision, snapshot = event.decision, event.snapshot
    companions = tuple(companions)
    record: Record = {
        "kind": "decision",
        "schema": SCHEMA,
        "oomd": __version__,
        "time": time.time(),
        "policy": event.case.policy.name,
        "trigger": event.trigger,
        "verdict": verdict_of(decision),
        "constraint": decision.constraint.value,
        "totalpages": decision.totalpages,
        "page_size_bytes": snapshot.page_size_bytes,
        "scan_us": snapshot.scan_us,
        "tasks_seen": snapshot.tasks_seen,
        "tasks_read": snapshot.tasks_read,
        "upper_bound_pages": snapshot.upper_bound_pages,
        "meminfo": snapshot.meminfo._asdict(),
        "pressure": _pressure(event.look.pressure),
        "sysctls": event.sysctls._asdict(),
        "thresholds": [
            {**one._asdict(), "detail": {**one.detail}} for one in event.look.thresholds
        ],
        "notifiers": [one._asdict() for one in event.freed.results],
        **asked(event, plan),
        "victims": [_victim(one) for one in victims_of(decision, plan, companions)],
        "trace": trace_as_json(full_trace(decision, plan)),
        "lines": list(lines),
        "candidates": _candidates(event),
    }
    if isinstance(decision, Kill):
        record["points"] = decision.points
        record["score"] = oom_score(decision.points, decision.totalpages)
        if event.sysctls.oom_dump_tasks:
            policy = event.case.policy.name
            table = dump_tasks(policy, snapshot.tasks, snapshot.page_size_bytes)
            record["table"] = list(table)
    return record
