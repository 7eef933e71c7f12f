"""Who is ``current`` to the guard: whom its looks have seen allocating, or sought in a storm."""

import time

from oomd.clock import monotonic_ms
from oomd.event import Look
from oomd.oom import CurrentTask
from oomd.proc.allocating import AllocatingSampler
from oomd.proc.root import Root
from oomd.proc.sysctl import read_sysctls
from oomd.settings import Settings
from oomd.typed import Final
from oomd.watch import Watch

__all__ = ["Current"]

# With vm.oom_kill_allocating_task, the decision may be late by this much for want of current; and
# where that is no time for as many rounds through all processes, by this much at most.
SEEK_MS: Final = 500
SEEK_ROUNDS: Final = 2
SEEK_AT_MOST_MS: Final = 1500
# Between two looks for it at least this long, and as long as a look takes.
SEEK_PAUSE_MS: Final = 10
# And already before somebody waits, this often while there is little memory: who took how much
# until then is not to be seen afterwards. Without the sysctl, this often while somebody waits: it
# is for step 2 alone then, and must not cost those who wait their processor.
EARLY_SAMPLE_MS: Final = 500
# How much of the machine one sample of threads may take; the next goes on where it stopped.
SAMPLE_BUDGET_US: Final = 5_000
SEEK_BUDGET_US: Final = 20_000
REHEARSAL_BUDGET_US: Final = 10_000_000


class Current:
    """Samples threads while memory is short, and remembers whom it met."""

    def __init__(self, root: Root, settings: Settings, watch: Watch) -> None:
        self._settings = settings
        self._watch = watch
        self._sampler = AllocatingSampler(root)
        self._early_from_ms = 0
        self._dies = False

    def dies(self, oom_kill_allocating_task: int) -> bool:
        """Whoever allocates is to die for it; a memcg OOM ignores that."""
        return bool(oom_kill_allocating_task) and not self._settings.watch.cgroup

    def see(self, look: Look) -> None:
        """Threads are looked at while somebody waits for memory."""
        near = self._watch.near(look)
        if not near and not self._watch.low(look):
            return
        if look.now_ms >= self._early_from_ms:
            self._early_from_ms = look.now_ms + EARLY_SAMPLE_MS
            self._dies = self.dies(read_sysctls(self._watch.kept).oom_kill_allocating_task)
            wanted = near or self._dies
        else:
            wanted = near and self._dies
        if wanted:
            # Where current is to die, it is worth more of a processor to find it.
            self._sampler.budget_us = SEEK_BUDGET_US if self._dies else SAMPLE_BUDGET_US
            self._sampler.sample(look.now_ms)

    def seen(self) -> CurrentTask | None:
        """Whom a look has met in direct reclaim, if that is not long ago."""
        return self._sampler.latest(monotonic_ms(), self._settings.watch.current_max_age_ms)

    def seek(self, look: Look) -> CurrentTask | None:
        """Somebody is to die for allocating, and nobody was seen at it: look, for a bounded time.

        One look meets a thread in direct reclaim about one time in ten. As long as kswapd keeps
        up there is none: then it is whoever took most pages of late. No longer than until a
        quarter of the memory is gone that was available: MemAvailable counts slab that is hard to
        get, and with half of it left the kernel may act. Raises ``ReadError``.
        """
        began_ms = now_ms = monotonic_ms()
        enough_rounds = self._sampler.rounds + SEEK_ROUNDS
        enough_kib = max(look.meminfo.mem_available_kib * 3 // 4, look.limit_kib // 2)
        pause_ms = SEEK_PAUSE_MS
        while (current := self.seen()) is None and now_ms < began_ms + SEEK_AT_MOST_MS:
            if now_ms >= began_ms + SEEK_MS and self._sampler.rounds >= enough_rounds:
                break
            if self._watch.meminfo().mem_available_kib < enough_kib:
                break
            # kswapd may have another processor to itself: at our priority, looking without a
            # pause takes the last one from the very task that is sought.
            time.sleep(pause_ms / 1000)
            begin_ms = monotonic_ms()
            self._sampler.sample(begin_ms)
            now_ms = monotonic_ms()
            pause_ms = max(now_ms - begin_ms, SEEK_PAUSE_MS)
        return current or self._sampler.taker(now_ms)

    def rehearse(self) -> None:
        """A whole round, which finds the kernel threads, too."""
        self._sampler.budget_us = REHEARSAL_BUDGET_US
        self._sampler.sample(monotonic_ms())

    def close(self) -> None:
        """Let go of what is held."""
        self._sampler.close()
