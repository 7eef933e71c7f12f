"""Why kernel and policy agree, or do not, and what a report would have to show to say more.

A clause each, without a capital and without a full stop; the caller strings them together.
"""

from oomd.config import one_line
from oomd.mm.oom_badness import oom_badness, oom_score
from oomd.oom import Constraint, Kill, NoneKillable, Panic
from oomd.replay.findings import Answer, Judgement
from oomd.replay.kernel_report import KernelReport, Named, Row
from oomd.replay.profile import Profile
from oomd.replay.readings import Reading
from oomd.replay.rebuild import Assumed, chosen_row, question_of
from oomd.replay.totals import constraint_of

__all__ = [
    "disagreement",
    "explanation",
    "hangs_on_capabilities",
    "needs_no_capability",
    "not_in_the_table",
    "obstacle",
    "passed_over",
    "score_of",
    "tie",
    "unshown",
]

# The table is printed after the choice: meanwhile others run, and sizes move by about so much.
_MOVES_BY = 0.01


def _name(one: Named | Row) -> str:
    return f"{one.pid} ({one_line(one.comm)})"


def score_of(kill: Kill) -> int:
    """The score that the kernel would log."""
    return oom_score(kill.points, kill.totalpages)


# --- what stands in the way


def obstacle(report: KernelReport) -> str:
    """Why the report cannot be judged at all, or an empty string."""
    if report.by_oomd:
        return "written by oomd, not by a kernel: what it did is in its own journal"
    if "panic_on_oom" in report.panic:
        # Step 3 comes before anybody is looked at.
        return ""
    if not report.settled:
        return "the log ends, or was cut, before it says what the kernel did"
    if report.entangled:
        return "two reports lie in one another, and their tables cannot be told apart"
    if not report.table.columns:
        return (
            "no task table: the log was cut there, the kernel's rate limit left it out, "
            "or vm.oom_dump_tasks is 0"
        )
    if not report.table.scorable:
        return "this kernel's table has no page tables: its tasks cannot be scored"
    if report.table.truncated:
        return "lines of the task table are missing"
    if not report.table.rows and not report.none_killable:
        return "the task table is empty: the log was cut there"
    return ""


def not_in_the_table(report: KernelReport) -> str:
    """The kernel names somebody without a row."""
    named = report.chosen or report.exiting or report.killed[0]
    victim = report.victim_row()
    if victim is None:
        return (
            f"the kernel's {_name(named)} is not in the table: lines of it are missing, "
            "or it is a thread's pid"
        )
    return f"the kernel's {_name(named)} is a thread's pid, and died as {_name(victim)}"


# --- capabilities


def needs_no_capability(row: Row) -> str:
    """It would agree with one reading that is not the usual one."""
    return (
        f"it agrees only if {_name(row)}, uid 0, had no CAP_SYS_ADMIN, which the score cannot tell"
    )


def hangs_on_capabilities(usual: Answer, without: Answer) -> str:
    """Who would have been chosen, had nobody else of uid 0 the root discount."""
    mine, other = usual.decision, without.decision
    if not isinstance(mine, Kill) or not isinstance(other, Kill):
        return ""
    if mine.chosen.pid == other.chosen.pid:
        return ""
    return (
        f"the kernel's choice says that {other.chosen.pid} ({one_line(other.chosen.comm)}), uid 0, "
        "had CAP_SYS_ADMIN: without it, it would have been chosen"
    )


# --- who else it could have been


def _points_of_chosen(report: KernelReport, answer: Answer, reading: Reading) -> int | None:
    """What the policy gives the kernel's choice, where that has a row."""
    row, decision = chosen_row(report), answer.decision
    if row is None or not isinstance(decision, Kill):
        return None
    assumed = Assumed(decision.totalpages, reading.discounted)
    for task in question_of(report, assumed).snapshot.tasks:
        if task.pid == row.tgid:
            return oom_badness(task, decision.totalpages, reading.policy)
    return None


def tie(report: KernelReport, answer: Answer, profile: Profile, reading: Reading) -> str:
    """Kernel's and policy's choice have the same points, or an empty string."""
    decision = answer.decision
    if not isinstance(decision, Kill):
        return ""
    if _points_of_chosen(report, answer, reading) != decision.points:
        return ""
    text = f"both have {decision.points:,} points"
    if profile.order_is_shown:
        return text
    return f"{text}, and in which order this kernel met them the report does not show"


def passed_over(report: KernelReport, pids: frozenset[int]) -> str:
    """Earlier victims that are in the table still."""
    if not pids:
        return ""
    names = ", ".join(sorted({_name(one) for one in report.earlier_victims if one.pid in pids}))
    return f"killed by an earlier report and passed over (MMF_OOM_SKIP): {names}"


def _old_discount(report: KernelReport, profile: Profile) -> str:
    # "mm, oom: base root bonus on current usage" is of 3.14; RHEL 7 has it.
    if profile.release is None or not (3, 0) <= profile.release < (3, 14):
        return ""
    if "el7" in report.kernel or not any(row.uid == 0 for row in report.table.rows):
        return ""
    return "before 3.14 the root discount was 3 % of all memory, not of the task's own"


def disagreement(
    report: KernelReport, profile: Profile, answer: Answer, reading: Reading
) -> tuple[str, ...]:
    """What the report does not show and could explain it."""
    decision = answer.decision
    if not isinstance(decision, Kill) or not report.killed:
        return ("the kernel and the policy came to different ends",)
    row = chosen_row(report)
    points = _points_of_chosen(report, answer, reading)
    if row is not None and row.tgid == decision.chosen.pid:
        return ("the same was chosen, but another process was killed with it or for it",)
    notes = [f"the policy chooses {decision.chosen.pid} ({one_line(decision.chosen.comm)})"]
    if points is not None:
        notes.append(f"{decision.points:,} points against {points:,}")
        if decision.points - points <= abs(decision.points) * _MOVES_BY:
            notes.append("the table is printed after the choice, and sizes may have moved")
    notes.append(
        "not shown, and could explain it: a victim reaped before (MMF_OOM_SKIP), "
        "a task in vfork or in swapoff"
    )
    if profile.policy.root_discount:
        notes.append("not shown either: who has CAP_SYS_ADMIN")
        notes.append(_old_discount(report, profile))
    return tuple(notes)


# --- what was taken as given


def unshown(report: KernelReport, profile: Profile, reading: Reading) -> tuple[str, ...]:
    """What the judgement rests on, beyond the report's own lines."""
    notes = []
    if profile.asked_for:
        notes.append(f"judged by the rules of {profile.policy.name}, which are not this kernel's")
    if reading.total.missing and reading.total.pages is None:
        notes.append(f"totalpages is not known: the report does not show {reading.total.missing}")
    victim, row = report.victim_row(), chosen_row(report)
    if report.score is not None and report.killed and row is not None:
        if victim is None:
            notes.append(f"the victim {_name(report.killed[0])} has no row: a child made since")
        elif victim.tgid != row.tgid:
            notes.append(
                f"{_name(victim)} died for it: whose child it is, the report does not show"
            )
    if constraint_of(report) is not Constraint.NONE and not report.constraint:
        if not report.of_memcg:
            notes.append("that its nodes were limited is concluded from mems_allowed")
    return tuple(notes)


def _lead(judgement: Judgement) -> str:
    """The verdict itself, in words."""
    answer = judgement.answer
    if judgement.agrees is None or answer is None:
        return ""
    if not judgement.agrees:
        return "the policy comes to something else"
    match answer.decision:
        case Panic():
            return "the policy panics in the same step"
        case NoneKillable():
            return "the policy finds nobody to kill either"
    score = ", and its score comes out the same" if judgement.score_agrees else ""
    return f"the policy chooses the same process{score}"


def explanation(judgement: Judgement) -> str:
    """All that there is to say, in one line."""
    return "; ".join(part for part in (_lead(judgement), *judgement.notes) if part)
