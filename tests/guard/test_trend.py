"""What will be left soon."""

from oomd.trend import AHEAD_MS, SPAN_MS, Trend


def test_what_falls_is_less_by_then_and_what_rises_stays() -> None:
    trend = Trend()
    assert trend.ahead_kib(1000, 60_000) == 60_000
    # 10 MiB a second.
    assert trend.ahead_kib(1000 + SPAN_MS, 57_500) == 57_500 - 10 * AHEAD_MS
    # Too soon to tell anew: the rate is what it was.
    assert trend.ahead_kib(1001 + SPAN_MS, 90_000) == 90_000 - 10 * AHEAD_MS
    assert trend.ahead_kib(1000 + 2 * SPAN_MS, 90_000) == 90_000
    assert trend.ahead_kib(1000 + 3 * SPAN_MS, 90_000) == 90_000


def test_a_long_sleep_makes_a_slow_fall() -> None:
    trend = Trend()
    trend.ahead_kib(1000, 1_000_000)
    assert trend.ahead_kib(21_000, 800_000) == 800_000 - 10_000 * AHEAD_MS // 1000
