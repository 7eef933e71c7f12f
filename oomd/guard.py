"""The loop: sleep, look, decide, act. The same for the daemon and for ``--watch``.

It knows how to decide but not how to act: that is handed in, so that ``--watch`` runs this
very loop without the code that kills.
"""

import time

from oomd.clock import monotonic_ms
from oomd.current import Current
from oomd.decide import decide
from oomd.event import MANUAL, Act, Event, Look
from oomd.helpers import HELPER_KIB
from oomd.lean import deque
from oomd.mm.constraint import case_of
from oomd.mm.policy import Policy
from oomd.mm_types import Snapshot
from oomd.oom import Constraint, CurrentTask, Freed, Notified, NotifierChain, OomControl
from oomd.proc.memcg import read_memcg
from oomd.proc.meminfo import read_meminfo
from oomd.proc.root import ReadError, Root
from oomd.proc.snapshot import CannotDecide
from oomd.proc.sysctl import read_sysctls
from oomd.report.words import chain_words
from oomd.scan import Scan, is_settled
from oomd.settings import Settings
from oomd.trend import Trend
from oomd.typed import Callable
from oomd.watch import Watch

__all__ = ["Guard"]

# A machine whose meminfo cannot be read is looked at again after this.
BLIND_MS = 100
# Notifiers save everybody so often within so long; then somebody dies.
SAVED = 5
SAVED_MS = 30_000
# The last kill was of no use, and nobody takes any more: until somebody does, look this often.
REST_MS = 100
# A change of MemTotal by this share is worth a word: balloon drivers change it all the time.
TOTAL_SHARE = 64


class Guard:
    """One thread, which runs ``turn()`` until told to stop."""

    def __init__(
        self, root: Root, settings: Settings, policy: Policy, watch: Watch, act: Act
    ) -> None:
        self._root = root
        self._settings = settings
        self._policy = policy
        self._watch = watch
        self._act = act
        self._current = Current(root, settings, watch)
        self._scan = Scan(root, kept_descriptors=settings.watch.kept_descriptors)
        self._rules = None
        if settings.has_rules:
            # Imported here: most have none.
            from oomd.ahead import RulesAhead  # noqa: PLC0415

            self._rules = RulesAhead(root, settings, settings.watch.cgroup)
        self._manual = False
        self._trend = Trend()
        self._saved_ms: deque[int] = deque(maxlen=SAVED)
        self._held = False
        self._blind_for = ""
        self.longest_ms = settings.watch.max_sleep_s * 1000
        """No sleep is longer; a watchdog may want less."""
        self.dozes = True
        """In the calm, it may sleep on after a glance. False: something hangs on its turns."""
        self.in_the_calm: Callable[[Look], int] | None = None
        """Gets each look while it is calm; says for how long, in ms, it needs no other."""
        self.calm = False
        """No threshold was crossed at the last look, and nothing is under way."""
        self.crossed = False
        """A threshold was crossed at the last look."""
        self.blind = False
        """The last look could not be had."""
        self.roomy = True
        """A helper would neither cross a threshold nor be there when others do, as far as known."""
        self.errors: list[str] = []
        """What went wrong since the caller last looked: one line each."""
        self.notes: list[str] = []
        """What is worth knowing, likewise."""
        self.seen: Callable[[Look], None] | None = None
        """Called with every look, before anything is decided: never to wait, nor to fail."""
        self.saved = 0
        """How often memory came back while notifiers ran, without a decision; as above."""
        self._total_kib = 0
        self.fds: tuple[int, ...] = ()
        """The caller's: they end the sleep, too, and ``turn()`` returns those that are readable."""

    def ask(self) -> None:
        """Decide at the next turn, whatever the thresholds say (as sysrq-f does)."""
        self._manual = True

    # --- deciding

    def _control(self, current: CurrentTask | None, manual: bool) -> OomControl:
        control = self._act.control()._replace(manual=manual)
        if self._settings.watch.cgroup:
            control = control._replace(constraint=Constraint.MEMCG)
        if self._rules is not None:
            control = control._replace(rules=self._rules.book)
        return control._replace(current=current)

    def _say_scan(self) -> None:
        if self._scan.note:
            self.notes.append(self._scan.note)
            self._scan.note = ""

    def decide(
        self, trigger: str, look: Look, freed: NotifierChain, *, whole: bool = False
    ) -> Event:
        """Read the machine and decide. Raises ``CannotDecide`` or ``ReadError``.

        The scan streams: only the tasks that can matter are held. ``whole``: everybody is read in
        full, whether or not it could make a difference.
        """
        cgroup = self._settings.watch.cgroup
        sysctls = read_sysctls(self._watch.kept)
        seeks = trigger != MANUAL and self._current.dies(sysctls.oom_kill_allocating_task)
        current = self._current.seek(look) if seeks else self._current.seen()
        control = self._control(current, trigger == MANUAL)
        page_size_bytes = self._root.page_size_bytes()
        memcg = read_memcg(self._root, cgroup, page_size_bytes) if cgroup else None
        # As it was at the look, so that every task is held against one total; of a cgroup, the
        # machine's, whose swap it shares.
        meminfo = look.meminfo if memcg is None else read_meminfo(self._root)
        memory = Snapshot((), meminfo, page_size_bytes, memcg=memcg)
        case = case_of(control, memory, self._policy)
        root, policy, top = self._root, self._policy, self._settings.log.top
        take = self._scan.take_whole if whole else self._scan.take
        snapshot = take(case, meminfo, top, memcg=memcg)
        decision, control = decide(root, control, snapshot, sysctls, policy, freed=freed)
        if not is_settled(decision, snapshot, control):
            # The worst was passed over, and the next may be among those not read in full.
            snapshot = self._scan.take_whole(case, meminfo, top, memcg=memcg)
            decision, control = decide(root, control, snapshot, sysctls, policy, freed=freed)
        self._say_scan()
        case = case_of(control, memory, self._policy)
        return Event(trigger, look, snapshot, sysctls, case, decision, freed, look.now_ms)

    def rehearse(self) -> Event:
        """Decide once for nothing: what the real thing will need is then in memory."""
        self._current.rehearse()
        look = self._watch.look(monotonic_ms())
        # Both ways of reading everybody; the second is the usual one.
        self.decide(MANUAL, look, NotifierChain(), whole=True)
        event = self.decide(MANUAL, look, NotifierChain())
        self._scan.forget()
        return event

    def _ask_notifiers(self, trigger: str, look: Look) -> NotifierChain:
        if self._settings.watch.cgroup:
            return NotifierChain()
        saved_ms = self._saved_ms
        full = len(saved_ms) == SAVED
        if full and trigger != MANUAL and look.now_ms - saved_ms[0] < SAVED_MS:
            # Unlike the kernel: one that frees memory and takes it again would keep it at the
            # edge for ever.
            why = (
                f"not asked: what they freed {SAVED} times within {SAVED_MS // 1000} s did not last"
            )
            return NotifierChain((Notified("chain", 0, 0, why),), True)
        return self._act.notify(trigger, look)

    def _storm(self, trigger: str, look: Look) -> None:
        crossed_ms = look.now_ms
        freed = self._ask_notifiers(trigger, look)
        if freed.called:
            # They took their time, and have changed what was seen.
            look = self._watch.look(monotonic_ms())
        if freed.freed_pages > 0 and trigger != MANUAL:
            # Trust, but measure: memory has to have come back.
            freed = freed._replace(came_back=not self._watch.still(trigger))
        event = self.decide(trigger, look, freed)._replace(crossed_ms=crossed_ms)
        # The scan took its time: is it still true that somebody has to die? Where notifiers have
        # seen to it that it is not, that is told.
        freed_enough = isinstance(event.decision, Freed)
        if trigger != MANUAL and not freed_enough and not self._watch.still(trigger):
            if any(one.mem_free_change_kib is not None for one in freed.results):
                self._saved_ms.append(crossed_ms)
                # Late, or freed by others: nobody claims it, and it is as good.
                words = chain_words(freed, event.snapshot.page_size_bytes)
                self.saved += 1
                self.notes.append(f"nobody dies: memory came back while notifiers ran: {words}")
            return
        if freed_enough:
            self._saved_ms.append(crossed_ms)
        else:
            self._saved_ms.clear()
        self._act.decided(event)
        self._watch.acted()

    # --- the loop

    def turn(self) -> tuple[int, ...]:
        """One round: look, see to what is under way, decide if it is time, sleep.

        Returns the registered descriptors that are readable.
        """
        try:
            look = self._watch.look(monotonic_ms())
        except ReadError as error:
            return self._blind(str(error))
        self._see_total(look)
        glanced, self._watch.glanced = self._watch.glanced, None
        for one in (glanced, look):
            if self.seen is not None and one is not None:
                self.seen(one)
        self._act.settle(look.meminfo)
        try:
            timeout_ms = self._attend(look)
        except (ReadError, CannotDecide) as error:
            return self._blind(str(error))
        self._watch.follow((*self._act.pidfds(), *self.fds))
        self._blind_for, self.blind = "", False
        if self.notes:
            # They are the caller's to say, and nobody should sleep over them.
            timeout_ms = 0
        elif self.calm and self.dozes and self._rules is None and self.in_the_calm is None:
            return self._watch.doze(look, min(timeout_ms, self.longest_ms), self.longest_ms)
        return self._watch.wait(min(timeout_ms, self.longest_ms))

    def _see_total(self, look: Look) -> None:
        """Memory was plugged in or taken away: every threshold that is a share of it has moved."""
        total_kib, before_kib = look.meminfo.mem_total_kib, self._total_kib
        if abs(total_kib - before_kib) < total_kib // TOTAL_SHARE:
            return
        self._total_kib = total_kib
        if before_kib:
            self.notes.append(
                f"memory is now {total_kib >> 10} MiB, it was {before_kib >> 10} MiB: acts when "
                f"MemAvailable falls to {look.limit_kib >> 10} MiB"
            )

    def _blind(self, why: str) -> tuple[int, ...]:
        again = why == self._blind_for
        if not again:
            self._blind_for = why
            self.errors.append(f"cannot decide: {why}")
        self.calm, self.blind, self.roomy = False, True, True
        self._act.settle(None)
        self._watch.follow((*self._act.pidfds(), *self.fds))
        if again:
            # Not poll(): a descriptor that stays readable would keep a processor busy.
            time.sleep(BLIND_MS / 1000)
        return self._watch.wait(0)

    def _attend(self, look: Look) -> int:
        hold_ms = self._act.hold_ms(look.now_ms)
        crossed = look.crossed
        self.crossed = crossed is not None
        if self._held and hold_ms is None:
            # What made the last victim die says nothing about now.
            self._watch.acted()
            crossed = None if crossed == "stall" else crossed
        self._held = hold_ms is not None
        self.calm = look.crossed is None and hold_ms is None
        # What a cgroup has left is not what a helper takes from.
        ahead_kib = self._trend.ahead_kib(look.now_ms, look.headroom_kib)
        self.roomy = ahead_kib >= HELPER_KIB or bool(self._settings.watch.cgroup)
        self._current.see(look)
        manual, self._manual = self._manual, False
        if manual:
            self._storm(MANUAL, look)
        elif self.calm:
            self._act.calm(look)
            if self._rules is not None and (note := self._rules.calm(look.now_ms)):
                self.notes.append(note)
        elif crossed is not None and hold_ms is None:
            if self._act.rests(look):
                return REST_MS
            self._storm(crossed, look)
        hold_ms = self._act.hold_ms(monotonic_ms())
        self._held = self._held or hold_ms is not None
        if hold_ms is not None:
            return max(hold_ms, 1)
        timeout_ms = self._watch.sleep_ms(look)
        if self.calm and self.in_the_calm is not None:
            return min(timeout_ms, self.in_the_calm(look))
        return timeout_ms

    def close(self) -> None:
        """Let go of what is held."""
        self._current.close()
        self._scan.close()
        self._watch.close()
