"""The whole plan of a kill that nobody will carry out: for the audit and for ``--watch``."""

from oomd.mm.oom_badness import Case
from oomd.mm.oom_kill_process import oom_group_to_kill, plan_kill, sharers_to_kill
from oomd.mm_types import Snapshot, Task
from oomd.oom import Companion, Kill, KillPlan, Relatives
from oomd.proc.memcg import read_oom_groups
from oomd.proc.root import Root

__all__ = ["full_plan"]


def _same_mm(root: Root, task: Task, others: list[Task]) -> tuple[tuple[Task, ...], str]:
    """Those of ``others`` that share the task's mm, and how that is known.

    Nobody is about to be killed, so kcmp(2) may take its time. A shared mm has one size.
    """
    alike = [one for one in others if one.has_mm and one.total_vm_pages == task.total_vm_pages]
    # Of a process whose leader has exited a living thread has the mm: two leaders without one
    # are the same to kcmp(2).
    answers = [(one, root.same_mm(task.mm_tid, one.mm_tid)) for one in alike]
    if any(answer is None for _, answer in answers):
        return (), "not observable"
    return tuple(one for one, answer in answers if answer), "kcmp"


def full_plan(
    root: Root, kill: Kill, snapshot: Snapshot, case: Case
) -> tuple[KillPlan, tuple[Companion, ...], str]:
    """The second phase: the victim, who dies with it, and how a shared mm is known."""
    chosen = kill.chosen
    # PPid names the process whatever thread of it has forked.
    children = [one for one in snapshot.tasks if one.ppid == chosen.pid]
    sharing, how = _same_mm(root, chosen, children)
    relatives = Relatives(tuple(children), frozenset(one.ident for one in sharing), how)
    plan = plan_kill(kill, relatives, case)
    others = [one for one in snapshot.tasks if one.ident != plan.victim.ident]
    sharers, how = _same_mm(root, plan.victim, others)
    companions = sharers_to_kill(plan.victim, sharers, case)
    members = _oom_group(root, plan.victim, case, snapshot)
    known = {one.task.ident for one in companions}
    group = oom_group_to_kill(plan.victim, members, case)
    companions += tuple(one for one in group if one.task.ident not in known)
    return plan, companions, how


def _oom_group(root: Root, victim: Task, case: Case, snapshot: Snapshot) -> list[Task]:
    """The tasks of the highest ``memory.oom.group`` that the victim is in: mainline only."""
    if not case.policy.oom_group:
        return []
    # Inside a memcg its own groups count, in a global OOM those of the whole machine.
    groups = case.memcg.oom_groups if case.memcg is not None else read_oom_groups(root)
    for _, pids in groups:
        if victim.pid in pids:
            return [one for one in snapshot.tasks if one.pid in pids]
    return []
