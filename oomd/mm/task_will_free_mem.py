"""``task_will_free_mem()``: is it dying already, and about to give its memory back?"""

from oomd.mm.policy import Policy
from oomd.mm_types import Task
from oomd.oom import CurrentTask

__all__ = ["current_will_free_mem", "task_will_free_mem"]


def current_will_free_mem(current: CurrentTask, process: Task, policy: Policy) -> str:
    """Why the allocating task needs no killing, or an empty string.

    el7 looks at the one thread; mainline asks that the whole process is dying.
    """
    if not policy.whole_process_dies:
        if current.sigkill_pending:
            return "SIGKILL is pending"
        return "it is exiting" if current.exiting else ""
    return task_will_free_mem(process, policy)


def task_will_free_mem(process: Task, policy: Policy) -> str:
    """Why a chosen process needs no killing (``oom_kill_process()``), or an empty string."""
    if not process.has_mm:
        return ""
    if process.exiting and (process.num_threads <= 1 or not policy.whole_process_dies):
        return "it is exiting"
    # Unlike the kernel: that it dumps core, or that others who share its mm are not dying, is not
    # looked at (the latter takes kcmp, which can block): it is assumed to go soon.
    if policy.whole_process_dies and process.sigkill_pending:
        return "SIGKILL is pending"
    return ""
