"""``proc_oom_score()`` (fs/proc/base.c): what ``/proc/PID/oom_score`` tells of a task's points.

The cheapest file that does. Its formula since 5.9 loses nothing but precision: a step of it is
0.15 % of the machine, so it bounds ``oom_badness()`` from both sides, and who cannot be the worst
need not be read further.
"""

from oomd.mm.oom_badness import c_div
from oomd.mm_types import Task
from oomd.typed import Final

__all__ = ["NEVER", "NOTHING", "ScoreBound", "proc_oom_score", "score_of_nothing", "weighs_nothing"]

NEVER: Final = 0
"""Of one whom the kernel would not choose: ``oom_badness()`` says LONG_MIN. A few others at a very
low oom_score_adj have it too."""

NOTHING: Final = 666
"""Of a task with next to no memory and without an oom_score_adj."""


def proc_oom_score(points: int, totalpages: int) -> int:
    """The file's number since 5.9, for a task that the kernel may choose.

    ``points`` are mainline's, without el7's discount; ``totalpages`` are RAM + swap.
    """
    return c_div((1000 + c_div(points * 1000, totalpages)) * 2, 3)


def score_of_nothing(oom_score_adj: int, totalpages: int) -> int:
    """The score of a task that has a single page."""
    # Not of none: where totalpages are whole thousands, a negative adjustment alone stands on the
    # edge of a step.
    return proc_oom_score(1 + oom_score_adj * (totalpages // 1000), totalpages)


def weighs_nothing(task: Task, totalpages: int) -> bool:
    """On the scale of the kernel's own score its memory is nothing: it scores as one that has a
    single page, with the same oom_score_adj or with none."""
    points = task.size_pages + task.oom_score_adj * (totalpages // 1000)
    score = proc_oom_score(points, totalpages)
    return score in (NOTHING, score_of_nothing(task.oom_score_adj, totalpages))


class ScoreBound:
    """From a score back to points, in pages."""

    __slots__ = ("blur_pages", "floor_points", "raised_pages", "totalpages")

    def __init__(
        self,
        totalpages: int,
        *,
        blur_pages: int = 0,
        floor_points: int | None = None,
        raised_pages: int = 0,
    ) -> None:
        """``blur_pages``: how far ``status`` and the score may be apart in the kernel's counting.
        ``floor_points``: the profile's. ``raised_pages``: the most that anything but the kernel's
        ``oom_badness()`` adds to the points of a task, whichever it is. What adds to the points of
        some has to be counted here: who is not read in full is not asked about."""
        self.totalpages = totalpages
        self.blur_pages = blur_pages
        self.floor_points = floor_points
        self.raised_pages = raised_pages

    def badness_at_most(self, score: int) -> int:
        """The largest mainline badness with this score."""
        thousandths = (3 * score + 2) // 2 - 1000
        if thousandths < 0:
            return thousandths * self.totalpages // 1000 + self.blur_pages
        return ((thousandths + 1) * self.totalpages - 1) // 1000 + self.blur_pages

    def badness_at_least(self, score: int) -> int:
        """The smallest one."""
        thousandths = -(-3 * score // 2) - 1000
        if thousandths > 0:
            return -(-thousandths * self.totalpages // 1000) - self.blur_pages
        return (thousandths - 1) * self.totalpages // 1000 + 1 - self.blur_pages

    def points_at_most(self, score: int) -> int:
        """No task with this score has more points, in either profile: el7's discount for root only
        takes away, and its floor lifts those below it."""
        points = self.badness_at_most(score)
        if self.floor_points is not None and points < self.floor_points:
            points = self.floor_points
        return points + self.raised_pages

    def fits(self, task: Task, *scores: int) -> bool:
        """Whether the figures of ``task`` agree with the scores read before and after them. If not,
        this is not the kernel's formula, or not the kernel's total."""
        points = task.size_pages + task.oom_score_adj * (self.totalpages // 1000)
        low, high = self.badness_at_least(min(scores)), self.badness_at_most(max(scores))
        return low <= points <= high
