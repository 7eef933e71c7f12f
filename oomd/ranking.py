"""Everybody in the order in which the policy would choose them, with the rules and without."""

from oomd.mm.oom_badness import Case, ineligible, oom_badness, points_of, ruling_of, without_rules
from oomd.mm.select_bad_process import scan_order
from oomd.mm_types import Snapshot, Task
from oomd.report.findings import Ranked

__all__ = ["chosen_without_rules", "ranking"]


def _ranked(task: Task, case: Case, plain: Case) -> Ranked:
    reason = ineligible(task, case)
    points = None if reason else points_of(task, case)
    if case.oc.rules is None:
        return Ranked(task, points, reason, None, points)
    unruled = None
    if not ineligible(task, plain):
        unruled = oom_badness(task, case.totalpages, case.policy)
    return Ranked(task, points, reason, ruling_of(task, case), unruled)


def ranking(snapshot: Snapshot, case: Case) -> tuple[Ranked, ...]:
    """Eligible tasks, worst first, then the others in the order of the scan."""
    plain = without_rules(case)
    ranked = [_ranked(task, case, plain) for task in scan_order(snapshot.tasks, case)]
    eligible = [one for one in ranked if not one.reason]
    # Ties in the order in which the kernel would prefer them.
    if case.policy.last_of_equals:
        eligible.reverse()
    eligible.sort(key=lambda one: -(one.points or 0))
    return (*eligible, *(one for one in ranked if one.reason))


def chosen_without_rules(snapshot: Snapshot, case: Case) -> Ranked | None:
    """Whom the kernel alone would take for the worst; None without rules, or if it is nobody."""
    if case.oc.rules is None:
        return None
    first, *_ = (*ranking(snapshot, without_rules(case)), None)
    if first is None or first.reason:
        return None
    return _ranked(first.task, case, without_rules(case))
