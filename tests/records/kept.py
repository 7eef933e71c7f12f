"""Records as the daemon makes them, from any machine and any question, with everything in them."""

import json
from typing import NamedTuple

from hypothesis import strategies as st

from oomd.event import MANUAL, Event, Look
from oomd.mm.candidates import Candidates
from oomd.mm.constraint import case_of
from oomd.mm.oom_kill_process import pick_child, plan_kill
from oomd.mm.out_of_memory import out_of_memory
from oomd.mm.policy import Policy
from oomd.mm_types import Sysctls, Task
from oomd.oom import Kill, KillPlan, Notified, NotifierChain, Relatives
from oomd.proc.relatives import presumed_same_mm
from oomd.report.record import Record, decision_record
from oomd.settings import Settings
from oomd.thresholds import evaluate, would_act
from tests.mm.strategies import Question, policies, questions, sysctls, tasks

__all__ = ["Asked", "comms", "event_of", "in_full", "record_of", "records"]

# As the kernel has it: 15 bytes and no NUL, of no encoding at all.
comms = st.binary(max_size=15).map(
    lambda raw: raw.replace(b"\0", b"").decode("utf-8", "surrogateescape")
)

_texts = st.text(st.characters(codec="utf-8"), max_size=12)
_notified = st.builds(
    Notified,
    name=_texts,
    priority=st.none() | st.integers(-1000, 1000),
    claimed_pages=st.integers(0, 10**6),
    verdict=_texts,
    mem_free_change_kib=st.none() | st.integers(-(10**6), 10**6),
    mem_available_change_kib=st.none() | st.integers(-(10**6), 10**6),
)
_chains = st.builds(
    NotifierChain,
    results=st.lists(_notified, max_size=3).map(tuple),
    called=st.booleans(),
    freed_pages=st.sampled_from((0, 0, 100)),
    came_back=st.booleans(),
)


class Asked(NamedTuple):
    """All that a decision depends on, and the children that the second phase would read."""

    question: Question
    policy: Policy
    sysctls: Sysctls
    freed: NotifierChain
    children: tuple[Task, ...]
    kept: int


def _named(population: tuple[Task, ...], names: list[str]) -> tuple[Task, ...]:
    pairs = zip(population, names, strict=False)
    return tuple(task._replace(comm=name) for task, name in pairs) or population


def event_of(asked: Asked) -> Event:
    """What the loop makes of it: the scan streams, and only the candidates are held."""
    oc, snapshot = asked.question
    case = case_of(oc, snapshot._replace(tasks=()), asked.policy)
    candidates = Candidates(case, asked.kept)
    for task in snapshot.tasks:
        candidates.add(task)
    held = snapshot._replace(tasks=candidates.tasks(), kernel="6.1.0", scan_us=1234)
    if asked.kept % 2:
        held = held._replace(tasks_read=len(held.tasks), upper_bound_pages=asked.kept * 1000)
    thresholds = evaluate(snapshot.meminfo, 25.0, Settings())
    look = Look(7, snapshot.meminfo, None, thresholds, would_act(thresholds), 0, 0, 0, 0)
    decision = out_of_memory(oc, held, asked.sysctls, asked.policy, freed=asked.freed)
    trigger = look.crossed or MANUAL
    return Event(trigger, look, held, asked.sysctls, case, decision, asked.freed)


def plan_of(asked: Asked, event: Event) -> KillPlan | None:
    """Step 7 as the daemon has it: of the children only the best is held."""
    if not isinstance(event.decision, Kill):
        return None
    if not asked.policy.child_sacrifice:
        return plan_kill(event.decision, Relatives(), event.case)
    chosen = event.decision.chosen
    others = [one for one in asked.children if one.ident not in presumed_same_mm(chosen, (one,))]
    best = pick_child(others, event.case)
    kept = () if best is None else (best,)
    relatives = Relatives(kept, frozenset(), "equal sizes", len(asked.children))
    return plan_kill(event.decision, relatives, event.case)


def record_of(asked: Asked) -> Record:
    """The record of the decision."""
    event = event_of(asked)
    return {**decision_record(event, plan_of(asked, event), (), ()), "seq": 1}


def in_full(record: Record) -> bytes:
    """As a file has it."""
    return json.dumps(record).encode()


@st.composite
def _asked(draw: st.DrawFn) -> Asked:
    question = draw(questions())
    names = draw(st.lists(comms, min_size=8, max_size=8))
    snapshot = question.snapshot._replace(tasks=_named(question.snapshot.tasks, names))
    children = tuple(draw(tasks(pid)) for pid in range(100, 100 + draw(st.integers(0, 3))))
    return Asked(
        question._replace(snapshot=snapshot),
        draw(policies),
        draw(sysctls),
        draw(_chains),
        tuple(one._replace(comm=names[0]) for one in children),
        draw(st.integers(0, 6)),
    )


records = _asked()
"""Everything that a decision may be made from."""
