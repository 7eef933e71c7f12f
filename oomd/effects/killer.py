"""One kill, from the plan to the last companion. Kill first, tell after."""

from collections.abc import Callable, Iterable

from oomd.effects.companions import Suspects, known_sharers, other_companions, still_holding
from oomd.effects.oom_kill_process import Missed, Victim, kill, kill_companions, open_victim
from oomd.effects.oom_reaper import OomReaper
from oomd.effects.thaw import thaw
from oomd.effects.victims import VictimsInFlight
from oomd.event import Event
from oomd.mm.oom_badness import Case, oom_score
from oomd.mm.oom_kill_process import plan_kill
from oomd.mm_types import Task
from oomd.oom import Companion, Kill, KillPlan, Relatives
from oomd.proc.relatives import presumed_same_mm, read_children
from oomd.proc.root import WritableRoot
from oomd.report.kernel_log import companion_lines, invoked_line, kill_lines, printable
from oomd.report.record import Record, decision_record
from oomd.settings import Settings

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
        *,
        reaper: OomReaper | None,
        restrict_to: frozenset[int] | None,
    ) -> None:
        """``publish`` takes the kernel's lines. ``restrict_to``: nobody else may be killed."""
        self._root = root
        self._page_size_bytes = root.page_size_bytes()
        self._in_flight = in_flight
        self._publish = publish
        self._reaper = reaper
        self._restrict_to = restrict_to
        self._v1_freezer = root.exists("sys/fs/cgroup/freezer")
        self._suspects: Suspects | None = None
        self._kill_of_suspects: tuple[Case, str] | None = None
        self.settings = settings

    # --- before the signal

    def _relatives(self, chosen: Task, case: Case) -> Relatives:
        # Unlike the kernel: whether a child has its parent's mm is presumed from equal sizes,
        # since kcmp(2) can block. A child wrongly passed over costs its parent's life, which
        # is what mainline would have taken anyway.
        if not case.policy.child_sacrifice:
            return Relatives()
        children = read_children(self._root, chosen, self._page_size_bytes)
        # The parent may have gone meanwhile, and its pid be another process's.
        children = tuple(child for child in children if child.ppid == chosen.pid)
        return Relatives(children, presumed_same_mm(chosen, children), "equal sizes")

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
        case = event.case
        known, suspects = known_sharers(self._root, plan.victim, event.snapshot.tasks, case)
        companions = self._kill_companions(plan.victim, known)
        if self._reaper is not None and self.settings.kill.process_mrelease:
            self._reaper.submit(plan.victim.ident, victim.pidfd)
        lines = self._kernel_lines(event, decision, plan)
        self._publish(lines)
        others, more = other_companions(self._root, plan.victim, known, case)
        companions += self._kill_companions(plan.victim, others)
        self._suspects = Suspects(plan.victim, suspects.tasks + more.tasks)
        self._kill_of_suspects = case, decision.message
        thawed = self._thaw(plan.victim, companions)
        more_lines = self._companion_lines(case, decision.message, companions)
        self._publish(more_lines + thawed)
        record = decision_record(event, plan, companions, lines + more_lines)
        record["signal_after_ms"] = victim.killed_at_ns // 1_000_000 - event.look.now_ms
        return record

    def _kill_companions(
        self, victim: Task, companions: tuple[Companion, ...]
    ) -> tuple[Companion, ...]:
        """Those of them that were killed."""
        if self._restrict_to is not None:
            companions = tuple(c for c in companions if c.task.pid in self._restrict_to)
        ends = kill_companions(self._root, companions)
        dead = [end for end in ends if isinstance(end, Victim)]
        self._in_flight.join(victim.ident, dead)
        idents = {one.task.ident for one in dead}
        return tuple(one for one in companions if one.task.ident in idents)

    def kill_suspects(self) -> None:
        """The victim has gone without its memory: whoever still holds as much has the same mm."""
        suspects, of = self._suspects, self._kill_of_suspects
        if suspects is None or of is None or not suspects.tasks:
            return
        if suspects.victim.ident not in self._in_flight.not_back():
            return
        self._suspects = None
        case, message = of
        killed = self._kill_companions(suspects.victim, still_holding(self._root, suspects, case))
        self._publish(self._companion_lines(case, message, killed))

    def _thaw(self, victim: Task, companions: Iterable[Companion]) -> tuple[str, ...]:
        if not self._v1_freezer:
            return ()
        dead = (victim, *(one.task for one in companions))
        return tuple(word for word in (thaw(self._root, task.pid) for task in dead) if word)

    # --- words

    def _companion_lines(
        self, case: Case, message: str, companions: Iterable[Companion]
    ) -> tuple[str, ...]:
        lines = companion_lines(case.policy.name, message, companions, self._page_size_bytes)
        return tuple(lines)

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
        )
        score = oom_score(decision.points, decision.totalpages)
        profile = event.case.policy.name
        return (first, *kill_lines(profile, decision, plan, score, self._page_size_bytes))
