"""All processes of the machine, read as far as a decision needs them.

The figures of a process are in three files. Its points are bounded by one that costs a fifth of
them, ``/proc/PID/oom_score``: who cannot be the worst, and is nobody to wait for, is read no
further. The decision is that of a full scan.
"""

import os
import time

from oomd.mm.candidates import Candidates
from oomd.mm.oom_badness import Case
from oomd.mm.proc_oom_score import NEVER, NOTHING, ScoreBound, score_of_nothing
from oomd.mm_types import MemCgroup, MemInfo, Snapshot, Task
from oomd.oom import Constraint, Decision, Kill, NoneKillable, OomControl, Panic
from oomd.proc.errors import is_short
from oomd.proc.root import ReadError, Refused, Root
from oomd.proc.snapshot import CannotDecide, take_snapshot
from oomd.proc.sysctl import parse_int
from oomd.proc.task import read_task
from oomd.typed import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from oomd.proc.kept_scores import KeptScores

__all__ = ["Scan", "blur_pages", "is_settled"]

# A bound that did not settle it is not tried again for so many decisions.
WHOLE_AFTER_VAIN: Final = 8
# A process whose figures disagree with its score is looked at this often before that is believed.
LOOKS: Final = 4
# A known kernel thread is read again after so many scans: in time its pid may be another's.
KTHREAD_SCANS: Final = 32
KTHREADS_REMEMBERED: Final = 4096


def blur_pages() -> int:
    """How far ``status`` and the killer's own count may be apart.

    rss and swap are four counters, each with a part on every processor that stays below
    percpu_counter_batch, max(32, 2 * processors). From 6.2 to 7.x ``oom_badness()`` reads the
    common part alone.
    """
    cpus = os.cpu_count() or 1
    return 4 * cpus * (max(32, 2 * cpus) - 1)


def is_settled(decision: Decision, snapshot: Snapshot, oc: OomControl) -> bool:
    """Whether nobody who was not read in full could have changed the decision."""
    bound = snapshot.upper_bound_pages
    match decision:
        case Kill():
            # An origin is as bad as can be; and 0 is current's at step 4, which asks for no points.
            if bound is None or decision.points == 0 or decision.chosen.ident in oc.origins:
                return True
            return decision.points > bound
        case NoneKillable() | Panic(step=6):
            return bound is None
        case _:
            return True


class _Misfit(Exception):
    """The scores are not what ``proc_oom_score()`` makes of the figures. The pid."""


class _Pass:
    """One way through all processes by their scores."""

    def __init__(
        self,
        root: Root,
        case: Case,
        bound: ScoreBound,
        kept: int,
        *,
        kthreads: frozenset[int],
        scans: int,
    ) -> None:
        self._root = root
        self._scans = scans
        self._bound = bound
        self._page_size_bytes = root.page_size_bytes()
        self._of_adj: dict[bytes, int] = {}
        oc = case.oc
        # They matter whatever their points.
        self._asked_for = {one.pid for one in oc.victims | oc.origins}
        if oc.current is not None:
            self._asked_for.add(oc.current.pid)
        if oc.rules is not None:
            self._asked_for.update(oc.rules.raised_pids)
        self._known_kthreads = kthreads
        self.kthreads: set[int] = set()
        self.candidates = Candidates(case, kept)
        self.seen = 0
        self.read = 0
        self.highest_left_out = -1

    def _score(self, pid: int) -> int:
        try:
            return parse_int(self._root.read_record(f"proc/{pid}/oom_score"))
        except ReadError:
            return NEVER

    def _fits(self, pid: int, task: Task, score: int) -> bool:
        for _ in range(LOOKS):
            if score == NEVER or self._bound.fits(task, score):
                return True
            # It may have grown, or ended, since its score was read.
            after = self._score(pid)
            if after == NEVER or self._bound.fits(task, score, after):
                return True
            score = after
            again = read_task(self._root, pid, self._page_size_bytes)
            if again is None or not again.has_mm or again.refused:
                return True
            task = again
        return False

    def _read(self, pid: int, score: int, adj: int | None = None) -> None:
        self._asked_for.discard(pid)
        task = read_task(self._root, pid, self._page_size_bytes, oom_score_adj=adj)
        if task is None:
            return
        if is_short(task.refused):
            # Not one process that may not be read: nobody can be, and one of them is the worst.
            raise Refused(f"proc/{pid}", task.refused)
        self.read += 1
        if task.kthread:
            if len(self.kthreads) < KTHREADS_REMEMBERED:
                self.kthreads.add(pid)
        elif task.has_mm and not task.refused and not self._fits(pid, task, score):
            raise _Misfit(pid)
        self.candidates.add(task)

    def _expected(self, adj: bytes) -> int:
        """The score of a task with next to no memory that has this oom_score_adj."""
        score = self._of_adj.get(adj)
        if score is None:
            score = score_of_nothing(parse_int(adj), self._bound.totalpages)
            self._of_adj[adj] = score
        return score

    def _look(self, pid: int, data: bytes) -> None:
        """One whose score is not that of a small process without an oom_score_adj."""
        score = int(data) if data.strip().isdigit() else NEVER
        adj = None
        if score != NEVER:
            try:
                written = self._root.read_record(f"proc/{pid}/oom_score_adj")
                if score == self._expected(written):
                    self.highest_left_out = max(self.highest_left_out, score)
                    return
                adj = parse_int(written)
            except ReadError:
                # It has ended, or all that can be read of it is asked for.
                adj = None
        elif pid in self._known_kthreads and (pid + self._scans) % KTHREAD_SCANS:
            self.kthreads.add(pid)
            return
        # The worst; who is dying with much to give back; and who has no points, but may be on the
        # way out with its memory not yet freed.
        self._read(pid, score, adj)

    def run(self, kept: "KeptScores | None") -> None:
        """Raises ``_Misfit`` and ``ReadError``."""
        nothing = b"%d\n" % NOTHING
        if kept is None:
            self.seen, small = self._root.sift_records("oom_score", nothing, self._look)
        else:
            self.seen, small = kept.sift(nothing, self._look)
        if small:
            self.highest_left_out = max(self.highest_left_out, NOTHING)
        for pid in tuple(self._asked_for):
            self._read(pid, self._score(pid))

    def upper_bound_pages(self) -> int | None:
        if self.highest_left_out < 0:
            return None
        return self._bound.points_at_most(self.highest_left_out)


class Scan:
    """Reads the machine's tasks for one decision after another. State is bounded."""

    def __init__(
        self, root: Root, *, bounded: bool | None = None, kept_descriptors: int = 0
    ) -> None:
        """``bounded``: whether scores are used; by default on a live machine whose meminfo is its
        own. That they are what they are taken for is checked with every decision.
        ``kept_descriptors``: of so many processes the file of the score stays open."""
        self._root = root
        if bounded is None:
            bounded = root.live and not root.mounted_over("proc/meminfo")
        self.bounded = bounded
        """False: the scores are not used, or not any more."""
        self.note = ""
        """What is worth knowing, once; the caller's to clear."""
        self._blur_pages = blur_pages()
        self._kept: KeptScores | None = None
        if kept_descriptors:
            # Imported here: most keep none.
            from oomd.proc import kept_scores  # noqa: PLC0415

            self._kept = kept_scores.KeptScores(root, kept_descriptors)
        self._whole_left = 0
        self._kthreads: frozenset[int] = frozenset()
        self._scans = 0

    def close(self) -> None:
        """Let go of what is kept open."""
        if self._kept is not None:
            self._kept.close()

    def forget(self) -> None:
        """Scores that settled nothing in the calm, among small equals, say nothing of a storm."""
        self._whole_left = 0

    def take(
        self, case: Case, meminfo: MemInfo, kept: int, *, memcg: MemCgroup | None = None
    ) -> Snapshot:
        """What a full scan would decide from, and perhaps less; its best ``kept`` tasks are held.

        Raises ``CannotDecide``.
        """
        # The kernel's score is about the whole machine.
        if self.bounded and memcg is None and case.oc.constraint is Constraint.NONE:
            if not self._whole_left:
                snapshot = self._by_score(case, meminfo, kept)
                if snapshot is not None:
                    return snapshot
                self._whole_left = WHOLE_AFTER_VAIN
            self._whole_left -= 1
        return self.take_whole(case, meminfo, kept, memcg=memcg)

    def take_whole(
        self, case: Case, meminfo: MemInfo, kept: int, *, memcg: MemCgroup | None = None
    ) -> Snapshot:
        """The same with everybody read in full. Raises ``CannotDecide``."""
        candidates = Candidates(case, kept)

        def keep(task: Task) -> bool:
            candidates.add(task)
            return False

        snapshot = take_snapshot(self._root, keep=keep, memcg=memcg)
        return snapshot._replace(tasks=candidates.tasks(), meminfo=meminfo)

    def _by_score(self, case: Case, meminfo: MemInfo, kept: int) -> Snapshot | None:
        """None: it did not settle who is the worst."""
        begin_ns = time.monotonic_ns()
        rules = case.oc.rules
        # Whom a rule makes worse is not known from the score: anybody may be one of them.
        highest_adj = 0 if rules is None else max(0, rules.highest_adj)
        bound = ScoreBound(
            case.totalpages,
            blur_pages=self._blur_pages,
            floor_points=case.policy.floor_points,
            raised_pages=highest_adj * (case.totalpages // 1000),
        )
        done = _Pass(self._root, case, bound, kept, kthreads=self._kthreads, scans=self._scans)
        try:
            done.run(self._kept)
        except _Misfit as misfit:
            self.bounded = False
            self.note = (
                f"/proc/{misfit}/oom_score does not agree with its size: every process is read in "
                "full, which takes longer"
            )
            return None
        except ReadError as error:
            # /proc itself: nor could everybody be read in full.
            raise CannotDecide(f"cannot read {error}") from None
        self._scans += 1
        self._kthreads = frozenset(done.kthreads)
        best, upper_bound = done.candidates.best_points, done.upper_bound_pages()
        # Equals are settled by who was forked first, which scores do not tell.
        if upper_bound is not None and (best is None or best <= upper_bound):
            return None
        return Snapshot(
            done.candidates.tasks(),
            meminfo,
            self._root.page_size_bytes(),
            self._root.kernel_release(),
            tasks_seen=done.seen,
            scan_us=(time.monotonic_ns() - begin_ns) // 1000,
            tasks_read=done.read,
            upper_bound_pages=upper_bound,
        )
