"""The loop: sleep, look, decide, act. The same for the daemon and for ``--watch``.

It knows how to decide but not how to act: that is handed in, so that ``--watch`` runs this
very loop without the code that kills.
"""

import time
from collections import deque
from collections.abc import Iterable
from typing import Protocol

from oomd.decide import decide
from oomd.event import MANUAL, Event, Look
from oomd.mm.candidates import Candidates
from oomd.mm.constraint import case_of
from oomd.mm.policy import Policy
from oomd.mm_types import MemInfo, Snapshot, Sysctls, Task
from oomd.oom import Constraint, CurrentTask, Freed, Notified, NotifierChain, OomControl
from oomd.proc.allocating import AllocatingSampler
from oomd.proc.memcg import read_memcg
from oomd.proc.meminfo import read_meminfo
from oomd.proc.pcp import read_pcp_kib
from oomd.proc.root import ReadError, Root
from oomd.proc.snapshot import CannotDecide, take_snapshot
from oomd.proc.sysctl import read_sysctls
from oomd.report.words import chain_words
from oomd.settings import Settings
from oomd.watch import Watch

__all__ = ["Act", "Guard", "monotonic_ms"]

# A machine whose meminfo cannot be read is looked at again after this.
BLIND_MS = 100
# With vm.oom_kill_allocating_task, the decision may be late by this much for want of current; and
# where that is no time for as many rounds through all processes, by this much at most.
SEEK_MS = 500
SEEK_ROUNDS = 2
SEEK_AT_MOST_MS = 1500
# Between two looks for it at least this long, and as long as a look takes.
SEEK_PAUSE_MS = 10
# And already before somebody waits, this often while there is little memory: who took how much
# until then is not to be seen afterwards.
EARLY_SAMPLE_MS = 500
# How much of the machine one sample of threads may take; the next goes on where it stopped.
SAMPLE_BUDGET_US = 5_000
SEEK_BUDGET_US = 20_000
REHEARSAL_BUDGET_US = 10_000_000
# Notifiers save everybody so often within so long; then somebody dies.
SAVED = 5
SAVED_MS = 30_000
# A change of MemTotal by this share is worth a word: balloon drivers change it all the time.
TOTAL_SHARE = 64


def monotonic_ms() -> int:
    """CLOCK_MONOTONIC: it stands still while the machine is suspended."""
    return time.monotonic_ns() // 1_000_000


class Act(Protocol):
    """What the loop hands its decisions to."""

    def control(self) -> OomControl:
        """Who is dying, who is passed over, who is spared."""

    def notify(self, trigger: str, look: Look) -> NotifierChain:
        """Step 1: ask the notifiers for memory."""

    def decided(self, event: Event) -> None:
        """Do what was decided, or say what would be done."""

    def settle(self, memory: MemInfo | None) -> None:
        """See to what was begun. ``memory`` as just read; None: it could not be."""

    def hold_ms(self, now_ms: int) -> int | None:
        """How long to leave the machine alone, in ms; None: not at all."""

    def pidfds(self) -> Iterable[int]:
        """Whose end is waited for."""

    def calm(self, look: Look) -> None:
        """No threshold is crossed and nothing is under way."""


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
        self._sampler = AllocatingSampler(root)
        self._early_from_ms = 0
        self._manual = False
        self._saved_ms: deque[int] = deque(maxlen=SAVED)
        self._held = False
        self._blind_for = ""
        self.longest_ms = settings.watch.max_sleep_s * 1000
        """No sleep is longer; a watchdog may want less."""
        self.calm = False
        """No threshold was crossed at the last look, and nothing is under way."""
        self.crossed = False
        """A threshold was crossed at the last look."""
        self.blind = False
        """The last look could not be had."""
        self.errors: list[str] = []
        """What went wrong since the caller last looked: one line each."""
        self.notes: list[str] = []
        """What is worth knowing, likewise."""
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
        return control._replace(current=current)

    def _kills_current(self, sysctls: Sysctls) -> bool:
        """Whoever allocates is to die for it; a memcg OOM ignores that."""
        return bool(sysctls.oom_kill_allocating_task) and not self._settings.watch.cgroup

    def _current(self) -> CurrentTask | None:
        return self._sampler.latest(monotonic_ms(), self._settings.watch.current_max_age_ms)

    def _seek_current(self) -> CurrentTask | None:
        """Somebody is to die for allocating, and nobody was seen at it: look, for a bounded time.

        One look meets a thread in direct reclaim about one time in ten. As long as kswapd keeps
        up there is none: then it is whoever took most pages of late.
        """
        began_ms = now_ms = monotonic_ms()
        enough_rounds = self._sampler.rounds + SEEK_ROUNDS
        pause_ms = SEEK_PAUSE_MS
        while (current := self._current()) is None and now_ms < began_ms + SEEK_AT_MOST_MS:
            if now_ms >= began_ms + SEEK_MS and self._sampler.rounds >= enough_rounds:
                break
            # kswapd may have another processor to itself: at our priority, looking without a
            # pause takes the last one from the very task that is sought.
            time.sleep(pause_ms / 1000)
            begin_ms = monotonic_ms()
            self._sampler.sample(begin_ms)
            now_ms = monotonic_ms()
            pause_ms = max(now_ms - begin_ms, SEEK_PAUSE_MS)
        return current or self._sampler.taker(now_ms)

    def decide(self, trigger: str, look: Look, freed: NotifierChain) -> Event:
        """Read the machine and decide. Raises ``CannotDecide`` or ``ReadError``.

        The scan streams: only the tasks that can matter are held.
        """
        cgroup = self._settings.watch.cgroup
        sysctls = read_sysctls(self._root)
        seeks = trigger != MANUAL and self._kills_current(sysctls)
        current = self._seek_current() if seeks else self._current()
        control = self._control(current, trigger == MANUAL)
        page_size_bytes = self._root.page_size_bytes()
        memcg = None
        if cgroup:
            memcg = read_memcg(self._root, cgroup, page_size_bytes)
        # As it was at the look, so that every task is held against one total; of a cgroup, the
        # machine's, whose swap it shares.
        meminfo = look.meminfo if memcg is None else read_meminfo(self._root)
        memory = Snapshot((), meminfo, page_size_bytes, memcg=memcg)
        case = case_of(control, memory, self._policy)
        candidates = Candidates(case, self._settings.log.top)

        def keep(task: Task) -> bool:
            candidates.add(task)
            return False

        snapshot = take_snapshot(self._root, keep=keep, memcg=memcg)
        snapshot = snapshot._replace(tasks=candidates.tasks(), meminfo=meminfo)
        decision, control = decide(
            self._root, control, snapshot, sysctls, self._policy, freed=freed
        )
        case = case_of(control, memory, self._policy)
        return Event(trigger, look, snapshot, sysctls, case, decision, freed, look.now_ms)

    def rehearse(self) -> Event:
        """Decide once for nothing: what the real thing will need is then in memory."""
        now_ms = monotonic_ms()
        # A whole round, which finds the kernel threads, too.
        self._sampler.budget_us = REHEARSAL_BUDGET_US
        self._sampler.sample(now_ms)
        look = self._watch.look(now_ms)
        # Read only when memory is short: its buffers have to be there by then.
        read_pcp_kib(self._root, self._root.page_size_bytes())
        return self.decide(MANUAL, look, NotifierChain())

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
        if why != self._blind_for:
            self._blind_for = why
            self.errors.append(f"cannot decide: {why}")
        self.calm, self.blind = False, True
        self._act.settle(None)
        self._watch.follow((*self._act.pidfds(), *self.fds))
        # Not poll(): a descriptor that stays readable would keep a processor busy.
        time.sleep(BLIND_MS / 1000)
        return self._watch.wait(0)

    def _sample(self, look: Look) -> None:
        """Threads are looked at while somebody waits for memory."""
        near = self._watch.near(look)
        early = self._watch.low(look) and look.now_ms >= self._early_from_ms
        if not near and not early:
            return
        self._early_from_ms = look.now_ms + EARLY_SAMPLE_MS
        wanted = self._kills_current(read_sysctls(self._root))
        if near or wanted:
            # Where current is to die, it is worth more of a processor to find it.
            self._sampler.budget_us = SEEK_BUDGET_US if wanted else SAMPLE_BUDGET_US
            self._sampler.sample(look.now_ms)

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
        self._sample(look)
        manual, self._manual = self._manual, False
        if manual:
            self._storm(MANUAL, look)
        elif self.calm:
            self._act.calm(look)
        elif crossed is not None and hold_ms is None:
            self._storm(crossed, look)
        hold_ms = self._act.hold_ms(monotonic_ms())
        self._held = self._held or hold_ms is not None
        return self._watch.sleep_ms(look) if hold_ms is None else max(hold_ms, 1)

    def close(self) -> None:
        """Let go of what is held."""
        self._sampler.close()
        self._watch.close()
