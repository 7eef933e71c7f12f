"""When what was given back in a storm may be taken again, and how much of it."""

from oomd.proc.meminfo import read_meminfo
from oomd.proc.pressure import read_pressure
from oomd.proc.root import ReadError, Root

__all__ = ["RETRY_S", "Growth"]

RETRY_S = 10.0
"""How long to wait where there is no room now."""

# Somebody waits for memory at this share of the time already: nothing may be taken from him.
SOME_PERCENT = 1.0


class Growth:
    """Holds a releaser back until the machine has been calm for a while, and has plenty."""

    def __init__(self, root: Root, keep_percent: float, after_s: float) -> None:
        self._root = root
        self._keep_percent = keep_percent
        self._after_s = after_s
        # At the start nobody waits: what is to be held for the first storm is taken at once.
        self._calm_since: float | None = float("-inf")

    def storm(self) -> None:
        """The time of calm begins anew with the next :meth:`wait_s`."""
        self._calm_since = None

    def wait_s(self, now: float) -> float:
        """How long the machine has to stay calm until something may be taken; 0: now."""
        if self._calm_since is None:
            self._calm_since = now
        return max(0.0, self._calm_since + self._after_s - now)

    def room_bytes(self) -> int:
        """How much may be taken so that ``keep_percent`` of MemTotal stays available.

        0 where anybody waits for memory, or where none of this can be read.
        """
        try:
            meminfo = read_meminfo(self._root)
            pressure = read_pressure(self._root)
        except ReadError:
            return 0
        if pressure is not None and pressure.some.avg10_percent > SOME_PERCENT:
            return 0
        keep_kib = int(meminfo.mem_total_kib * self._keep_percent / 100)
        return max(0, meminfo.mem_available_kib - keep_kib) * 1024
