"""A judged report for a person. Lines with a style each; who has a terminal shows it in colour."""

from collections.abc import Iterator
from typing import NamedTuple

from oomd.config import one_line
from oomd.mm.oom_badness import oom_score
from oomd.oom import Kill, NoneKillable, Panic
from oomd.replay.explain import explanation
from oomd.replay.findings import Judgement
from oomd.replay.kernel_report import KernelReport
from oomd.replay.steps import chosen_words, kind_of, names, steps_of
from oomd.report.trace import verdict_of

__all__ = ["Shown", "as_text", "summary"]

_NAME_WIDTH = 26


class Shown(NamedTuple):
    """A line to print."""

    text: str
    style: str = ""


def _gib(pages: int, page_kib: int) -> str:
    return f"{pages * page_kib / 2**20:,.1f} GiB"


def _total(judgement: Judgement) -> str:
    total = judgement.total
    if total.pages is not None:
        return f"{total.pages:,}"
    return f"not known: the report does not show {total.missing}"


def _kernel(report: KernelReport) -> str:
    if report.panic:
        return f'panicked: "{report.panic}"'
    if report.none_killable:
        return "found nobody to kill"
    chosen, killed = chosen_words(report), names(report.killed)
    if not chosen:
        return "not shown: the log is cut"
    if report.exiting is not None and not report.killed:
        return f"chose {chosen}, which was exiting already"
    return f"chose {chosen}; killed {killed or 'nobody that is shown'}"


def _ours(judgement: Judgement) -> str:
    answer = judgement.answer
    if answer is None:
        return ""
    decision, total = answer.decision, judgement.total
    match decision:
        case Kill():
            name = f"{decision.chosen.pid} ({one_line(decision.chosen.comm)})"
            words = f"would choose {name}"
            same = {
                one.decision.points for one in judgement.answers if isinstance(one.decision, Kill)
            }
            if len(same) == 1:
                words += f", {decision.points:,} points"
            if total.pages is not None:
                words += f", score {oom_score(decision.points, total.pages)}"
            plan = answer.plan
            if plan is not None and plan.victim.ident != plan.chosen.ident:
                words += f"; {plan.victim.pid} ({one_line(plan.victim.comm)}) would die for it"
            return words
        case Panic():
            return f'would panic: "{decision.message}"'
        case NoneKillable():
            return f'would kill nobody: "{decision.message}"'
        case _:
            return f"would {verdict_of(decision).replace('_', ' ')}"


def _verdict(judgement: Judgement) -> Shown:
    text = explanation(judgement)
    if judgement.agrees is None:
        return Shown(f"not judged: {text}", "yellow")
    if judgement.agrees and judgement.score_agrees is not False:
        return Shown(f"agrees: {text}", "green")
    word = "the score differs" if judgement.agrees else "DIFFERS"
    return Shown(f"{word}: {text}", "bold red")


def as_text(index: int, judgement: Judgement) -> Iterator[Shown]:
    """``index`` counts the reports of a log from 1."""
    report = judgement.report
    when = f", {one_line(report.when)}" if report.when else ""
    if report.by_oomd:
        yield Shown(f"{index}. line {report.line}{when}: written by oomd", "bold")
        yield Shown(f"   killed {names(report.killed) or 'nobody'}")
        yield Shown("")
        return
    kind = "OOM panic" if report.panic else f"{kind_of(report)} OOM"
    parts = "" if report.complete else ", parts of it are missing"
    yield Shown(f"{index}. line {report.line}{when}: {kind}{parts}", "bold")
    kernel = one_line(report.kernel) or "not named"
    yield Shown(f"   kernel      {kernel}, judged by the rules of {judgement.profile.policy.name}")
    yield Shown(f"   totalpages  {_total(judgement)}")
    yield Shown(f"   the kernel  {_kernel(report)}")
    if judgement.answer is not None:
        yield Shown(f"   oomd        {_ours(judgement)}")
    for seen in steps_of(judgement):
        yield Shown(f"   {seen.step}  {seen.name:{_NAME_WIDTH}}{seen.kernel}", "dim")
        if seen.ours is not None and seen.ours.verdict != seen.kernel:
            yield Shown(f"      {'':{_NAME_WIDTH}}oomd: {seen.ours.verdict}", "dim")
    verdict = _verdict(judgement)
    yield Shown(f"   {verdict.text}", verdict.style)
    yield Shown("")


def summary(agreed: int, differed: int, not_judged: int, by_oomd: int) -> Shown:
    """The last line."""
    count = agreed + differed + not_judged
    words = f"{count} report{'' if count == 1 else 's'}: {agreed} agree"
    words += f", {differed} differ, {not_judged} could not be judged"
    if by_oomd:
        words += f"; {by_oomd} by oomd itself"
    return Shown(words, "bold red" if differed else "bold")
