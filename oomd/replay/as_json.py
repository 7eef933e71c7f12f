"""A judged report as one JSON object. Fields may be added; none changes its meaning."""

from typing import Any

from oomd.config import one_line
from oomd.mm.oom_badness import oom_score
from oomd.oom import Kill
from oomd.replay.explain import explanation
from oomd.replay.findings import Judgement
from oomd.replay.kernel_report import KernelReport, Named
from oomd.replay.rebuild import chosen_row
from oomd.replay.steps import kind_of, steps_of
from oomd.report.trace import verdict_of

__all__ = ["as_json", "ours_of"]

Json = dict[str, Any]


def _named(one: Named) -> Json:
    return {"pid": one.pid, "comm": one_line(one.comm)}


def _chosen(report: KernelReport) -> Json | None:
    named = report.chosen or report.exiting or (report.killed[0] if report.killed else None)
    if named is None or report.by_oomd:
        return None
    row = chosen_row(report)
    tgid = row.tgid if row is not None else None
    return {"pid": named.pid, "tgid": tgid, "comm": one_line(named.comm), "score": report.score}


def ours_of(judgement: Judgement) -> Json | None:
    """What the policy does; a figure that depends on what is not shown is null."""
    answer = judgement.answer
    if answer is None:
        return None
    decision = answer.decision
    found: Json = dict.fromkeys(("verdict", "pid", "comm", "points", "score"))
    found["verdict"] = verdict_of(decision)
    if isinstance(decision, Kill):
        kills = [one.decision for one in judgement.answers if isinstance(one.decision, Kill)]
        pids = {one.chosen.pid for one in kills}
        if len(pids) == 1 and len(kills) == len(judgement.answers):
            found |= {"pid": decision.chosen.pid, "comm": one_line(decision.chosen.comm)}
            if len({one.points for one in kills}) == 1:
                found["points"] = decision.points
            if judgement.total.pages is not None:
                found["score"] = oom_score(decision.points, judgement.total.pages)
    return found


def _steps(judgement: Judgement) -> list[Json]:
    steps = []
    for seen in steps_of(judgement):
        step: Json = {"step": seen.step, "name": seen.name, "kernel": seen.kernel}
        step["ours"] = seen.ours.verdict if seen.ours is not None else None
        step["detail"] = {**seen.ours.detail} if seen.ours is not None else {}
        steps.append(step)
    return steps


def as_json(index: int, judgement: Judgement) -> Json:
    """``index`` counts the reports of a log from 1."""
    report = judgement.report
    found: Json = {
        "index": index,
        "line": report.line,
        "source": "oomd" if report.by_oomd else "kernel",
        "kernel": one_line(report.kernel),
        "profile": judgement.profile.policy.name,
        "kind": kind_of(report),
        "complete": report.complete,
        "totalpages": judgement.total.pages,
        "kernel_chosen": _chosen(report),
        "kernel_killed": [] if report.by_oomd else [_named(one) for one in report.killed],
        "ours": ours_of(judgement),
        "agrees": judgement.agrees,
        "score_agrees": judgement.score_agrees,
        "explanation": explanation(judgement),
        "steps": [] if report.by_oomd else _steps(judgement),
    }
    if report.by_oomd:
        found["oomd_killed"] = [_named(one) for one in report.killed]
    return found
