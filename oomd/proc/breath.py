"""A real-time guard on the machine's only processor lets others run while it reads everybody."""

import time

from oomd.typed import Final

__all__ = ["Breath"]

# After so much of the processor so long a rest. Twice as often, a decision took half as long
# again: where the timer is coarse and page faults are slow, a rest is longer than was asked for.
# Of a rest of 2 ms, kernel threads with work to do were seen to take half, and who needs 1 ms every
# 20 ms had it broken off just before its end, again and again.
WORK_NS: Final = 40_000_000
REST_S: Final = 0.005


class Breath:
    """Called between two processes; sleeps when it is time to."""

    def __init__(self) -> None:
        self._due_ns = 0

    def __call__(self) -> None:
        if time.thread_time_ns() >= self._due_ns:
            time.sleep(REST_S)
            self._due_ns = time.thread_time_ns() + WORK_NS
