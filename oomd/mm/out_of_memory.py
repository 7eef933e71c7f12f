"""``out_of_memory()``: the kernel's seven steps as one pure function. No I/O, no clock."""

from oomd.mm.constraint import case_of, constrained_alloc
from oomd.mm.oom_badness import Case, ineligible, oom_score
from oomd.mm.policy import Policy
from oomd.mm.select_bad_process import Selection, select_bad_process
from oomd.mm.task_will_free_mem import current_will_free_mem
from oomd.mm_types import Snapshot, Sysctls, Task
from oomd.oom import (
    Constraint,
    CurrentTask,
    Decision,
    Freed,
    Kill,
    LetItExit,
    NoneKillable,
    Notified,
    NotifierChain,
    OomControl,
    Panic,
    Step,
    Value,
    Wait,
)

__all__ = ["STEP_NAMES", "out_of_memory"]

STEP_NAMES = (
    "oom_notify_list",
    "task_will_free_mem",
    "check_panic_on_oom",
    "oom_kill_allocating_task",
    "select_bad_process",
    "no_killable_process",
    "oom_kill_process",
)

NO_KILLABLE = "Out of memory and no killable processes..."
NO_CURRENT = "nobody was seen allocating: there is no current, does not apply"
MANUAL_CURRENT = "a manual OOM: current is a kernel worker, does not apply"


class _Trace:
    """The steps so far; ``steps()`` marks the rest as not reached."""

    def __init__(self) -> None:
        self._made: list[Step] = []

    def add(self, verdict: str, /, **detail: Value) -> None:
        # Positional, as a notifier may be called "verdict" and its name is a key of detail.
        number = len(self._made) + 1
        self._made.append(Step(number, STEP_NAMES[number - 1], verdict, detail))

    def steps(self) -> tuple[Step, ...]:
        rest = range(len(self._made) + 1, len(STEP_NAMES) + 1)
        return (*self._made, *(Step(n, STEP_NAMES[n - 1], "not reached") for n in rest))


def _process_of(current: CurrentTask, snapshot: Snapshot) -> Task | None:
    """The process of ``current``, or None when it has gone and its pid may be another's."""
    return next((task for task in snapshot.tasks if task.ident == current.ident), None)


def _how_seen(current: CurrentTask) -> str:
    """How it is known that this one allocates."""
    if current.assumed:
        return "assumed"
    # Unlike the kernel: it is called by the one that allocates. A daemon acts before anybody has
    # to reclaim, and takes the one that will have to first.
    if current.took_pages:
        return f"not reclaiming; took most of late: {current.took_pages} pages"
    return f"PF_MEMALLOC, {current.seen_ms_ago} ms ago"


def _memcg_has_no_killer(case: Case, trace: _Trace) -> str:
    """``mem_cgroup_oom()``, before any step: why nobody is killed, or an empty string."""
    reason = ""
    if case.oc.constraint is Constraint.MEMCG and case.memcg is None:
        # Unlike the kernel: to a daemon it can vanish, and the machine is not judged instead.
        reason = "the memory cgroup is gone"
    elif case.memcg is not None and case.memcg.oom_kill_disable:
        reason = "memory.oom_control is 1: no OOM killer in this memory cgroup, its tasks wait"
    if reason:
        trace.add(reason)
    return reason


def _notified(one: Notified) -> str:
    priority = "unknown" if one.priority is None else one.priority
    words = f"priority {priority}: {one.verdict}"
    if one.mem_free_change_kib is None or one.mem_available_change_kib is None:
        return words
    return (
        f"{words}; MemFree {one.mem_free_change_kib:+} KiB, "
        f"MemAvailable {one.mem_available_change_kib:+} KiB in {one.took_ms} ms"
    )


def _notifiers_freed(case: Case, freed: NotifierChain, trace: _Trace) -> bool:
    """Step 1, ``blocking_notifier_call_chain(&oom_notify_list)``. A memcg OOM calls none."""
    detail: dict[str, Value] = {one.name: _notified(one) for one in freed.results}
    # Last, so that no plugin's name can stand in their place.
    detail |= {"freed_pages": freed.freed_pages, "notifiers": len(freed.results)}
    if case.oc.constraint is Constraint.MEMCG:
        trace.add("a memcg OOM calls no notifiers", **detail)
    elif not freed.results:
        trace.add("no notifier is registered", **detail)
    elif not freed.called:
        trace.add("not called", **detail)
    elif freed.freed_pages <= 0:
        trace.add("they freed nothing", **detail)
    elif case.oc.manual and not case.policy.manual_trusts_notifiers:
        trace.add("they freed memory, but a manual OOM goes on", **detail)
    elif not freed.came_back:
        # Unlike the kernel: a notifier that always claims success makes it spin for ever
        # (seen with a GPU driver). Here memory has to have come back.
        trace.add("they claim to have freed memory, but it did not come back", **detail)
    else:
        trace.add("they freed memory, nobody dies", **detail)
        return True
    return False


def _current_is_dying(case: Case, snapshot: Snapshot, trace: _Trace) -> Task | None:
    """Step 2: ``fatal_signal_pending(current)`` or PF_EXITING; ``task_will_free_mem()`` later."""
    current = case.oc.current
    if current is None:
        trace.add(MANUAL_CURRENT if case.oc.manual else NO_CURRENT)
        return None
    seen: dict[str, Value] = {
        "pid": current.pid,
        "tid": current.tid,
        "seen": _how_seen(current),
    }
    process = _process_of(current, snapshot)
    if process is None or process.exit_state:
        trace.add("current has gone", **seen)
        return None
    # Unlike the kernel (el7): it waits for a stuck current for ever, a daemon passes over it.
    if process.ident in case.oc.passed_over:
        trace.add("current was given its time to exit and is passed over", **seen)
        return None
    reason = current_will_free_mem(current, process, case.policy)
    if not reason:
        trace.add("current is not dying", **seen)
        return None
    trace.add(f"current needs no killing: {reason}", **seen)
    return process


def _check_panic_on_oom(case: Case, sysctls: Sysctls, trace: _Trace) -> str:
    """Step 3, ``check_panic_on_oom()``: the panic's words, or an empty string."""
    setting, constraint = sysctls.panic_on_oom, case.oc.constraint
    detail: dict[str, Value] = {"vm.panic_on_oom": setting, "constraint": constraint.value}
    if "panic_on_oom" in sysctls.not_observable:
        detail["note"] = "not observable: the kernel's default stands in"
    if setting == 0:
        trace.add("vm.panic_on_oom is 0: no panic", **detail)
    elif setting != 2 and constraint is not Constraint.NONE:
        trace.add(f"no panic: the OOM is constrained ({constraint.value})", **detail)
    elif case.oc.manual and not case.policy.manual_panics:
        trace.add("no panic: a manual OOM", **detail)
    else:
        word = "compulsory" if setting == 2 else "system-wide"
        trace.add(f"panic: vm.panic_on_oom is {setting}", **detail)
        return f"Out of memory: {word} panic_on_oom is enabled"
    return ""


def _allocating_task(
    case: Case, snapshot: Snapshot, sysctls: Sysctls, trace: _Trace
) -> Task | None:
    """Step 4, ``vm.oom_kill_allocating_task``: current, if it is to die for its own request."""
    detail: dict[str, Value] = {"vm.oom_kill_allocating_task": sysctls.oom_kill_allocating_task}
    if not sysctls.oom_kill_allocating_task:
        trace.add("vm.oom_kill_allocating_task is 0", **detail)
        return None
    if case.oc.constraint is Constraint.MEMCG:
        trace.add("a memcg OOM ignores it", **detail)
        return None
    if case.oc.current is None:
        trace.add(MANUAL_CURRENT if case.oc.manual else NO_CURRENT, **detail)
        return None
    task = _process_of(case.oc.current, snapshot)
    detail |= {"pid": case.oc.current.pid, "seen": _how_seen(case.oc.current)}
    if task is None:
        trace.add("current has gone", **detail)
        return None
    reason = ineligible(task, case)
    if reason:
        trace.add(f"current is not eligible: {reason}", **detail)
        return None
    trace.add("kill current", **detail)
    return task


def _compared(found: Selection, case: Case, snapshot: Snapshot) -> dict[str, Value]:
    """What the admin's rules have changed; empty without rules."""
    if case.oc.rules is None:
        return {}
    # Most have none. In the daemon those who have made the rules have loaded it long before.
    from oomd.mm.compared import compared  # noqa: PLC0415

    return compared(found, case, snapshot)


def _select_bad_process(case: Case, snapshot: Snapshot, trace: _Trace) -> Selection:
    """Step 5, ``select_bad_process()``."""
    found = select_bad_process(snapshot.tasks, case)
    detail: dict[str, Value] = {
        "policy": case.policy.name,
        "totalpages": case.totalpages,
        "totalpages_are": constrained_alloc(case.oc, snapshot, case.policy).source,
        "tasks_seen": snapshot.tasks_seen or len(snapshot.tasks),
        **({} if snapshot.tasks_read is None else {"tasks_read_in_full": snapshot.tasks_read}),
        "not_observable": "gfp_mask, oom_flag_origin, MMF_OOM_SKIP of others' victims",
    }
    if found.abort is not None:
        detail["pid"] = found.abort.pid
        trace.add(f"wait, somebody is dying already: {found.abort_reason}", **detail)
    elif found.chosen is None:
        ruled = _compared(found, case, snapshot)
        words = ": the rules leave nobody" if ruled else ""
        trace.add(f"nobody is eligible{words}", **detail, **ruled)
    else:
        task = found.chosen
        detail |= {
            "pid": task.pid,
            "points": found.points,
            "score": oom_score(found.points, case.totalpages),
            "rss_pages": task.rss_pages,
            "pgtables_pages": task.pgtables_pages,
            "swapents_pages": task.swapents_pages,
            "oom_score_adj": task.oom_score_adj,
            "root_discount": case.policy.root_discount
            and task.cap_sys_admin
            and task.init_user_ns is not False,
        }
        bound = snapshot.upper_bound_pages
        # Among those who were not read in full there may be a better one.
        if found.runner_up is not None and (bound is None or found.runner_up_points > bound):
            detail |= {
                "runner_up_pid": found.runner_up.pid,
                "runner_up_points": found.runner_up_points,
            }
        elif bound is not None:
            detail["others_points_at_most"] = bound
        verdict = "in the middle of swapoff or ksm unmerging" if found.origin else "the worst"
        trace.add(verdict, **detail, **_compared(found, case, snapshot))
    return found


def _none_killable(case: Case, trace: _Trace) -> Panic | NoneKillable:
    """Step 6."""
    constraint, totalpages = case.oc.constraint, case.totalpages
    if constraint is Constraint.MEMCG:
        trace.add("nothing to kill in the memory cgroup: no panic, its tasks wait")
        return NoneKillable(NO_KILLABLE, constraint, totalpages, trace.steps())
    if case.oc.manual and not case.policy.manual_panics:
        trace.add("nothing to kill: a manual OOM does not panic")
        return NoneKillable(NO_KILLABLE, constraint, totalpages, trace.steps())
    trace.add("panic: nothing is killable")
    message = case.policy.no_victim_panic
    # mainline warns first, in the words of el7's panic.
    warning = "" if message == NO_KILLABLE else NO_KILLABLE
    return Panic(6, message, constraint, totalpages, trace.steps(), warning)


def out_of_memory(
    oc: OomControl,
    snapshot: Snapshot,
    sysctls: Sysctls,
    policy: Policy,
    *,
    freed: NotifierChain = NotifierChain(),  # noqa: B008 - a frozen record
) -> Decision:
    """What the kernel would do now, step by step, with the trace that explains it.

    ``freed`` is how step 1 went: the notifiers act on the machine, so they ran before, and
    ``snapshot`` was taken after them. mm/oom_kill.c: ``out_of_memory()``, and for a memcg
    ``mem_cgroup_out_of_memory()``.
    """
    trace = _Trace()
    # The kernel works the constraint out after step 2; nothing before depends on it.
    case = case_of(oc, snapshot, policy)
    oc, constraint, totalpages = case.oc, case.oc.constraint, case.totalpages

    message = _memcg_has_no_killer(case, trace)
    if message:
        return NoneKillable(message, constraint, totalpages, trace.steps())

    if _notifiers_freed(case, freed, trace):
        return Freed(freed.freed_pages, constraint, totalpages, trace.steps())

    task = _current_is_dying(case, snapshot, trace)
    if task is not None:
        return LetItExit(task.ident, task.comm, constraint, totalpages, trace.steps())

    message = _check_panic_on_oom(case, sysctls, trace)
    if message:
        return Panic(3, message, constraint, totalpages, trace.steps())

    task = _allocating_task(case, snapshot, sysctls, trace)
    if task is not None:
        return Kill(
            task,
            0,
            "Out of memory (oom_kill_allocating_task)",
            constraint,
            totalpages,
            trace.steps(),
        )

    found = _select_bad_process(case, snapshot, trace)
    if found.abort is not None:
        return Wait(
            found.abort.ident,
            found.abort.comm,
            found.abort_reason,
            constraint,
            totalpages,
            trace.steps(),
        )
    if found.chosen is None:
        return _none_killable(case, trace)

    trace.add(f"not reached: pid {found.chosen.pid} is killable")
    words = "Memory cgroup out of memory" if case.memcg is not None else "Out of memory"
    return Kill(found.chosen, found.points, words, constraint, totalpages, trace.steps())
