"""What memory was like of late: a fixed ring of figures that each look reads anyway.

For the record of a decision: what led to it, and what came of it. Three rings, each with its own
step, so that the last seconds are there in detail and the last minutes in outline, in memory that
is taken once and never grows.
"""

from oomd.event import Look
from oomd.typed import Iterator

__all__ = ["COLUMNS", "Samples"]

COLUMNS = (
    "time_ms",
    "mem_available_kib",
    "mem_free_kib",
    "swap_free_kib",
    "some_us",
    "full_us",
)
"""Of a sample: CLOCK_MONOTONIC, /proc/meminfo, and the totals of PSI memory (0 without PSI)."""

# Entries, and the shortest time between two of them: 2 s, half a minute, four minutes.
_RINGS = ((40, 50), (40, 750), (40, 6000))
_CELL_BYTES = 8
_WIDTH = len(COLUMNS)


class _Ring:
    __slots__ = ("_cells", "_count", "_entries", "_last_ms", "_step_ms")

    def __init__(self, entries: int, step_ms: int) -> None:
        # Without the module array: a view of bytes is one, too.
        self._cells = memoryview(bytearray(entries * _WIDTH * _CELL_BYTES)).cast("Q")
        self._entries = entries
        self._step_ms = step_ms
        self._count = 0
        self._last_ms = -step_ms

    def add(self, sample: tuple[int, ...]) -> None:
        if sample[0] - self._last_ms < self._step_ms:
            return
        self._last_ms = sample[0]
        at = self._count % self._entries * _WIDTH
        self._count += 1
        for number, value in enumerate(sample):
            self._cells[at + number] = value

    def samples(self) -> Iterator[list[int]]:
        """The oldest first."""
        for number in range(max(self._count - self._entries, 0), self._count):
            at = number % self._entries * _WIDTH
            yield self._cells[at : at + _WIDTH].tolist()


class Samples:
    """Fed with every look."""

    __slots__ = ("_rings",)

    def __init__(self) -> None:
        self._rings = tuple(_Ring(entries, step_ms) for entries, step_ms in _RINGS)

    def add(self, look: Look) -> None:
        """Keep what this look has read, as far as it is due."""
        info, pressure = look.meminfo, look.pressure
        sample = (
            look.now_ms,
            info.mem_available_kib,
            info.mem_free_kib,
            info.swap_free_kib,
            pressure.some.total_us if pressure is not None else 0,
            pressure.full.total_us if pressure is not None else 0,
        )
        for ring in self._rings:
            ring.add(sample)

    def rows(self) -> list[list[int]]:
        """What is left of them all, the oldest first, each once."""
        found = {row[0]: row for ring in self._rings for row in ring.samples()}
        return [found[now_ms] for now_ms in sorted(found)]
