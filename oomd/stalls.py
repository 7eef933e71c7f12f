"""How long every task has waited for memory of late, by the kernel's own count."""

from oomd.lean import deque
from oomd.mm_types import Stall
from oomd.thresholds import stalled_percent
from oomd.typed import NamedTuple

__all__ = ["SAMPLE_MS", "StallWindow"]

# While somebody waits for memory and there is little of it, this is how often the machine is
# looked at. A look is nothing to a machine that waits for its disk, and not for free where one
# processor has to compress what is swapped out.
SAMPLE_MS = 100
# Looks remembered to count a stall from: the longest window, and the two ends of it.
SAMPLES = 10_000 // SAMPLE_MS + 2


class _Sample(NamedTuple):
    now_ms: int
    full: Stall
    swap_used_kib: int


class StallWindow:
    """A window that moves with the looks at the machine.

    A PSI event only wakes us up: the kernel may send one late, for a stall long past.
    """

    __slots__ = ("_samples", "_window_ms")

    def __init__(self, window_ms: int) -> None:
        self._window_ms = window_ms
        self._samples: deque[_Sample] = deque(maxlen=SAMPLES)

    def add(self, now_ms: int, full: Stall, swap_used_kib: int) -> tuple[float, int]:
        """In what share of the window every task waited, in percent, and how many KiB of swap were
        taken meanwhile. What is free would not tell: swap may have been switched on since.
        """
        samples = self._samples
        # The newest that is at least a window old stays, as the one to count from.
        while len(samples) > 1 and samples[1].now_ms <= now_ms - self._window_ms:
            samples.popleft()
        if samples and now_ms - samples[0].now_ms > 2 * self._window_ms:
            # The last look is long past: what was stalled since then may have been then.
            samples.clear()
        if not samples or now_ms - samples[-1].now_ms >= SAMPLE_MS:
            samples.append(_Sample(now_ms, full, swap_used_kib))
        begin = samples[0]
        # A share of the whole window, from the first look on: one long wait is not all the time.
        elapsed_us = max(now_ms - begin.now_ms, self._window_ms) * 1000
        percent = stalled_percent(begin.full, full, elapsed_us)
        return percent, swap_used_kib - begin.swap_used_kib

    def clear(self) -> None:
        """Something was done about it: a stall has to be seen anew."""
        self._samples.clear()
