"""``select_bad_process()``: the worst task, or somebody who is dying already."""

from oomd.mm.oom_badness import Case, ineligible, points_of, ruling_of, unkillable
from oomd.mm.proc_oom_score import weighs_nothing
from oomd.mm_types import Task
from oomd.typed import Callable, Iterable, NamedTuple

__all__ = ["Selection", "dying", "scan_key", "scan_order", "select_bad_process"]


class Selection(NamedTuple):
    """What the scan found."""

    chosen: Task | None = None
    points: int = 0
    """``oom_badness()`` of the chosen one, in pages."""
    origin: bool = False
    """Chosen as ``oom_task_origin()``, whatever its points."""
    runner_up: Task | None = None
    runner_up_points: int = 0
    abort: Task | None = None
    """Set: the scan stopped at this one, and nobody is chosen."""
    abort_reason: str = ""


ScanKey = Callable[[Task], tuple[int, ...]]


def scan_key(case: Case) -> ScanKey:
    """What sorts tasks into the order in which the kernel meets them.

    Fork order: start time, then pid. In an el7 memcg the newest comes first; by fork, as a move
    into the cgroup is not observable. In a mainline memcg it is the order of joining, cgroup by
    cgroup, where that is observable (v2).
    """
    memcg, mainline = case.memcg, case.policy.last_of_equals
    if memcg is None:
        return lambda task: (task.starttime_ticks, task.pid)
    if not mainline:
        return lambda task: (-task.starttime_ticks, -task.pid)
    places = {pid: place for place, pid in enumerate(memcg.scan_order)}
    # One who has joined since comes last.
    return lambda task: (places.get(task.pid, len(places)), task.starttime_ticks, task.pid)


def scan_order(tasks: Iterable[Task], case: Case) -> list[Task]:
    """The order in which the kernel meets the tasks."""
    return sorted(tasks, key=scan_key(case))


def dying(task: Task, case: Case) -> str:
    """Why the scan would stop at this task and wait for it, or an empty string.

    ``oom_scan_process_thread()`` on el7, ``oom_evaluate_task()`` later.
    """
    oc = case.oc
    if oc.manual or task.exit_state or unkillable(task, case) or task.ident in oc.passed_over:
        return ""
    if task.ident in oc.victims:
        return "an OOM victim that has not gone yet"
    # Unlike the kernel (el7): it waits for ever; a storm's patience with others is bounded.
    if not oc.waits_for_others:
        return ""
    # Unlike the kernel: TIF_MEMDIE (oom_mm later) is not observable. A pending SIGKILL stands
    # in, so that a victim of the kernel, of another daemon or of an admin is waited for too.
    if task.sigkill_pending:
        reason = "SIGKILL is pending"
    elif not case.policy.exiting_aborts or not task.has_mm or task.ident in oc.origins:
        # An origin is chosen before anybody looks whether it is exiting.
        return ""
    else:
        reason = "it is exiting" if task.exiting and not task.tracer_pid else ""
    # Unlike the kernel: what gives next to nothing back, a thousandth of totalpages or so, is not
    # waited for. The scale is that of /proc/PID/oom_score, so that one look at that file tells who
    # cannot be among those who are: a large one whose oom_score_adj makes nothing of it is missed.
    return "" if reason and task.has_mm and weighs_nothing(task, case.totalpages) else reason


def _origin(task: Task, case: Case) -> bool:
    # oom_task_origin(): in the middle of swapoff or of unmerging ksm pages.
    ident = task.ident
    if ident not in case.oc.origins or ident in case.oc.passed_over or task.exit_state:
        return False
    ruling = ruling_of(task, case)
    if ruling is not None and ruling.never:
        return False
    return task.has_mm and not unkillable(task, case)


def _beats(points: int, best_points: int, case: Case) -> bool:
    return points > best_points or (points == best_points and case.policy.last_of_equals)


def select_bad_process(tasks: Iterable[Task], case: Case) -> Selection:
    """Scan ``tasks`` as the kernel does.

    On a tie el7 keeps the first it met (strictly greater wins), mainline takes the last.
    """
    best = Selection()
    final = False
    for task in scan_order(tasks, case):
        reason = dying(task, case)
        if reason:
            return Selection(abort=task, abort_reason=reason)
        if _origin(task, case):
            # ULONG_MAX (LONG_MAX on mainline): the scan goes on, as it may still abort, but
            # only a later origin replaces this one. -1000 does not protect an origin.
            best = Selection(task, points_of(task, case), origin=True)
            final = True
            continue
        if final or ineligible(task, case):
            continue
        points = points_of(task, case)
        if best.chosen is None or _beats(points, best.points, case):
            best = Selection(task, points, False, best.chosen, best.points)
        elif best.runner_up is None or _beats(points, best.runner_up_points, case):
            best = best._replace(runner_up=task, runner_up_points=points)
    return best
