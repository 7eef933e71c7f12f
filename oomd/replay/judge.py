"""A report judged: what ``out_of_memory()`` makes of it, and whether the kernel did the same."""

from oomd.mm.constraint import case_of
from oomd.mm.oom_kill_process import oom_group_to_kill, plan_kill, sharers_to_kill
from oomd.mm.out_of_memory import out_of_memory
from oomd.oom import Kill, NoneKillable, Panic, Relatives
from oomd.replay import explain
from oomd.replay.findings import Answer, Judgement
from oomd.replay.kernel_report import KernelReport
from oomd.replay.profile import Profile, profile_of
from oomd.replay.readings import Reading, reading_of
from oomd.replay.rebuild import Assumed, Question, chosen_row, question_of
from oomd.replay.totals import total_of

__all__ = ["judge"]

# So many earlier victims may stand in the way of one report.
_PASSED_OVER_AT_MOST = 16


def _relatives(report: KernelReport, question: Question) -> Relatives:
    """el7: a victim that is not the chosen one was its child, the only one that a report names."""
    chosen, victim = chosen_row(report), report.victim_row()
    if chosen is None or victim is None or chosen.tgid == victim.tgid:
        return Relatives(how="not observable")
    children = tuple(task for task in question.snapshot.tasks if task.pid == victim.tgid)
    return Relatives(children, how="not observable")


def _answer(report: KernelReport, profile: Profile, assumed: Assumed) -> Answer:
    question = question_of(report, assumed)
    policy = profile.policy
    decision = out_of_memory(question.oc, question.snapshot, question.sysctls, policy)
    if not isinstance(decision, Kill):
        return Answer(decision, None)
    chosen = chosen_row(report)
    relatives = Relatives(how="not observable")
    if chosen is not None and chosen.tgid == decision.chosen.pid:
        relatives = _relatives(report, question)
    case = case_of(question.oc, question.snapshot, policy)
    plan = plan_kill(decision, relatives, case)
    # Who shared the victim's memory or its oom.group, only the kernel can tell: those it killed.
    pids = {one.pid for one in report.killed[1:]}
    others = [task for task in question.snapshot.tasks if pids & {task.pid, task.mm_tid}]
    if report.group:
        return Answer(decision, plan, oom_group_to_kill(plan.victim, others, case))
    return Answer(decision, plan, sharers_to_kill(plan.victim, others, case))


def _same_victims(report: KernelReport, answer: Answer) -> bool:
    """The victim and those who died with it, as far as the table has them."""
    victim = report.victim_row()
    # A victim that is in no table was made, or exec'd, a moment ago.
    if answer.plan is None or (victim is not None and victim.tgid != answer.plan.victim.pid):
        return False
    ours = {answer.plan.victim.pid} | {one.task.pid for one in answer.companions}
    rows = (report.table.find(one.pid) for one in report.killed)
    return all(row.tgid in ours for row in rows if row is not None)


def _same(report: KernelReport, answer: Answer) -> bool:
    """The kernel did what the answer says."""
    match answer.decision:
        case Panic(step=step):
            by_sysctl = "panic_on_oom" in report.panic
            return bool(report.panic) and by_sysctl == (step == 3)
        case NoneKillable():
            return report.none_killable and not report.panic
        case Kill(chosen=task):
            chosen = chosen_row(report)
            return chosen is not None and chosen.tgid == task.pid and _same_victims(report, answer)
        case _:
            return False


def _reaped(report: KernelReport, profile: Profile, answer: Answer) -> int | None:
    """The chosen one, if an earlier report of the log has killed it: the kernel passes over it.

    Mainline waits, and prints nothing, until it has been reaped or given up: that there is a report
    says that it was. el7 knows no such thing.
    """
    decision = answer.decision
    if not isinstance(decision, Kill) or profile.policy.exiting_aborts:
        return None
    pids = {decision.chosen.pid, decision.chosen.mm_tid}
    for one in report.earlier_victims:
        if one.pid in pids and one.comm == decision.chosen.comm:
            return decision.chosen.pid
    return None


def _answers(
    report: KernelReport, profile: Profile, reading: Reading, discounted: frozenset[int]
) -> tuple[tuple[Answer, ...], frozenset[int]]:
    """The answers at both bounds of ``totalpages``, and who had to be passed over for them."""
    passed_over = frozenset[int]()
    bounds = sorted({reading.total.low_pages, reading.total.high_pages})
    while True:
        answers = tuple(
            _answer(report, profile, Assumed(pages, discounted, passed_over)) for pages in bounds
        )
        reaped = {_reaped(report, profile, one) for one in answers if not _same(report, one)} - {
            None
        }
        new = frozenset(pid for pid in reaped if pid is not None) - passed_over
        if not new or len(passed_over) >= _PASSED_OVER_AT_MOST:
            return answers, passed_over
        passed_over |= new


def _thread_agrees(report: KernelReport, answers: tuple[Answer, ...]) -> bool | None:
    """el7 may choose a thread, which no table has: its process is the one that was killed."""
    victim = report.victim_row()
    if victim is None:
        return None
    score = report.score
    for answer in answers:
        decision = answer.decision
        if not isinstance(decision, Kill) or decision.chosen.pid != victim.tgid:
            return None
        if score is not None and explain.score_of(decision) != score:
            return None
    return True


def _verdict(
    report: KernelReport, profile: Profile, reading: Reading, answers: tuple[Answer, ...]
) -> tuple[bool | None, tuple[str, ...]]:
    """Whether the kernel did the same, and what there is to say of it."""
    same = [_same(report, answer) for answer in answers]
    if all(same):
        return True, ()
    if any(same):
        return None, (f"which one it is depends on {reading.total.missing}, which is not shown",)
    if (report.killed or report.exiting) and chosen_row(report) is None:
        return _thread_agrees(report, answers), (explain.not_in_the_table(report),)
    tie = explain.tie(report, answers[0], profile, reading)
    if tie and not profile.order_is_shown:
        return None, (tie,)
    row = chosen_row(report)
    if row is not None and row.tgid in reading.discounted and not reading.certain:
        others, _ = _answers(report, profile, reading, reading.discounted - {row.tgid})
        if all(_same(report, answer) for answer in others):
            return None, (explain.needs_no_capability(row),)
    return False, (tie, *explain.disagreement(report, profile, answers[0], reading))


def _capabilities(
    report: KernelReport, profile: Profile, reading: Reading, answers: tuple[Answer, ...]
) -> str:
    """Whether the choice hangs on what uid 0 was taken to be able to do."""
    row = chosen_row(report)
    kept = frozenset({row.tgid} if row is not None else ()) & reading.discounted
    if not reading.discounted - kept:
        return ""
    others, _ = _answers(report, profile, reading, kept)
    return explain.hangs_on_capabilities(answers[0], others[0])


def judge(report: KernelReport, asked: str = "") -> Judgement:
    """Judge one report by its kernel's own policy, or by the profile that is ``asked`` for."""
    profile = profile_of(report, asked)
    total = total_of(report, profile.policy)
    why_not = explain.obstacle(report)
    if why_not:
        return Judgement(report, profile, total, notes=(why_not,))
    reading = reading_of(report, profile, total)
    answers, passed_over = _answers(report, profile, reading, reading.discounted)
    agrees, notes = _verdict(report, profile, reading, answers)
    if agrees:
        notes += (_capabilities(report, profile, reading, answers),)
    notes += (explain.passed_over(report, passed_over), *reading.notes)
    notes += explain.unshown(report, profile, reading)
    return Judgement(
        report,
        profile,
        reading.total,
        answers,
        agrees,
        reading.score_agrees,
        tuple(note for note in notes if note),
    )
