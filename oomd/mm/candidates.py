"""The tasks that can still matter, kept while a scan streams by.

A daemon short of memory cannot hold 30,000 records. These few give the same decision as all
of them: whoever would stop the scan, whoever would win it, the next best for the trace, and
current.
"""

# The C half of ``heapq``.
from _heapq import heappush, heappushpop

from oomd.mm.oom_badness import Case, ineligible, points_of, without_rules
from oomd.mm.select_bad_process import dying, scan_key, scan_order
from oomd.mm_types import Task

__all__ = ["Candidates"]

DYING_KEPT = 64


class Candidates:
    """Collects with ``add()`` what ``select_bad_process()`` needs of a population."""

    def __init__(self, case: Case, kept: int = 16) -> None:
        self._case = case
        self._kept = max(kept, 2)
        self._best: list[tuple[int, tuple[int, ...], Task]] = []
        self._dying: list[Task] = []
        self._asked_for: list[Task] = []
        self._scan_key = scan_key(case)
        # A tie goes to the one met last on mainline, to the one met first on el7.
        self._tie_sign = 1 if case.policy.last_of_equals else -1
        # Whom the kernel alone would choose is told, too.
        self._unruled = None if case.oc.rules is None else Candidates(without_rules(case), 2)
        self.seen = 0

    def add(self, task: Task) -> None:
        """Look at one task; O(log kept)."""
        self.seen += 1
        case = self._case
        oc = case.oc
        if task.ident in oc.origins or (oc.current is not None and task.pid == oc.current.pid):
            self._asked_for.append(task)
        if dying(task, case):
            self._dying.append(task)
            if len(self._dying) > 2 * DYING_KEPT:
                self._dying = scan_order(self._dying, case)[:DYING_KEPT]
            return
        if self._unruled is not None:
            self._unruled.add(task)
        if ineligible(task, case):
            return
        points = points_of(task, case)
        sign = self._tie_sign
        entry = (points, tuple(sign * one for one in self._scan_key(task)), task)
        if len(self._best) < self._kept:
            heappush(self._best, entry)
        elif entry > self._best[0]:
            heappushpop(self._best, entry)

    @property
    def best_points(self) -> int | None:
        """Of the worst task so far; None: nobody is eligible."""
        return max(entry[0] for entry in self._best) if self._best else None

    def tasks(self) -> tuple[Task, ...]:
        """The kept ones, in fork order."""
        kept = {task.ident: task for task in self._dying + self._asked_for}
        kept.update((entry[2].ident, entry[2]) for entry in self._best)
        if self._unruled is not None:
            kept.update((task.ident, task) for task in self._unruled.tasks())
        return tuple(sorted(kept.values(), key=lambda task: task.ident[::-1]))
