"""What the kernel's own score tells of the things that a report does not show.

A score is ``points * 1000 / totalpages``, rounded down. With the table's figures it says whether
the chosen one had CAP_SYS_ADMIN, or how much swap the host of a memory cgroup had.
"""

from typing import NamedTuple

from oomd.mm.oom_badness import oom_badness, oom_score
from oomd.mm.policy import Policy
from oomd.mm_types import Task
from oomd.replay.kernel_report import KernelReport, Row
from oomd.replay.profile import Profile
from oomd.replay.rebuild import chosen_row, task_of
from oomd.replay.totals import BEYOND_ALL_PAGES, Total, page_kib_of

__all__ = ["Reading", "reading_of"]

_SAMPLES = 1024


class Reading(NamedTuple):
    """The report with what its score tells."""

    policy: Policy
    total: Total
    discounted: frozenset[int]
    """Processes taken to have CAP_SYS_ADMIN: those of uid 0, unless the score says otherwise."""
    score_agrees: bool | None
    certain: bool
    """The score has settled whether the chosen one has CAP_SYS_ADMIN."""
    notes: tuple[str, ...]


def _roots_of(report: KernelReport, policy: Policy) -> frozenset[int]:
    """Who is presumed to have the root discount: whoever is uid 0."""
    if not policy.root_discount:
        return frozenset()
    return frozenset(row.tgid for row in report.table.rows if row.uid == 0)


class _Scored(NamedTuple):
    """The chosen process with and without CAP_SYS_ADMIN, and what it is scored by."""

    task: dict[bool, Task]
    policy: Policy
    allocating: bool
    """It was killed for allocating, and not scored."""
    score: int
    """The kernel's."""

    def at(self, totalpages: int, capable: bool) -> int:
        """The score that the policy gives it."""
        if self.allocating:
            return 0
        points = oom_badness(self.task[capable], totalpages, self.policy)
        return oom_score(points, totalpages)


def _scored(report: KernelReport, row: Row, policy: Policy, score: int) -> _Scored:
    page_kib = page_kib_of(report)
    tasks = {
        capable: task_of(report, row, 0, frozenset({row.tgid} if capable else ()), page_kib)
        for capable in (True, False)
    }
    return _Scored(tasks, policy, "oom_kill_allocating_task" in report.message, score)


def _samples(low: int, high: int) -> list[int]:
    """Figures from ``low`` to ``high``, dense where they are small."""
    step = (high / low) ** (1 / _SAMPLES)
    inner = {round(low * step**n) for n in range(1, _SAMPLES)}
    return [low, *sorted(pages for pages in inner if low < pages < high), high]


def _fits_near(scored: _Scored, capable: bool, pages: int) -> bool:
    """The score fits in the same thousand: in it points are the same, and the score only falls."""
    thousand = pages // 1000 * 1000
    highest, lowest = scored.at(max(thousand, 1), capable), scored.at(thousand + 999, capable)
    return highest >= scored.score >= lowest


def _fitting(scored: _Scored, total: Total, capable: bool) -> Total | None:
    """``total`` as far as the kernel's score fits it, or None if it does nowhere."""
    if total.pages is not None:
        return total if scored.at(total.pages, capable) == scored.score else None
    # score is size * 1000 / totalpages, and of oom_score_adj all or a part, as it counts whole
    # thousands of totalpages. Solved for totalpages, with a point to spare for what is rounded.
    task = scored.task[capable]
    size, adj = task.size_pages * 1000, task.oom_score_adj
    most = scored.score + 1 - min(adj, 0)
    least = scored.score - 1 - max(adj, 0)
    low = max(total.low_pages, size * 97 // 100 // most if most > 0 else 1)
    high = min(total.high_pages, size // least + 1 if least > 0 else BEYOND_ALL_PAGES)
    if adj < 0 < scored.score:
        # Above it nothing is left of the size.
        high = min(high, size // -adj + 1000)
    if low > high:
        return None
    samples = _samples(low, high)
    fits = [_fits_near(scored, capable, pages) for pages in samples]
    if True not in fits:
        return None
    first, last = fits.index(True), len(fits) - 1 - fits[::-1].index(True)
    # Up to the next ones that do not fit.
    low = samples[max(first - 1, 0)]
    high = samples[min(last + 1, len(samples) - 1)]
    return total._replace(low_pages=low, high_pages=high)


def _both(one: Total, other: Total) -> Total:
    low = min(one.low_pages, other.low_pages)
    return one._replace(low_pages=low, high_pages=max(one.high_pages, other.high_pages))


def _swap_note(report: KernelReport, total: Total) -> str:
    """What the score says of the host's swap, in GiB."""
    memory = report.limits.get("memory")
    if memory is None or total.pages is not None:
        return ""
    page_kib = page_kib_of(report)
    limit = memory.limit_kib // page_kib
    swap = [(pages - limit) * page_kib / 2**20 for pages in (total.low_pages, total.high_pages)]
    return f"its score fits a host with {swap[0]:,.2f} to {swap[1]:,.2f} GiB of swap"


def _capability_note(scored: _Scored, row: Row, total: Total, capable: bool) -> str:
    if total.pages is None or (row.uid != 0 and not capable):
        return ""
    other = scored.at(total.pages, not capable)
    word, without = ("with", "without it") if capable else ("without", "with it")
    return f"its score is that of a task {word} CAP_SYS_ADMIN (uid {row.uid}; {without}: {other})"


def _no_fit(scored: _Scored, total: Total, capable: bool) -> str:
    if total.pages is None:
        return f"the kernel's score {scored.score} fits no totalpages that it could have had"
    ours = scored.at(total.pages, capable)
    return f"the kernel's score is {scored.score}, by the table it is {ours}"


def reading_of(report: KernelReport, profile: Profile, total: Total) -> Reading:
    """Hold the kernel's score against the table."""
    policy = profile.policy
    row, score = chosen_row(report), report.score
    roots = _roots_of(report, policy)
    if row is None or score is None:
        return Reading(policy, total, roots, None, False, ())
    scored = _scored(report, row, policy, score)
    usual = row.tgid in roots
    found = _fitting(scored, total, usual)
    other = None
    # Only a score that does not fit otherwise tells of a user with root's capability.
    if policy.root_discount and (found is None or usual):
        other = _fitting(scored, total, not usual)
    if found is None and other is None:
        return Reading(policy, total, roots, False, False, (_no_fit(scored, total, usual),))
    if found is not None and other is not None:
        both = _both(found, other)
        exact = True if total.pages is not None else None
        return Reading(policy, both, roots, exact, False, (_swap_note(report, both),))
    capable = usual if found is not None else not usual
    narrowed = found or other or total
    discounted = roots | {row.tgid} if capable else roots - {row.tgid}
    notes: tuple[str, ...] = (_swap_note(report, narrowed),)
    if policy.root_discount and total.pages is not None:
        notes += (_capability_note(scored, row, narrowed, capable),)
    exact = True if total.pages is not None else None
    return Reading(policy, narrowed, discounted, exact, True, notes)
