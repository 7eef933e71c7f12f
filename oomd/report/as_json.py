"""The audit as JSON, schema 1. Fields may be added; none changes its meaning."""

from typing import Any

from oomd.mm.oom_badness import oom_score
from oomd.mm_types import Pressure
from oomd.oom import Kill
from oomd.report.findings import Findings, Ranked
from oomd.report.kernel_log import printable
from oomd.report.trace import full_trace, trace_as_json, verdict_of, victims_of
from oomd.thresholds import Threshold

__all__ = ["SCHEMA", "as_json"]

SCHEMA = 1

Json = dict[str, Any]


def _pressure(pressure: Pressure | None) -> Json | None:
    if pressure is None:
        return None
    return {name: getattr(pressure, name)._asdict() for name in ("some", "full")}


def _threshold(threshold: Threshold) -> Json:
    return {**threshold._asdict(), "detail": {**threshold.detail}}


def _decision(findings: Findings) -> Json:
    decision = findings.decision
    chosen = None
    if isinstance(decision, Kill):
        task = decision.chosen
        chosen = {
            "pid": task.pid,
            "comm": printable(task.comm),
            "points": decision.points,
            "score": oom_score(decision.points, decision.totalpages),
        }
    message = getattr(decision, "message", None)
    unruled = findings.without_rules
    return {
        "verdict": verdict_of(decision),
        "constraint": decision.constraint.value,
        "totalpages": decision.totalpages,
        "message": message,
        "chosen": chosen,
        "without_rules": None if unruled is None else _without_rules(unruled, decision.totalpages),
        "victims": [
            {"pid": one.task.pid, "comm": printable(one.task.comm), "why": one.why}
            for one in victims_of(decision, findings.plan, findings.companions)
        ],
        "trace": trace_as_json(full_trace(decision, findings.plan)),
    }


def _without_rules(ranked: Ranked, totalpages: int) -> Json:
    points = ranked.points_without_rules or 0
    return {
        "pid": ranked.task.pid,
        "comm": printable(ranked.task.comm),
        "points": points,
        "score": oom_score(points, totalpages),
    }


def _task(ranked: Ranked) -> Json:
    task = ranked.task
    return {
        "pid": task.pid,
        "ppid": task.ppid,
        "uid": task.uid,
        "comm": printable(task.comm),
        "state": task.state,
        "rss_pages": task.rss_pages,
        "pgtables_pages": task.pgtables_pages,
        "swapents_pages": task.swapents_pages,
        "oom_score_adj": task.oom_score_adj,
        "cap_sys_admin": task.cap_sys_admin,
        "starttime_ticks": task.starttime_ticks,
        "points": ranked.points,
        "eligible": not ranked.reason,
        "reason": ranked.reason,
        "points_without_rules": ranked.points_without_rules,
        "ruling": None if ranked.ruling is None else ranked.ruling._asdict(),
    }


def as_json(findings: Findings) -> Json:
    """The whole audit as plain values for ``json.dumps``."""
    snapshot, sysctls = findings.snapshot, findings.sysctls
    return {
        "schema": SCHEMA,
        "policy": findings.policy,
        "kernel": findings.kernel,
        "page_size_bytes": snapshot.page_size_bytes,
        "sysctls": {
            "vm.panic_on_oom": sysctls.panic_on_oom,
            "vm.oom_kill_allocating_task": sysctls.oom_kill_allocating_task,
            "vm.oom_dump_tasks": sysctls.oom_dump_tasks,
        },
        "meminfo": snapshot.meminfo._asdict(),
        "zram": [device._asdict() for device in findings.machine.zram],
        "pressure": _pressure(findings.pressure),
        "thresholds": [_threshold(one) for one in findings.thresholds],
        "would_act_now": findings.would_act is not None,
        "decision": _decision(findings),
        "tasks": [_task(ranked) for ranked in findings.ranking],
        "notes": list(findings.notes),
        "scan_us": snapshot.scan_us,
    }
