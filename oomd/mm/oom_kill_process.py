"""``oom_kill_process()`` decided: whom the signal goes to. The signal itself is an effect."""

from oomd.mm.oom_badness import Case, ineligible, points_of, ruling_of
from oomd.mm.task_will_free_mem import task_will_free_mem
from oomd.mm_types import OOM_SCORE_ADJ_MIN, Task
from oomd.oom import Companion, Kill, KillPlan, Relatives, Step, Value
from oomd.typed import Iterable

__all__ = ["oom_group_to_kill", "pick_child", "plan_kill", "sharers_to_kill"]


def pick_child(children: Iterable[Task], case: Case) -> Task | None:
    """el7: the child with the highest badness above 0, which dies in place of its parent.

    "If any of p's children has a different mm and is eligible for kill": any eligible child
    will do, so the parent's own points do not count. Those with the parent's mm are not among
    ``children``.
    """
    best, best_points = None, 0
    # The order of their list is that of fork in a memory cgroup too.
    for child in sorted(children, key=lambda task: task.ident[::-1]):
        if ineligible(child, case):
            continue
        points = points_of(child, case)
        if points > best_points:
            best, best_points = child, points
    return best


def plan_kill(kill: Kill, relatives: Relatives, case: Case) -> KillPlan:
    """Who dies for ``kill.chosen``. ``relatives`` matter to a profile with child sacrifice."""
    chosen = kill.chosen
    detail: dict[str, Value] = {"chosen_pid": chosen.pid, "victim_pid": chosen.pid}
    reason = task_will_free_mem(chosen, case.policy)
    if reason:
        step = Step(7, "oom_kill_process", f"marked, nobody is killed: {reason}", detail)
        return KillPlan(chosen, chosen, kill.points, True, step, relatives)
    if not case.policy.child_sacrifice:
        step = Step(7, "oom_kill_process", "SIGKILL to the chosen process", detail)
        return KillPlan(chosen, chosen, kill.points, False, step, relatives)
    others = [one for one in relatives.children if one.ident not in relatives.same_mm]
    victim = pick_child(others, case) or chosen
    detail |= {
        "victim_pid": victim.pid,
        "children": len(relatives.children) if relatives.seen is None else relatives.seen,
        "same_mm": relatives.how,
    }
    if victim.ident == chosen.ident:
        verdict = "SIGKILL to the chosen process: it has no child that could die for it"
        step = Step(7, "oom_kill_process", verdict, detail)
        return KillPlan(chosen, chosen, kill.points, False, step, relatives)
    points = points_of(victim, case)
    detail["victim_points"] = points
    step = Step(7, "oom_kill_process", "SIGKILL to a child in place of its parent", detail)
    return KillPlan(chosen, victim, points, False, step, relatives)


def _never(task: Task, case: Case) -> bool:
    # Unlike the kernel: whom a rule spares is spared as at -1000, and keeps the memory.
    ruling = ruling_of(task, case)
    return ruling is not None and ruling.never


def sharers_to_kill(victim: Task, sharers: Iterable[Task], case: Case) -> tuple[Companion, ...]:
    """Who shares the victim's mm and dies with it, lest the memory stays (same function).

    el7 spares oom_score_adj -1000 and a process whose leader has exited (its ``p->mm`` is
    gone); mainline spares pid 1 alone, and oomd -1000 in both profiles.
    """
    companions = []
    for task in sharers:
        if task.ident == victim.ident or task.kthread or task.pid == 1:
            continue
        # Unlike the kernel: the guard itself is never killed.
        if task.ident in case.oc.spared:
            continue
        # Unlike the kernel: mainline kills a sharer at -1000 too; oomd kills none such, ever.
        if task.oom_score_adj == OOM_SCORE_ADJ_MIN:
            continue
        if case.policy.sharers_spare_exited_leader and task.leader_exited:
            continue
        if _never(task, case):
            continue
        companions.append(Companion(task, "sharing_mm"))
    return tuple(companions)


def oom_group_to_kill(victim: Task, members: Iterable[Task], case: Case) -> tuple[Companion, ...]:
    """mainline: the rest of the victim's ``memory.oom.group``, sparing -1000 and init.

    ``oom_kill_memcg_member()``.
    """
    if not case.policy.oom_group:
        return ()
    return tuple(
        Companion(task, "oom_group")
        for task in members
        if task.ident != victim.ident
        and task.oom_score_adj != OOM_SCORE_ADJ_MIN
        and task.pid != 1
        and not task.kthread
        and task.ident not in case.oc.spared
        and not _never(task, case)
    )
