"""Who dies with the victim: those who share its mm and, on mainline, its ``memory.oom.group``.

All of this comes after the victim's SIGKILL: kcmp(2) and ``/proc/PID/cgroup`` can block.
"""

from collections.abc import Iterable
from typing import NamedTuple

# Loaded with the rest: the first to need it is a kill, and nothing is imported then.
import oomd.proc.kcmp  # noqa: F401
from oomd.mm.oom_badness import Case
from oomd.mm.oom_kill_process import oom_group_to_kill, sharers_to_kill
from oomd.mm_types import Task, TaskId
from oomd.oom import Companion
from oomd.proc.memcg import read_oom_group
from oomd.proc.relatives import (
    candidates_for_sharing,
    confirm_sharers,
    find_sharers,
)
from oomd.proc.root import Root
from oomd.proc.task import read_task

__all__ = ["Suspects", "known_sharers", "other_companions", "still_holding"]


class Suspects(NamedTuple):
    """Processes of the victim's size that kcmp could not be asked about in time."""

    victim: Task
    tasks: tuple[Task, ...]


def _alike(victim: Task, tasks: Iterable[Task]) -> tuple[Task, ...]:
    # One mm shows one address space and, but for what it grew by between two reads, one size; and
    # the kernel keeps one oom_score_adj for all who share it. Whoever is wrongly suspected is so
    # a process that scores as the victim did, and would have been chosen next.
    slack_pages = victim.size_pages // 64
    return tuple(
        task
        for task in tasks
        if task.total_vm_pages == victim.total_vm_pages
        and task.oom_score_adj == victim.oom_score_adj
        and abs(task.size_pages - victim.size_pages) <= slack_pages
    )


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


def still_holding(root: Root, suspects: Suspects, case: Case) -> tuple[Companion, ...]:
    """The victim has gone and its memory has not come back: these hold as much as it did.

    A twin with an mm of its own does not come under suspicion: with its victim the memory of one
    of the two would have come back.
    """
    # Unlike the kernel, which knows who shares an mm: three facts together stand in for one.
    page_size_bytes = root.page_size_bytes()
    # Once each: who could not be asked about at first was asked about again with all the rest.
    holding: dict[TaskId, Task] = {}
    for task in suspects.tasks:
        now = read_task(root, task.pid, page_size_bytes)
        if now is not None and now.ident == task.ident and now.size_pages >= task.size_pages:
            holding[now.ident] = now
    return sharers_to_kill(suspects.victim, holding.values(), case)
