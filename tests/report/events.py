"""Events as the loop makes them, from any population of tasks."""

from hypothesis import strategies as st

from oomd.event import MANUAL, Event, Look
from oomd.mm.constraint import case_of
from oomd.mm.oom_kill_process import plan_kill
from oomd.mm.out_of_memory import out_of_memory
from oomd.mm.policy import Policy
from oomd.mm_types import MemInfo, Sysctls
from oomd.oom import Kill, KillPlan, NotifierChain, Relatives
from oomd.settings import Settings
from oomd.thresholds import evaluate, would_act
from tests.mm.strategies import Question, chains, policies, questions, sysctls

__all__ = ["event_of", "events", "plan_of"]


def event_of(
    question: Question, policy: Policy, asked: Sysctls, freed: NotifierChain, percent: float | None
) -> Event:
    """What the loop would make of this."""
    meminfo: MemInfo = question.snapshot.meminfo
    thresholds = evaluate(meminfo, percent, Settings())
    look = Look(7, meminfo, None, thresholds, would_act(thresholds), 0, 0, 0, 0)
    case = case_of(question.oc, question.snapshot, policy)
    decision = out_of_memory(question.oc, question.snapshot, asked, policy, freed=freed)
    trigger = look.crossed or MANUAL
    return Event(trigger, look, question.snapshot, asked, case, decision)


def plan_of(event: Event) -> KillPlan | None:
    """Step 7 of a kill, without children."""
    if not isinstance(event.decision, Kill):
        return None
    return plan_kill(event.decision, Relatives(), event.case)


events = st.builds(
    event_of,
    questions(),
    policies,
    sysctls,
    chains,
    st.one_of(st.none(), st.floats(0, 100)),
)
