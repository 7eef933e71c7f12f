"""What the policy was asked and what it answered, as data: enough to ask it again, bit by bit.

Built by the sentinel right after a kill, so it reads nothing and copies little. The way back is
:mod:`oomd.records.load`.
"""

from oomd.event import Event
from oomd.mm_types import MemCgroup, Task, TaskId
from oomd.oom import Decision, KillPlan, OomControl, Rules
from oomd.report.kernel_log import printable
from oomd.report.trace import verdict_of
from oomd.typed import Any, Enum, Iterable, Mapping

__all__ = ["asked", "decision_as_json", "task_as_json"]

# Of a set of processes, those that the record holds are all named; of the others no more than
# this: a victim's memory.oom.group may be thousands.
OTHERS_NAMED = 64


def task_as_json(task: Task) -> dict[str, Any]:
    """Every field; the comm as ``printable()`` has it, which can be undone."""
    return {**task._asdict(), "comm": printable(task.comm)}


def _idents(idents: Iterable[TaskId], held: frozenset[TaskId]) -> list[list[int]]:
    # Nobody is asked about who is neither a candidate nor a relative.
    others = sorted(one for one in idents if one not in held)[:OTHERS_NAMED]
    return [[*one] for one in sorted(one for one in idents if one in held) + others]


def _rulings(rules: Rules, tasks: Iterable[Task]) -> list[dict[str, Any]]:
    """What the admin's rules say of each of these, where they say anything."""
    pairs = ((task, rules.ruling(task)) for task in tasks)
    return [{"task": [*task.ident], **one._asdict()} for task, one in pairs if one is not None]


def _control(oc: OomControl, tasks: Mapping[TaskId, Task]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    held = frozenset(tasks)
    for name, value in oc._asdict().items():
        if isinstance(value, frozenset):
            out[name] = _idents(value, held)
        elif isinstance(value, Enum):
            out[name] = value.value
        else:
            out[name] = value
    out["current"] = None if oc.current is None else oc.current._asdict()
    out["rules"] = None if oc.rules is None else _rulings(oc.rules, tasks.values())
    return out


def _memcg(memcg: MemCgroup | None, held: frozenset[TaskId]) -> dict[str, Any] | None:
    if memcg is None:
        return None
    members = memcg.pids & {one.pid for one in held}
    order = [pid for pid in memcg.scan_order if pid in members]
    # Its groups matter to who dies with the victim, which is recorded as it went.
    return {**memcg._asdict(), "pids": sorted(members), "scan_order": order, "oom_groups": []}


def _relatives(plan: KillPlan | None) -> dict[str, Any] | None:
    """The child that dies, if one does: of all the others it is the best, so it decides alone."""
    if plan is None:
        return None
    relatives = plan.relatives
    # One that shares the chosen one's mm is never the victim.
    children = [child for child in relatives.children if child.ident == plan.victim.ident]
    seen = len(relatives.children) if relatives.seen is None else relatives.seen
    return {
        "children": [task_as_json(child) for child in children],
        "same_mm": [],
        "how": relatives.how,
        "seen": seen,
    }


def decision_as_json(decision: Decision) -> dict[str, Any]:
    """Every field but the trace; a task by what names it for good, ``[pid, start time]``."""
    out: dict[str, Any] = {"verdict": verdict_of(decision)}
    for name, value in decision._asdict().items():
        if isinstance(value, Task):
            out[name] = [*value.ident]
        elif isinstance(value, TaskId):
            out[name] = [*value]
        elif isinstance(value, Enum):
            out[name] = value.value
        elif name == "comm":
            out[name] = printable(value)
        elif name != "trace":
            out[name] = value
    return out


def asked(event: Event, plan: KillPlan | None) -> dict[str, Any]:
    """The arguments of ``out_of_memory()`` and ``plan_kill()`` that a record has not got yet."""
    snapshot, freed = event.snapshot, event.freed
    tasks = {task.ident: task for task in snapshot.tasks}
    if plan is not None:
        tasks.setdefault(plan.victim.ident, plan.victim)
    held = frozenset(tasks)
    return {
        "kernel": snapshot.kernel,
        "control": _control(event.case.oc, tasks),
        "memcg": _memcg(snapshot.memcg, held),
        "nodes": [node._asdict() for node in snapshot.nodes],
        "notified": {
            "called": freed.called,
            "freed_pages": freed.freed_pages,
            "came_back": freed.came_back,
        },
        "decision": decision_as_json(event.decision),
        "relatives": _relatives(plan),
    }
