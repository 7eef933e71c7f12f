"""Who dies with the victim: those who share its mm and, on mainline, its ``memory.oom.group``.

All of this comes after the victim's SIGKILL: kcmp(2) and ``/proc/PID/cgroup`` can block.
"""

from collections.abc import Iterable
from typing import NamedTuple

# Loaded with the rest: the first to need it is a kill, and nothing is imported then.
import oomd.proc.kcmp  # noqa: F401
from oomd.mm.oom_badness import Case
from oomd.mm.oom_kill_process import oom_group_to_kill, sharers_to_kill
from oomd.mm_types import Task
from oomd.oom import Companion
from oomd.proc.memcg import read_oom_group
from oomd.proc.relatives import (
    candidates_for_sharing,
    confirm_sharers,
    find_sharers,
    presumed_same_mm,
)
from oomd.proc.root import Root
from oomd.proc.task import read_task

__all__ = ["Suspects", "known_sharers", "other_companions", "still_alike"]


class Suspects(NamedTuple):
    """Processes of exactly the victim's sizes that kcmp could not be asked about in time."""

    victim: Task
    tasks: tuple[Task, ...]


def _alike(victim: Task, tasks: Iterable[Task]) -> tuple[Task, ...]:
    tasks = tuple(tasks)
    same = presumed_same_mm(victim, tasks)
    return tuple(task for task in tasks if task.ident in same)


def known_sharers(
    root: Root, victim: Task, tasks: Iterable[Task], case: Case
) -> tuple[tuple[Companion, ...], Suspects]:
    """Sharers among the tasks of the decision: asked at once, before the victim's mm is gone.

    The kernel keeps oom_score_adj the same for all who share an mm (``__set_oom_adj()``), so
    they score alike and are held with the victim.
    """
    candidates = candidates_for_sharing(tasks, victim)
    if not candidates:
        return (), Suspects(victim, ())
    found = confirm_sharers(root, victim, candidates, root.page_size_bytes())
    suspects = Suspects(victim, _alike(victim, found.unconfirmed))
    return sharers_to_kill(victim, found.confirmed, case), suspects


def other_companions(
    root: Root, victim: Task, known: Iterable[Companion], case: Case
) -> tuple[tuple[Companion, ...], Suspects]:
    """The rest: the oom.group, and whoever else shares the mm (a look at every process)."""
    page_size_bytes = root.page_size_bytes()
    seen = {one.task.ident for one in known}
    companions: list[Companion] = []
    # The group first: once the victim is reaped, nothing says which cgroup it was in.
    if case.policy.oom_group:
        domain = case.memcg.path if case.memcg is not None else ""
        pids = read_oom_group(root, victim.pid, domain)
        members = (read_task(root, pid, page_size_bytes) for pid in pids)
        companions += oom_group_to_kill(victim, (one for one in members if one), case)
    found = find_sharers(root, victim, page_size_bytes)
    companions += sharers_to_kill(victim, found.confirmed, case)
    unique = {one.task.ident: one for one in reversed(companions) if one.task.ident not in seen}
    return tuple(unique.values()), Suspects(victim, _alike(victim, found.unconfirmed))


def still_alike(root: Root, suspects: Suspects, case: Case) -> tuple[Companion, ...]:
    """The victim has gone and its memory has not come back: these still hold exactly that much."""
    # Unlike the kernel, which knows who shares an mm: three facts together stand in for one.
    page_size_bytes = root.page_size_bytes()
    now = (read_task(root, task.pid, page_size_bytes) for task in suspects.tasks)
    idents = {task.ident for task in suspects.tasks}
    alive = [task for task in now if task is not None and task.ident in idents]
    return sharers_to_kill(suspects.victim, _alike(suspects.victim, alive), case)
