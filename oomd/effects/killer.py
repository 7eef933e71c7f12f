"""One kill, from the plan to the last companion. Kill first, tell after."""

from oomd.effects.companions import group_members, sharers_anywhere, sharers_at_hand
from oomd.effects.oom_kill_process import Missed, Victim, kill, kill_companions, open_victim
from oomd.effects.oom_reaper import OomReaper
from oomd.effects.reserve import Reserve
from oomd.effects.thaw import thaw
from oomd.effects.units import UnitMarks
from oomd.effects.victims import VictimsInFlight
from oomd.event import Event
from oomd.mm.oom_badness import Case, oom_score
from oomd.mm.oom_kill_process import pick_child, plan_kill
from oomd.mm_types import Task
from oomd.oom import Companion, Kill, KillPlan, Relatives
from oomd.proc.relatives import grew_between, iter_children, presumed_same_mm
from oomd.proc.root import WritableRoot
from oomd.proc.task import read_task
from oomd.report.kernel_log import companion_lines, invoked_line, kill_lines, printable
from oomd.report.record import Record, decision_record
from oomd.settings import Settings
from oomd.typed import Callable, Iterable

__all__ = ["Killer", "label"]


def label(task: Task) -> str:
    """A process as a line of the log names it."""
    return f"{task.pid} ({printable(task.comm)})"


class Killer:
    """``oom_kill_process()`` done: the only one who has a victim signalled."""

    def __init__(
        self,
        root: WritableRoot,
        settings: Settings,
        in_flight: VictimsInFlight,
        publish: Callable[[tuple[str, ...]], None],
        say: Callable[[str], None],
        *,
        reaper: OomReaper | None,
        restrict_to: frozenset[int] | None,
        reserve: Reserve | None = None,
    ) -> None:
        """``publish`` takes the kernel's lines, ``say`` a line of ours.

        ``restrict_to``: nobody else may be killed.
        """
        self._reserve = reserve
        self._root = root
        self._page_size_bytes = root.page_size_bytes()
        self._in_flight = in_flight
        self._publish = publish
        self._say = say
        self._reaper = reaper
        self._restrict_to = restrict_to
        self._v1_freezer = root.exists("sys/fs/cgroup/freezer")
        self._marks = UnitMarks(root)
        self.settings = settings

    # --- before the signal

    def _relatives(self, chosen: Task, case: Case) -> Relatives:
        # Unlike the kernel: whether a child has its parent's mm is presumed from equal sizes,
        # since kcmp(2) can block. A child wrongly passed over costs its parent's life, which
        # is what mainline would have taken anyway.
        if not case.policy.child_sacrifice:
            return Relatives()
        # One at a time, and only the best is kept: there may be 30,000.
        best: tuple[Task, ...] = ()
        seen = 0
        for child in iter_children(self._root, chosen, self._page_size_bytes):
            # The parent may have gone meanwhile, and its pid be another process's.
            if child.ppid != chosen.pid:
                continue
            seen += 1
            if child.ident in presumed_same_mm(chosen, (child,)):
                continue
            victim = pick_child((*best, child), case)
            if victim is child and self._has_mm_of(chosen, child):
                continue
            best = () if victim is None else (victim,)
        return Relatives(best, frozenset(), "equal sizes", seen)

    def _has_mm_of(self, chosen: Task, child: Task) -> bool:
        """The chosen grows: what it and a child show of one mm differs by when they were read."""
        now = read_task(self._root, chosen.pid, self._page_size_bytes)
        return now is not None and grew_between(chosen, child, now)

    def plan(self, event: Event, decision: Kill) -> KillPlan:
        """Who is the victim."""
        relatives = self._relatives(decision.chosen, event.case)
        return plan_kill(decision, relatives, event.case)

    def rehearse(self, event: Event, decision: Kill) -> tuple[KillPlan, tuple[str, ...]]:
        """All of a kill that harms nobody."""
        plan = self.plan(event, decision)
        return plan, self._kernel_lines(event, decision, plan)

    # --- the signal, and after

    def kill(self, event: Event, decision: Kill, plan: KillPlan) -> Missed | Record:
        """SIGKILL to the planned victim, then to its companions; the record, or why not."""
        if self._restrict_to is not None and plan.victim.pid not in self._restrict_to:
            return Missed(plan.victim, "not among those that may be killed", refused=True)
        end = open_victim(self._root, plan.victim)
        if isinstance(end, Missed) and end.short and self.give_up_reserve():
            end = open_victim(self._root, plan.victim)
        if isinstance(end, Victim):
            end = kill(self._root, end)
        if isinstance(end, Missed):
            return end
        # Before anything that may fail: a victim that nobody knows of would be followed by
        # another at once.
        shortfall_kib = event.look.shortfall_kib(event.trigger)
        pidfd = self._in_flight.add(end, end.killed_at_ns, event.look.meminfo, shortfall_kib)
        # Not its own: that of a victim which was waited for before, as on a manual trigger, is
        # closed by now, and the number may soon be another process's.
        end = end._replace(pidfd=pidfd)
        return self._killed(event, decision, plan, end)

    def _killed(self, event: Event, decision: Kill, plan: KillPlan, victim: Victim) -> Record:
        """The first signal is sent: now whatever may take a moment, the most urgent first."""
        root, case, dead = self._root, event.case, plan.victim
        marks = self.settings.kill.mark_units
        # A small victim is gone, and systemd has looked, within the next millisecond.
        whose, unmarked = self._marks.killed(dead, event.look.now_ms, mark=marks)
        companions = self._kill_companions(
            dead, sharers_at_hand(root, dead, event.snapshot.tasks, case)
        )
        companions += self._kill_companions(dead, group_members(root, dead, case), companions)
        companions += self._kill_companions(dead, sharers_anywhere(root, dead, case), companions)
        # Not before its sharers are dying too: until then it is EINVAL.
        if self._reaper is not None and self.settings.kill.process_mrelease:
            self._reaper.submit(dead.ident, victim.pidfd)
        thawed = self._thaw(dead, companions)
        if marks and companions:
            tasks = (one.task for one in companions)
            unmarked = self._marks.companions(tasks, event.look.now_ms) or unmarked
        lines = self._kernel_lines(event, decision, plan)
        lines += tuple(
            companion_lines(case.policy.name, decision.message, companions, self._page_size_bytes)
        )
        self._publish(lines)
        for word in (*thawed, unmarked):
            if word:
                self._say(word)
        record = decision_record(event, plan, companions, lines)
        record["victims"][0] |= whose._asdict()
        record["signal_after_ms"] = victim.killed_at_ns // 1_000_000 - event.crossed_ms
        return record

    def calm(self, now_ms: int) -> None:
        """Nobody is dying any more."""
        self._marks.take_back(now_ms)
        if self._reserve is not None:
            self._reserve.fill()

    def give_up_reserve(self) -> bool:
        """There are no other descriptors. False: nor are these."""
        return self._reserve is not None and self._reserve.give_up()

    def _kill_companions(
        self,
        victim: Task,
        companions: tuple[Companion, ...],
        killed: tuple[Companion, ...] = (),
    ) -> tuple[Companion, ...]:
        """Those of them that were killed, and had not been before."""
        known = {one.task.ident for one in killed}
        companions = tuple(one for one in companions if one.task.ident not in known)
        if self._restrict_to is not None:
            companions = tuple(c for c in companions if c.task.pid in self._restrict_to)
        ends = kill_companions(self._root, companions)
        dead = [end for end in ends if isinstance(end, Victim)]
        self._in_flight.join(victim.ident, dead)
        idents = {one.task.ident for one in dead}
        return tuple(one for one in companions if one.task.ident in idents)

    def _thaw(self, victim: Task, companions: Iterable[Companion]) -> tuple[str, ...]:
        if not self._v1_freezer:
            return ()
        dead = (victim, *(one.task for one in companions))
        return tuple(word for word in (thaw(self._root, task.pid) for task in dead) if word)

    # --- words

    def _kernel_lines(self, event: Event, decision: Kill, plan: KillPlan) -> tuple[str, ...]:
        current = event.case.oc.current
        process = None
        if current is not None:
            pid = current.pid
            process = next((one for one in event.snapshot.tasks if one.pid == pid), None)
        first = invoked_line(
            current if process is not None else None,
            process.comm if process is not None else "",
            process.oom_score_adj if process is not None else -1000,
            event.case.oc.gfp_mask,
        )
        score = oom_score(decision.points, decision.totalpages)
        profile = event.case.policy.name
        return (first, *kill_lines(profile, decision, plan, score, self._page_size_bytes))
