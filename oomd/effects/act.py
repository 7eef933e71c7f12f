"""Does what was decided: the daemon's answer to each kind of ``Decision``."""

import os
import time

from oomd.clock import monotonic_ms
from oomd.effects.futile import FutileGuard, holder_words
from oomd.effects.killer import Killer, label
from oomd.effects.kmsg import KERN_WARNING, KmsgWriter
from oomd.effects.oom_kill_process import Missed, Victim
from oomd.effects.oom_reaper import OomReaper
from oomd.effects.panic import panic
from oomd.effects.reserve import Reserve
from oomd.effects.syscalls import pidfd_open
from oomd.effects.victims import PASSED_OVER, Settled, VictimsInFlight
from oomd.event import MANUAL, Event, Look
from oomd.mm.select_bad_process import dying
from oomd.mm_types import MemInfo, TaskId
from oomd.oom import (
    Freed,
    Kill,
    KillPlan,
    LetItExit,
    NoneKillable,
    Notified,
    NotifierChain,
    OomControl,
    Panic,
    Wait,
)
from oomd.proc.relatives import twin_lives
from oomd.proc.root import WritableRoot
from oomd.report.kernel_log import printable
from oomd.report.record import Record, decision_record, settled_record
from oomd.report.trace import verdict_of
from oomd.report.words import freed_words
from oomd.settings import Settings
from oomd.typed import Callable, Iterable

__all__ = ["Executor"]

# While a victim dies: how often to look whether its memory is back before it has gone.
SETTLE_MS = 50
# A panic that was left to the kernel, or a memcg with nobody to kill: processes come and go.
NOTHING_TO_DO_MS = 1000
# Notifiers gave memory back: it is left alone for as long as it takes to be used.
FREED_MS = 100
# In a pause: looked at again after this, and told of no more often than that.
PAUSED_MS = 5000
PAUSED_TOLD_MS = 60_000
# A process that cannot be killed is tried again after this.
REFUSED_MS = 60_000


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
        chain: Callable[[str, Look], NotifierChain] = lambda trigger, look: NotifierChain(),
        spared: frozenset[TaskId] = frozenset(),
        restrict_to: frozenset[int] | None = None,
        say_event: Callable[[str, str], None] | None = None,
        reserve: Reserve | None = None,
    ) -> None:
        """``say`` takes a line for the log at once, ``tell`` a record for when the storm is over.

        ``say_event`` takes a line too, and before it what has happened, a key of MESSAGE_IDS.
        ``restrict_to``: these pids and no others may be killed, as a test demands.
        """
        self._root = root
        self._tell = tell
        self._say_now = say
        self._say_event = say_event or (lambda event, text: say(text))
        self._reaper = reaper
        self._chain = chain
        self._spared = spared
        self._kmsg = KmsgWriter(root)
        self.in_flight = VictimsInFlight(root, settings.kill.victim_timeout_ms)
        self._futile = FutileGuard(
            settings.kill.futile_kills, hold_off_ms=settings.kill.futile_hold_off_s * 1000
        )
        self._killer = Killer(
            root,
            settings,
            self.in_flight,
            self._publish,
            say,
            reaper=reaper,
            restrict_to=restrict_to,
            reserve=reserve,
        )
        self._settings = settings
        self._hold_until_ms = 0
        self._patience_until_ms = 0
        self._refused: dict[TaskId, int] = {}
        self._last_said = ""
        self._paused_told_ms = self._paused_until_ms = 0
        self.paused = False
        """Decide and record, but kill nobody, panic nobody and ask no notifiers, except by hand."""
        self.futile_kills = 0
        """Kills that gave nothing back, since the start."""

    def configure(self, settings: Settings) -> None:
        """Take new settings; they hold for victims in flight too."""
        self._settings = settings
        self._futile.limit = settings.kill.futile_kills
        self._futile.hold_off_ms = settings.kill.futile_hold_off_s * 1000
        self.in_flight.configure(settings.kill.victim_timeout_ms)
        self._killer.settings = settings

    # --- what the loop asks

    def control(self) -> OomControl:
        """Who is dying, who is passed over, who is spared."""
        now_ms = monotonic_ms()
        self._refused = {one: until for one, until in self._refused.items() if now_ms < until}
        return OomControl(
            victims=self.in_flight.victims,
            passed_over=self.in_flight.passed_over | frozenset(self._refused),
            spared=self._spared,
            waits_for_others=not self._patience_until_ms or now_ms < self._patience_until_ms,
        )

    def notify(self, trigger: str, look: Look) -> NotifierChain:
        """Step 1: ask the notifiers for memory. Raises nothing: a defect there costs step 1."""
        if self.paused and trigger != MANUAL:
            return NotifierChain((Notified("chain", 0, 0, "not asked: oomd is paused"),), True)
        try:
            return self._chain(trigger, look)
        except Exception as error:
            return NotifierChain((Notified("worker", 0, 0, f"internal error: {error!r}"),), True)

    def settle(self, memory: MemInfo | None) -> None:
        """Look after those in flight. ``memory`` as just read; None: it could not be."""
        if memory is None:  # perhaps for want of a descriptor
            self._killer.give_up_reserve()
        if self._reaper is not None:
            for reaped in self._reaper.results():
                if reaped.error == 0:
                    self.in_flight.reaped(reaped.ident)
        if self.in_flight.idle:
            return
        now_ns = time.monotonic_ns()
        for settled in self.in_flight.sweep(now_ns, memory):
            self._settled(settled, memory, now_ns)

    def hold_ms(self, now_ms: int) -> int | None:
        """How long to leave the machine alone, in ms; None: not at all."""
        if self.in_flight.busy:
            return SETTLE_MS
        hold_ms = max(self._hold_until_ms, self._paused_until_ms) - now_ms
        return hold_ms if hold_ms > 0 else None

    def rests(self, look: Look) -> bool:
        """The last kill gave nothing back, nobody takes any more, and nobody is stalled."""
        if any(one.crossed and one.name == "stall" for one in look.thresholds):
            return False
        return self._futile.rests(look.meminfo.mem_available_kib, look.limit_kib)

    def pidfds(self) -> Iterable[int]:
        """Whose end is waited for."""
        return self.in_flight.pidfds()

    def calm(self, look: Look) -> None:
        """The storm is over: the next one is told, and waited in, from the start."""
        self._last_said = ""
        self._patience_until_ms = 0
        self._futile.forget(plenty=look.meminfo.mem_available_kib >= 2 * look.limit_kib)
        self._killer.calm(look.now_ms)

    def rehearse(self, event: Event) -> None:
        """Go through a kill without killing: what it needs is then in memory."""
        if isinstance(event.decision, Kill):
            plan, lines = self._killer.rehearse(event, event.decision)
            decision_record(event, plan, (), lines)

    def decided(self, event: Event) -> None:
        """Do it."""
        if self.paused and event.trigger != MANUAL:
            self._do_nothing(event)
            return
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
                self._say(event, freed_words(event.freed, event.snapshot.page_size_bytes))

    def pause(self, paused: bool) -> None:
        """Begin a pause, or end it: nothing is held back for it any more."""
        self.paused = paused
        self._paused_until_ms = self._paused_told_ms = 0
        self._last_said = ""

    def _do_nothing(self, event: Event) -> None:
        """Somebody has asked for a pause: say what would have been done."""
        now_ms, decision = event.look.now_ms, event.decision
        self._paused_until_ms = now_ms + PAUSED_MS
        if now_ms < self._paused_told_ms:
            return
        self._paused_told_ms = now_ms + PAUSED_TOLD_MS
        plan = None
        words = f"would have come to: {verdict_of(decision)}"
        if isinstance(decision, Kill):
            plan = self._killer.plan(event, decision)
            words = f"would have killed {label(plan.victim)}"
        elif isinstance(decision, Panic):
            words = f"would have panicked: {decision.message}"
        self._say(event, f"paused, nothing is done; {words}", plan, verdict="paused")

    # --- killing

    def _kill(self, event: Event, decision: Kill) -> None:
        plan = self._killer.plan(event, decision)
        if plan.already_dying:
            self._wait_for_the_dying(event, plan.chosen.ident)
            self._say(
                event, f"{label(plan.chosen)} is dying already, nobody is killed", plan, "wait"
            )
            return
        end = self._killer.kill(event, decision, plan)
        if isinstance(end, Missed):
            self._missed(event, end, plan)
            return
        self._tell(end)
        self._last_said = ""

    def _missed(self, event: Event, missed: Missed, plan: KillPlan) -> None:
        # It went, or changed, between the choice and the signal: the next turn decides anew.
        # Unless it is still there and cannot be killed: then somebody else has to be found.
        if missed.refused:
            self._refused[missed.task.ident] = event.look.now_ms + REFUSED_MS
        self._hold(event, SETTLE_MS)
        text = f"not killed: {label(missed.task)}: {missed.reason}"
        self._say(event, text, plan, verdict="missed")

    def _publish(self, lines: tuple[str, ...]) -> None:
        """The kernel's words, in its own log and in ours."""
        if self._settings.log.kmsg:
            self._kmsg.write(lines)
        for line in lines:
            self._say_now(line)

    # --- waiting, panicking, doing nothing

    def _wait_for_the_dying(self, event: Event, also: TaskId | None = None) -> None:
        """Hold everybody who is dying already; each has the time that a victim has."""
        if not self._patience_until_ms:
            timeout_ms = self._settings.kill.victim_timeout_ms
            self._patience_until_ms = event.look.now_ms + timeout_ms
        known = self.in_flight.victims
        for task in event.snapshot.tasks:
            if task.ident in known or task.pid == os.getpid():
                continue
            if task.ident == also or dying(task, event.case):
                waited_for = Victim(task, max(pidfd_open(task.pid), -1), "dying")
                self.in_flight.add(waited_for, time.monotonic_ns(), event.look.meminfo)

    def _panic(self, event: Event, decision: Panic) -> None:
        configured = self._settings.panic
        action = configured.panic_on_oom if decision.step == 3 else configured.none_killable
        self._hold(event, NOTHING_TO_DO_MS)
        if action == "defer" and self._last_said.startswith(decision.message):
            return
        if decision.warning:
            self._kmsg.write((decision.warning,), KERN_WARNING)
        done = panic(self._root, decision.message, action)
        self._say(event, f"{decision.message}: {done}")

    def _hold(self, event: Event, hold_ms: int) -> None:
        # A pause that is longer already stays.
        self._hold_until_ms = max(self._hold_until_ms, event.look.now_ms + hold_ms)

    def _settled(self, settled: Settled, memory: MemInfo | None, now_ns: int) -> None:
        self._tell(
            settled_record(
                f"{label(settled.task)} {settled.end} after {settled.took_ms} ms, "
                f"{settled.freed_kib} KiB came back of {settled.held_kib} KiB",
                {
                    "victim_pid": settled.task.pid,
                    "end": settled.end,
                    "took_ms": settled.took_ms,
                    "freed_kib": settled.freed_kib,
                    "held_kib": settled.held_kib,
                },
                settled.task.ident,
            )
        )
        if not settled.killed or memory is None:
            return
        futile = self._futile.kill_settled(
            freed_kib=settled.freed_kib,
            held_kib=settled.held_kib,
            shortfall_kib=settled.shortfall_kib,
            now_ns=now_ns,
            available_kib=memory.mem_available_kib,
        )
        self.futile_kills += futile
        # It could not die, or its mm lives on: what it held may be had from the next one.
        lives_on = settled.end == PASSED_OVER or (futile and twin_lives(self._root, settled.task))
        if lives_on:
            self._futile.rest_no_more()
        if futile and self._futile.holding(now_ns):
            self._hold_until_ms = now_ns // 1_000_000 + self._futile.hold_off_ms
            self._say_event(
                "held_off",
                f"{self._futile.in_a_row} kills in a row gave nothing back: leaving it to the "
                f"kernel for {self._futile.hold_off_ms // 1000} s. {holder_words(memory)}",
            )
        elif futile and not lives_on:
            self._say_now(
                f"killing {label(settled.task)} gave nothing back: nobody else is killed while "
                f"memory falls no further. {holder_words(memory)}"
            )

    def _say(
        self, event: Event, text: str, plan: KillPlan | None = None, verdict: str = ""
    ) -> None:
        # Every turn of a storm may come to the same end: it is told once.
        if text != self._last_said:
            self._last_said = text
            self._say_now(text)
            record = decision_record(event, plan, (), ())
            record["done"] = text
            if verdict:
                # Decided to kill, and came to this: nobody has died.
                record |= {"verdict": verdict, "victims": []}
            self._tell(record)


def _name(decision: Wait | LetItExit) -> str:
    return f"{decision.task.pid} ({printable(decision.comm)})"
