"""What will be left soon, if memory goes on to fall as it does."""

from oomd.typed import Final

__all__ = ["AHEAD_MS", "SPAN_MS", "Trend"]

# As long as a helper takes, on a machine that has just been through a storm.
AHEAD_MS: Final = 5000
# Between looks as far apart as this a fall is told from a flutter.
SPAN_MS: Final = 250


class Trend:
    """Of one figure, by the looks at it."""

    __slots__ = ("_falls_kib_per_s", "_then_kib", "_then_ms")

    def __init__(self) -> None:
        self._then_ms = self._then_kib = self._falls_kib_per_s = 0

    def ahead_kib(self, now_ms: int, left_kib: int) -> int:
        """``left_kib`` as it is now, less what it falls by in ``AHEAD_MS``; it may be below 0.

        The rate is that of the last ``SPAN_MS`` or more. What rises is taken to stay.
        """
        elapsed_ms = now_ms - self._then_ms
        if elapsed_ms >= SPAN_MS:
            if self._then_ms:
                self._falls_kib_per_s = max(self._then_kib - left_kib, 0) * 1000 // elapsed_ms
            self._then_ms, self._then_kib = now_ms, left_kib
        return left_kib - self._falls_kib_per_s * AHEAD_MS // 1000
