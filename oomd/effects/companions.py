"""Who dies with the victim: those who share its mm and, on mainline, its ``memory.oom.group``.

All of this comes after the victim's SIGKILL: kcmp(2) and ``/proc/PID/cgroup`` can block.
"""

# Loaded with the rest: the first to need it is a kill, and nothing is imported then.
import oomd.proc.kcmp  # noqa: F401
from oomd.mm.oom_badness import Case
from oomd.mm.oom_kill_process import oom_group_to_kill, sharers_to_kill
from oomd.mm_types import Task
from oomd.oom import Companion
from oomd.proc.memcg import read_oom_group
from oomd.proc.relatives import candidates_for_sharing, confirm_sharers, find_sharers
from oomd.proc.root import Root
from oomd.proc.task import read_task
from oomd.typed import Iterable

__all__ = ["group_members", "sharers_anywhere", "sharers_at_hand"]

# Unlike the kernel, which knows who shares an mm: kcmp has to say so while the victim still has
# it, and a victim that shares its mm drops it at once. Whoever is missed holds the memory on, has
# the same size and oom_score_adj, and is the next to be chosen. Equal sizes prove nothing:
# preforked workers have them too.


def sharers_at_hand(
    root: Root, victim: Task, tasks: Iterable[Task], case: Case
) -> tuple[Companion, ...]:
    """Sharers among the tasks of the decision: asked first, before the victim's mm is gone.

    The kernel keeps one oom_score_adj for all who share an mm (``__set_oom_adj()``), so they
    score alike and are held with the victim.
    """
    candidates = candidates_for_sharing(tasks, victim)
    if not candidates:
        return ()
    found = confirm_sharers(root, victim, candidates, root.page_size_bytes())
    return sharers_to_kill(victim, found.confirmed, case)


def sharers_anywhere(root: Root, victim: Task, case: Case) -> tuple[Companion, ...]:
    """Whoever else shares the mm: a look at every process."""
    found = find_sharers(root, victim, root.page_size_bytes())
    return sharers_to_kill(victim, found.confirmed, case)


def group_members(root: Root, victim: Task, case: Case) -> tuple[Companion, ...]:
    """The rest of the victim's ``memory.oom.group``.

    Soon after the signal: once the victim is reaped, nothing says which cgroup it was in.
    """
    if not case.policy.oom_group:
        return ()
    page_size_bytes = root.page_size_bytes()
    domain = case.memcg.path if case.memcg is not None else ""
    pids = read_oom_group(root, victim.pid, domain)
    now = read_task(root, victim.pid, page_size_bytes) if pids else None
    if now is None or now.ident != victim.ident:
        # Reaped, and its pid may have been another process's when the group was read.
        return ()
    members = (read_task(root, pid, page_size_bytes) for pid in pids)
    return oom_group_to_kill(victim, (one for one in members if one is not None), case)
