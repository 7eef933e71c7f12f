"""Who takes how many pages: two counts of each process, from one look at it to the next."""

import math

from oomd.mm_types import TaskId
from oomd.proc.task import Stat
from oomd.typed import Final, NamedTuple

__all__ = ["HALF_LIFE_MS", "PageCounts", "Taker"]

# Processes that are remembered of a round: some 300 bytes each, in memory that is locked.
REMEMBERED: Final = 4096

# What was taken this long ago counts half: who took a lot, and has stopped, is soon behind who
# takes a little all the time; and who is stuck for want of memory is not forgotten at once.
HALF_LIFE_MS: Final = 500


class _Seen(NamedTuple):
    """A process at one look, by two counts that each miss something."""

    starttime_ticks: int
    faults: int
    """A fault takes a page, or a huge one, which is 512 of them."""
    rss_pages: int
    """Falls when pages are swapped out, whatever is taken meanwhile."""
    at_ms: int
    of_late: float
    """Pages taken until then, those of long ago counting less."""

    def of_late_at(self, now_ms: int) -> float:
        return self.of_late * math.exp2(-max(now_ms - self.at_ms, 0) / HALF_LIFE_MS)


class Taker(NamedTuple):
    """A process that takes pages."""

    ident: TaskId
    pages: int
    """Of late: those of ``HALF_LIFE_MS`` ago count half."""


class PageCounts:
    """Remembers two rounds through the processes. State is bounded."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        # Of the round in hand and of the one before it, by pid.
        self._seen: dict[int, _Seen] = {}
        self._seen_before: dict[int, _Seen] = {}

    def __len__(self) -> int:
        return len(self._seen)

    def begin_round(self) -> None:
        """Whoever is not met in it has gone."""
        self._seen, self._seen_before = {}, self._seen

    def forget(self) -> None:
        """Nothing is known of any process."""
        self._seen, self._seen_before = {}, {}

    def count(self, pid: int, stat: Stat, now_ms: int) -> float:
        """Pages taken of late. A process that was not met in the last round has taken none yet.

        ``stat`` is the process's, which counts the faults of all its threads.
        """
        taken = 0.0
        before = self._seen_before.get(pid)
        if before is not None and before.starttime_ticks == stat.starttime_ticks:
            growth = max(stat.faults - before.faults, stat.rss_pages - before.rss_pages, 0)
            taken = before.of_late_at(now_ms) + growth
        if len(self._seen) < self._remembered:
            seen = _Seen(stat.starttime_ticks, stat.faults, stat.rss_pages, now_ms, taken)
            self._seen[pid] = seen
        return taken

    def takers(self, now_ms: int, floor_pages: int) -> list[Taker]:
        """Who has taken at least so much of late, the most first."""
        takers = [
            Taker(TaskId(pid, seen.starttime_ticks), pages)
            for pid, seen in (self._seen_before | self._seen).items()
            if (pages := int(seen.of_late_at(now_ms))) >= floor_pages
        ]
        return sorted(takers, key=lambda taker: taker.pages, reverse=True)
