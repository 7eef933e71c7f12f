"""The clock by which everything is timed."""

import time

__all__ = ["monotonic_ms"]


def monotonic_ms() -> int:
    """CLOCK_MONOTONIC: it stands still while the machine is suspended."""
    return time.monotonic_ns() // 1_000_000
