"""The trace as data: the only explanation there is, for the text, the JSON and the log."""

from oomd.mm_types import Task
from oomd.oom import Companion, Decision, Kill, KillPlan, Step
from oomd.typed import Any, Iterable, NamedTuple

__all__ = ["Victim", "full_trace", "trace_as_json", "verdict_of", "victims_of"]


class Victim(NamedTuple):
    """Somebody who would die."""

    task: Task
    why: str
    """``chosen``, ``child``, ``sharing_mm`` or ``oom_group``."""


def verdict_of(decision: Decision) -> str:
    """The decision in one word, as in the JSON."""
    return {
        "Freed": "freed",
        "LetItExit": "let_exit",
        "Panic": "panic",
        "Kill": "kill",
        "Wait": "wait",
        "NoneKillable": "none_killable",
    }[type(decision).__name__]


def victims_of(
    decision: Decision, plan: KillPlan | None, companions: tuple[Companion, ...]
) -> tuple[Victim, ...]:
    """Who would get SIGKILL, the victim first."""
    if not isinstance(decision, Kill) or plan is None or plan.already_dying:
        return ()
    why = "chosen" if plan.victim.ident == plan.chosen.ident else "child"
    return (Victim(plan.victim, why), *(Victim(one.task, one.why) for one in companions))


def full_trace(decision: Decision, plan: KillPlan | None) -> tuple[Step, ...]:
    """The seven steps, the last one from the plan where there is one."""
    if plan is None:
        return decision.trace
    return (*decision.trace[:-1], plan.trace)


def trace_as_json(trace: Iterable[Step]) -> list[dict[str, Any]]:
    """The seven steps as objects."""
    return [
        {"step": step.step, "name": step.name, "verdict": step.verdict, "detail": {**step.detail}}
        for step in trace
    ]
