"""Does what was decided: the daemon's answer to each kind of ``Decision``.

Kill first, tell after: what is to be told is handed to ``tell`` as plain records, once the
signals are sent.
"""

import os
import time
from collections.abc import Callable

from oomd.effects.futile import FutileGuard, memory_holders
from oomd.effects.kmsg import KERN_WARNING, KmsgWriter
from oomd.effects.oom_kill_process import Missed, Victim, kill, kill_companions, open_victim
from oomd.effects.oom_reaper import OomReaper
from oomd.effects.panic import panic
from oomd.effects.syscalls import pidfd_open
from oomd.effects.thaw import thaw
from oomd.effects.victims import Settled, VictimsInFlight
from oomd.event import Event, Look
from oomd.mm.oom_badness import Case, oom_score
from oomd.mm.oom_kill_process import oom_group_to_kill, plan_kill, sharers_to_kill
from oomd.mm.select_bad_process import dying
from oomd.mm_types import Task, TaskId
from oomd.oom import (
    Companion,
    Freed,
    Kill,
    KillPlan,
    LetItExit,
    NoneKillable,
    NotifierChain,
    OomControl,
    Panic,
    Relatives,
    Wait,
)
from oomd.proc.memcg import read_oom_group
from oomd.proc.relatives import find_mm_sharers, presumed_same_mm, read_children
from oomd.proc.root import WritableRoot
from oomd.proc.task import read_task
from oomd.report.kernel_log import companion_lines, invoked_line, kill_lines, printable
from oomd.report.record import Record, decision_record, settled_record
from oomd.settings import Settings

__all__ = ["Executor"]

# While a victim dies: how often to look whether its memory is back before it has gone.
SETTLE_MS = 50
# A panic that was left to the kernel, or a memcg with nobody to kill: processes come and go.
NOTHING_TO_DO_MS = 1000
# Notifiers gave memory back: it is left alone for as long as it takes to be used.
FREED_MS = 100


def _no_notifiers(trigger: str, look: Look) -> NotifierChain:
    return NotifierChain()


class Executor:
    """``Act`` for the real thing. Owns the victims from the kill until they are gone."""

    def __init__(
        self,
        root: WritableRoot,
        settings: Settings,
        tell: Callable[[Record], None],
        say: Callable[[str], None],
        *,
        reaper: OomReaper | None = None,
        chain: Callable[[str, Look], NotifierChain] = _no_notifiers,
        spared: frozenset[TaskId] = frozenset(),
        restrict_to: frozenset[int] | None = None,
    ) -> None:
        """``say`` takes a line for the log at once, ``tell`` a record for when the storm is over.

        ``restrict_to``: these pids and no others may be killed, as a test demands.
        """
        self._root = root
        self._page_size_bytes = root.page_size_bytes()
        self._tell = tell
        self._say_now = say
        self._reaper = reaper
        self._chain = chain
        self._spared = spared
        self._restrict_to = restrict_to
        self._kmsg = KmsgWriter(root)
        self.in_flight = VictimsInFlight(root, settings.kill.victim_timeout_ms)
        self._futile = FutileGuard(
            settings.kill.futile_kills, hold_off_ms=settings.kill.futile_hold_off_s * 1000
        )
        self._settings = settings
        self._hold_until_ms = 0
        self._last_said = ""

    def configure(self, settings: Settings) -> None:
        """Take new settings; they hold for victims in flight too."""
        self._settings = settings
        self._futile.limit = settings.kill.futile_kills
        self._futile.hold_off_ms = settings.kill.futile_hold_off_s * 1000
        self.in_flight.configure(settings.kill.victim_timeout_ms)

    # --- what the loop asks

    def control(self) -> OomControl:
        """Who is dying, who is passed over, who is spared."""
        return OomControl(
            victims=self.in_flight.victims,
            passed_over=self.in_flight.passed_over,
            spared=self._spared,
        )

    def notify(self, trigger: str, look: Look) -> NotifierChain:
        """Step 1: ask the notifiers for memory."""
        return self._chain(trigger, look)

    def settle(self, look: Look) -> int | None:
        """Look after those in flight; how long to leave the machine alone, in ms, or None."""
        if self._reaper is not None:
            for reaped in self._reaper.results():
                if reaped.error == 0:
                    self.in_flight.reaped(reaped.ident)
        now_ns = time.monotonic_ns()
        for settled in self.in_flight.sweep(now_ns, look.free_kib):
            self._settled(settled, look, now_ns)
        if self.in_flight.victims:
            return SETTLE_MS
        hold_ms = self._hold_until_ms - look.now_ms
        return hold_ms if hold_ms > 0 else None

    def calm(self, look: Look) -> None:
        """The storm is over: the next one is told from the start."""
        self._last_said = ""

    def decided(self, event: Event) -> None:
        """Do it."""
        match event.decision:
            case Kill() as decision:
                self._kill(event, decision)
            case Wait() as decision:
                self._wait_for_the_dying(event)
                self._say(event, f"waiting for {_name(decision)}: {decision.reason}")
            case LetItExit() as decision:
                self._wait_for_the_dying(event, decision.task)
                self._say(event, f"letting {_name(decision)} exit, it allocates and is dying")
            case Panic() as decision:
                self._panic(event, decision)
            case NoneKillable() as decision:
                self._hold(event, NOTHING_TO_DO_MS)
                self._say(event, decision.message)
            case Freed() as decision:
                self._hold(event, FREED_MS)
                self._say(event, f"notifiers freed {decision.freed_pages} pages, nobody dies")

    # --- killing

    def _relatives(self, chosen: Task, event: Event) -> Relatives:
        # Unlike the kernel: whether a child has its parent's mm is presumed from equal sizes,
        # since kcmp(2) can block. A child wrongly passed over costs its parent's life, which
        # is what mainline would have taken anyway.
        if not event.case.policy.child_sacrifice:
            return Relatives()
        children = read_children(self._root, chosen, self._page_size_bytes)
        return Relatives(children, presumed_same_mm(chosen, children), "equal sizes")

    def _kill(self, event: Event, decision: Kill) -> None:
        plan = plan_kill(decision, self._relatives(decision.chosen, event), event.case)
        if plan.already_dying:
            self._wait_for_the_dying(event, plan.chosen.ident)
            self._say(event, f"{_label(plan.chosen)} is dying already, nobody is killed", plan)
            return
        if self._restrict_to is not None and plan.victim.pid not in self._restrict_to:
            self._missed(event, Missed(plan.victim, "not among those that may be killed"), plan)
            return
        end = open_victim(self._root, plan.victim)
        if isinstance(end, Victim):
            end = kill(self._root, end)
        if isinstance(end, Missed):
            self._missed(event, end, plan)
            return
        self._killed(event, decision, plan, end)

    def _missed(self, event: Event, missed: Missed, plan: KillPlan) -> None:
        # It went, or changed, between the choice and the signal: the next turn decides anew.
        self._say(event, f"not killed: {_label(missed.task)}: {missed.reason}", plan)

    def _killed(self, event: Event, decision: Kill, plan: KillPlan, victim: Victim) -> None:
        """The first signal is sent: now whatever may take a moment."""
        companions = self._companions(plan.victim, event.case)
        if self._restrict_to is not None:
            companions = tuple(c for c in companions if c.task.pid in self._restrict_to)
        ends = kill_companions(self._root, companions)
        dead = [victim, *(end for end in ends if isinstance(end, Victim))]
        words = [thaw(self._root, one.task.pid) for one in dead]
        if self._reaper is not None and self._settings.kill.process_mrelease:
            self._reaper.submit(plan.victim.ident, victim.pidfd)
        free_kib = event.look.free_kib
        self.in_flight.add(dead, victim.killed_at_ns, free_kib)
        lines = self._kernel_lines(event, decision, plan)
        gone = {one.task.ident for one in dead}
        companions_gone = (one for one in companions if one.task.ident in gone)
        profile = event.case.policy.name
        lines += tuple(
            companion_lines(profile, decision.message, companions_gone, self._page_size_bytes)
        )
        if self._settings.log.kmsg:
            self._kmsg.write(lines)
        record = decision_record(event, plan, companions, lines)
        record["signal_after_ms"] = victim.killed_at_ns // 1_000_000 - event.look.now_ms
        record["notes"] = [word for word in words if word]
        self._tell(record)
        self._last_said = ""

    def _companions(self, victim: Task, case: Case) -> tuple[Companion, ...]:
        """Who dies with the victim: its mm sharers, on mainline its ``memory.oom.group`` too."""
        root, page_size_bytes = self._root, self._page_size_bytes
        # The group first: once the victim is reaped, nothing says which cgroup it was in.
        members = []
        if case.policy.oom_group:
            domain = case.memcg.path if case.memcg is not None else ""
            for pid in read_oom_group(root, victim.pid, domain):
                task = read_task(root, pid, page_size_bytes)
                if task is not None:
                    members.append(task)
        sharers = find_mm_sharers(root, victim, page_size_bytes)
        companions = sharers_to_kill(victim, sharers, case)
        known = {one.task.ident for one in companions}
        group = oom_group_to_kill(victim, members, case)
        return companions + tuple(one for one in group if one.task.ident not in known)

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

    # --- waiting, panicking, doing nothing

    def _wait_for_the_dying(self, event: Event, also: TaskId | None = None) -> None:
        """Hold everybody who is dying already; each has the time that a victim has."""
        known = self.in_flight.victims
        for task in event.snapshot.tasks:
            if task.ident in known or task.pid == os.getpid():
                continue
            if task.ident == also or dying(task, event.case):
                waited_for = Victim(task, max(pidfd_open(task.pid), -1), "dying")
                self.in_flight.add((waited_for,), time.monotonic_ns(), event.look.free_kib)

    def _panic(self, event: Event, decision: Panic) -> None:
        configured = self._settings.panic
        action = configured.panic_on_oom if decision.step == 3 else configured.none_killable
        self._hold(event, NOTHING_TO_DO_MS)
        if action == "defer" and self._last_said == decision.message:
            return
        if decision.warning:
            self._kmsg.write((decision.warning,), KERN_WARNING)
        done = panic(self._root, decision.message, action)
        self._say(event, decision.message)
        self._say_now(done)

    def _hold(self, event: Event, hold_ms: int) -> None:
        self._hold_until_ms = event.look.now_ms + hold_ms

    def _settled(self, settled: Settled, look: Look, now_ns: int) -> None:
        self._tell(
            settled_record(
                f"{_label(settled.task)} {settled.end} after {settled.took_ms} ms, "
                f"{settled.freed_kib} KiB came back of {settled.held_kib} KiB",
                {
                    "victim_pid": settled.task.pid,
                    "end": settled.end,
                    "took_ms": settled.took_ms,
                    "freed_kib": settled.freed_kib,
                    "held_kib": settled.held_kib,
                },
            )
        )
        if not settled.killed:
            return
        futile = self._futile.kill_settled(
            freed_kib=settled.freed_kib,
            held_kib=settled.held_kib,
            shortfall_kib=look.shortfall_kib,
            now_ns=now_ns,
        )
        if futile and self._futile.holding(now_ns):
            self._hold_until_ms = look.now_ms + self._futile.hold_off_ms
            holders = ", ".join(f"{one.what} {one.mib} MiB" for one in memory_holders(look.meminfo))
            self._say_now(
                f"{self._futile.in_a_row} kills in a row gave nothing back: leaving it to the "
                f"kernel for {self._futile.hold_off_ms // 1000} s. What holds the memory: "
                f"{holders or 'nothing that meminfo names'}"
            )

    def _say(self, event: Event, text: str, plan: KillPlan | None = None) -> None:
        # Every turn of a storm may come to the same end: it is told once.
        if text != self._last_said:
            self._last_said = text
            self._say_now(text)
            self._tell(decision_record(event, plan, (), ()))


def _label(task: Task) -> str:
    return f"{task.pid} ({printable(task.comm)})"


def _name(decision: Wait | LetItExit) -> str:
    return f"{decision.task.pid} ({printable(decision.comm)})"
