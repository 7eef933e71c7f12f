"""What was found out about a report, in one record: what the text and the JSON are made from."""

from typing import NamedTuple

from oomd.oom import Companion, Decision, KillPlan
from oomd.replay.kernel_report import KernelReport
from oomd.replay.profile import Profile
from oomd.replay.totals import Total

__all__ = ["Answer", "Judgement"]


class Answer(NamedTuple):
    """What ``out_of_memory()`` says to a report."""

    decision: Decision
    plan: KillPlan | None
    """Step 7, if somebody is to be killed."""
    companions: tuple[Companion, ...] = ()
    """Of those that the kernel killed with the victim, whom the policy kills too."""


class Judgement(NamedTuple):
    """One report, judged."""

    report: KernelReport
    profile: Profile
    total: Total
    """``totalpages``, narrowed by the kernel's score where the report does not show it all."""
    answers: tuple[Answer, ...] = ()
    """At the lower and at the upper bound of ``total``; one where they are one; none where the
    report cannot be judged."""
    agrees: bool | None = None
    """None: the report does not show enough to say."""
    score_agrees: bool | None = None
    """None: the kernel gave no score, or ``totalpages`` is not known exactly."""
    notes: tuple[str, ...] = ()
    """The explanation, a clause each."""

    @property
    def answer(self) -> Answer | None:
        """The one answer, or the first of several that come to the same."""
        return self.answers[0] if self.answers else None
