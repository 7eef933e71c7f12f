"""The seven steps of ``out_of_memory()``: as far as the report shows them, and as the policy took
them."""

from collections.abc import Iterable
from typing import NamedTuple

from oomd.config import one_line
from oomd.mm.out_of_memory import STEP_NAMES
from oomd.oom import Constraint, Step
from oomd.replay.findings import Judgement
from oomd.replay.kernel_report import KernelReport, Kind, Named
from oomd.replay.totals import constraint_of
from oomd.report.trace import full_trace

__all__ = ["StepSeen", "chosen_words", "kind_of", "names", "steps_of"]

_NOT_REACHED = "not reached"
_NOT_SHOWN = "not shown: the log is cut"
_BY_SYSCTL = "oom_kill_allocating_task"


class StepSeen(NamedTuple):
    """One step, twice."""

    step: int
    name: str
    """The kernel's name."""
    kernel: str
    """What the report shows of it."""
    ours: Step | None
    """The policy's, with its numbers. None: the report could not be judged."""


def kind_of(report: KernelReport) -> Kind:
    """What kind of OOM it was; a panic before all else."""
    if report.panic:
        return "panic"
    if report.manual:
        return "sysrq"
    kinds: dict[Constraint, Kind] = {
        Constraint.MEMCG: "memcg",
        Constraint.CPUSET: "cpuset",
        Constraint.MEMORY_POLICY: "mempolicy",
    }
    return kinds.get(constraint_of(report), "global")


def names(tasks: Iterable[Named]) -> str:
    """Tasks as a person reads them."""
    return ", ".join(f"{one.pid} ({one_line(one.comm)})" for one in tasks)


def chosen_words(report: KernelReport) -> str:
    """Whom the kernel chose, with the score where it gives one."""
    named = report.chosen or report.exiting or (report.killed[0] if report.killed else None)
    if named is None:
        return ""
    score = "" if report.score is None else f", score {report.score}"
    return names([named]) + score


def _first_two(report: KernelReport) -> tuple[str, str]:
    if report.manual:
        return "not shown", "a manual OOM: current is a kernel worker"
    dying = "current was not dying, or there would be no report"
    if constraint_of(report) is Constraint.MEMCG:
        return "a memcg OOM calls no notifiers", dying
    return "they freed nothing, or there would be no report", dying


def _choice(report: KernelReport) -> tuple[str, str, str]:
    """Steps 4 to 6."""
    if "panic_on_oom" in report.panic:
        return _NOT_REACHED, _NOT_REACHED, _NOT_REACHED
    if _BY_SYSCTL in report.message:
        return f"killed current: {chosen_words(report)}", _NOT_REACHED, _NOT_REACHED
    if report.panic:
        return "not taken", "nobody is eligible", f"panic: {report.panic}"
    if report.none_killable:
        return "not taken", "nobody is eligible", "nobody is killed, and no panic"
    if not chosen_words(report):
        return _NOT_SHOWN, _NOT_SHOWN, _NOT_SHOWN
    return "not taken", chosen_words(report), _NOT_REACHED


def _kill(report: KernelReport) -> str:
    if report.panic or report.none_killable:
        return _NOT_REACHED
    if report.exiting is not None and not report.killed:
        return f"{names([report.exiting])} was exiting already: nobody was killed"
    if not report.killed:
        return _NOT_SHOWN
    words = f"killed {names(report.killed)}"
    return f"{words}: all of {one_line(report.group)} (memory.oom.group)" if report.group else words


def steps_of(judgement: Judgement) -> tuple[StepSeen, ...]:
    """All seven, in the kernel's order."""
    report, answer = judgement.report, judgement.answer
    panic = f"panic: {report.panic}" if "panic_on_oom" in report.panic else "no panic"
    if not report.settled:
        panic = _NOT_SHOWN
    seen = (*_first_two(report), panic, *_choice(report), _kill(report))
    ours: tuple[Step | None, ...] = (None,) * len(seen)
    if answer is not None:
        ours = full_trace(answer.decision, answer.plan)
    rows = zip(STEP_NAMES, seen, ours, strict=True)
    return tuple(StepSeen(n, name, words, step) for n, (name, words, step) in enumerate(rows, 1))
