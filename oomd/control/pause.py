"""A pause: the guard watches, decides and records, and kills nobody, until a time has passed."""

import time

__all__ = ["LONGEST_S", "Pause"]

LONGEST_S = 24 * 3600
"""No pause is longer: a guard that somebody has forgotten comes back by itself."""


def _now_ms() -> int:
    # Not CLOCK_MONOTONIC: a machine that sleeps through a pause would wake up unguarded. Not the
    # time of day, which an admin or NTP may set back.
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


class Pause:
    """At most one; it lives as long as the daemon, and no reload touches it."""

    __slots__ = ("_until_ms",)

    def __init__(self) -> None:
        self._until_ms = 0

    def begin(self, seconds: int) -> None:
        """From now on, for so long; in the place of one that is under way."""
        self._until_ms = _now_ms() + seconds * 1000

    def end(self) -> None:
        """Guard again."""
        self._until_ms = 0

    @property
    def begun(self) -> bool:
        """Somebody has asked for one, and nobody has ended it."""
        return self._until_ms > 0

    def left_ms(self) -> int:
        """How long it still takes, in ms of CLOCK_BOOTTIME; 0: it is over, or there is none."""
        return max(self._until_ms - _now_ms(), 0) if self._until_ms else 0
