"""Who takes how many pages: two counts of each process, from one look at it to the next."""

from typing import Final, NamedTuple

from oomd.mm_types import TaskId
from oomd.proc.task import Stat

__all__ = ["PageCounts", "Taken"]

# Processes whose pages are remembered: some 250 bytes each, in memory that is locked.
REMEMBERED: Final = 4096


class _Pages(NamedTuple):
    """What a process has taken so far, by two counts that each miss something."""

    faults: int
    """A fault takes a page, or a huge one, which is 512 of them."""
    rss_pages: int
    """Falls when pages are swapped out, whatever is taken meanwhile."""
    at_ms: int

    def since(self, before: "_Pages") -> int:
        """At least what it took since then; negative: it gave back more."""
        return max(self.faults - before.faults, self.rss_pages - before.rss_pages)


class Taken(NamedTuple):
    """What a process took while somebody was sought."""

    ident: TaskId
    pages: int
    since_ms: int


class PageCounts:
    """Remembers the last two rounds through the processes. State is bounded."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        # Of the round in hand and of the one before it, by pid.
        self._pages: dict[int, _Pages] = {}
        self._pages_before: dict[int, _Pages] = {}
        # While somebody is sought.
        self._taken: dict[TaskId, Taken] | None = None

    def __len__(self) -> int:
        return len(self._pages)

    def begin_round(self) -> None:
        """From now on, each process is held against its count of the round that ends here."""
        self._pages, self._pages_before = {}, self._pages

    def forget(self) -> None:
        """Nothing is known of any process."""
        self._pages, self._pages_before = {}, {}

    def count(self, pid: int, stat: Stat, now_ms: int) -> int:
        """Pages taken since the last round. A process that was not known then has taken none.

        ``stat`` is the process's, which counts the faults of all its threads.
        """
        pages = _Pages(stat.faults, stat.rss_pages, now_ms)
        if len(self._pages) < self._remembered:
            self._pages[pid] = pages
        before = self._pages_before.get(pid, pages)
        growth = pages.since(before)
        if self._taken is not None and growth > 0:
            ident = TaskId(pid, stat.starttime_ticks)
            so_far = self._taken.get(ident, Taken(ident, 0, before.at_ms))
            self._taken[ident] = so_far._replace(pages=so_far.pages + growth)
        return growth

    def seek(self) -> None:
        """From now on, sum up what each process takes, for ``takers()``."""
        self._taken = {}

    def takers(self) -> list[Taken]:
        """Who has taken something since ``seek()``, the most first; the summing up ends."""
        taken, self._taken = self._taken or {}, None
        return sorted(taken.values(), key=lambda one: one.pages, reverse=True)
