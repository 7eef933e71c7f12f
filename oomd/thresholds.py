"""Is it time to act, and how long may one sleep: pure arithmetic on what was read.

Two triggers, in this order. *Exhaustion*: MemAvailable and, where there is swap, free swap are
both at or below their limits. *Stall*: tasks spend too much of their time waiting for memory,
and MemAvailable is at or below a guard.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from oomd.mm_types import MemInfo, Stall
from oomd.settings import ExhaustionSettings, Settings, SettingValue, StallSettings, WatchSettings

__all__ = [
    "Threshold",
    "available_limit_kib",
    "evaluate",
    "exhaustion",
    "exhaustion_limit_kib",
    "headroom_kib",
    "sleep_ms",
    "stall",
    "stall_guard_kib",
    "stalled_percent",
    "swap_limit_kib",
    "would_act",
]


class Threshold(NamedTuple):
    """One trigger, as it stands now."""

    name: str
    """``exhaustion`` or ``stall``."""
    value: float | None
    """In ``unit``. None: not observable."""
    limit: float
    """In ``unit``."""
    unit: str
    """``KiB`` or ``%``."""
    crossed: bool
    """The daemon acts: ``value`` is past ``limit`` and whatever else is asked holds too."""
    verdict: str
    """One short sentence."""
    detail: Mapping[str, SettingValue | None]
    """The numbers behind it, each with its unit in its name."""


def available_limit_kib(meminfo: MemInfo, percent: float, max_mib: int) -> int:
    """The lower of a share of MemTotal and an absolute cap, in KiB."""
    return min(int(meminfo.mem_total_kib * percent / 100), max_mib * 1024)


def swap_limit_kib(meminfo: MemInfo, settings: ExhaustionSettings) -> int:
    """Free swap at or below this counts as used up, in KiB."""
    return int(meminfo.swap_total_kib * settings.swap_free_percent / 100)


def exhaustion_limit_kib(meminfo: MemInfo, settings: ExhaustionSettings) -> int:
    """MemAvailable at or below this counts as used up, in KiB."""
    return available_limit_kib(meminfo, settings.available_percent, settings.available_max_mib)


def exhaustion(meminfo: MemInfo, settings: ExhaustionSettings) -> Threshold:
    """Memory and swap, if there is any, are used up. Value and limit are MemAvailable's."""
    limit_kib = exhaustion_limit_kib(meminfo, settings)
    low = meminfo.mem_available_kib <= limit_kib
    detail: dict[str, SettingValue | None] = {
        "available_kib": meminfo.mem_available_kib,
        "available_limit_kib": limit_kib,
        "swap_total_kib": meminfo.swap_total_kib,
    }
    swap_low = True
    swap_says = "there is no swap"
    if meminfo.swap_total_kib > 0:
        swap_limit = swap_limit_kib(meminfo, settings)
        swap_low = meminfo.swap_free_kib <= swap_limit
        swap_says = f"free swap is {'at or below' if swap_low else 'above'} its limit"
        detail |= {"swap_free_kib": meminfo.swap_free_kib, "swap_free_limit_kib": swap_limit}
    return Threshold(
        name="exhaustion",
        value=meminfo.mem_available_kib,
        limit=limit_kib,
        unit="KiB",
        crossed=low and swap_low,
        verdict=f"MemAvailable is {'at or below' if low else 'above'} its limit, {swap_says}",
        detail=detail,
    )


def stall_guard_kib(meminfo: MemInfo, settings: StallSettings) -> int:
    """A stall counts only while MemAvailable is at or below this, in KiB."""
    return available_limit_kib(meminfo, settings.available_percent, settings.available_max_mib)


def stall(full_percent: float | None, meminfo: MemInfo, settings: StallSettings) -> Threshold:
    """Every task waited for memory for too much of the window, and there is little of it.

    ``full_percent`` is PSI memory ``full`` as a share of the window; None: not observable.
    """
    guard_kib = stall_guard_kib(meminfo, settings)
    low = meminfo.mem_available_kib <= guard_kib
    stalled = False
    if settings.full_percent <= 0:
        verdict = "switched off"
    elif full_percent is None:
        verdict = "not observable: no pressure stall information"
    else:
        stalled = full_percent >= settings.full_percent
        verdict = (
            f"the stall is {'at or above' if stalled else 'below'} its limit, "
            f"MemAvailable is {'at or below' if low else 'above'} the guard"
        )
    return Threshold(
        name="stall",
        value=full_percent,
        limit=settings.full_percent,
        unit="%",
        crossed=stalled and low,
        verdict=verdict,
        detail={
            "full_percent": full_percent,
            "full_limit_percent": settings.full_percent,
            "window_ms": settings.window_ms,
            "available_kib": meminfo.mem_available_kib,
            "available_guard_kib": guard_kib,
        },
    )


def evaluate(
    meminfo: MemInfo, full_percent: float | None, settings: Settings
) -> tuple[Threshold, ...]:
    """Every trigger, always all of them and in the order in which they are asked."""
    return (
        exhaustion(meminfo, settings.exhaustion),
        stall(full_percent, meminfo, settings.stall),
    )


def would_act(thresholds: Sequence[Threshold]) -> str | None:
    """The first trigger that is crossed, by name. None: there is nothing to do."""
    for threshold in thresholds:
        if threshold.crossed:
            return threshold.name
    return None


def stalled_percent(earlier: Stall, later: Stall, elapsed_us: int) -> float:
    """Share of ``elapsed_us`` that was spent stalled, between two readings of one line, 0..100.

    0 if no time has passed or the count went back (the cgroup was made anew).
    """
    if elapsed_us <= 0:
        return 0.0
    return min(max((later.total_us - earlier.total_us) * 100 / elapsed_us, 0.0), 100.0)


def headroom_kib(meminfo: MemInfo, settings: ExhaustionSettings) -> int:
    """What can be allocated for sure before exhaustion is crossed, in KiB; 0: it is crossed.

    Both limits have to be crossed, so it takes at least the longer way. Not the sum of the two:
    swap on zram is itself in memory, so that filling one can fill the other for nothing.
    """
    memory_kib = meminfo.mem_available_kib - exhaustion_limit_kib(meminfo, settings)
    swap_kib = 0
    if meminfo.swap_total_kib > 0:
        swap_kib = meminfo.swap_free_kib - swap_limit_kib(meminfo, settings)
    return max(memory_kib, swap_kib, 0)


def sleep_ms(headroom: int, settings: WatchSettings, cpus: int) -> int:
    """How long nobody can cross exhaustion, in ms, within the configured bounds.

    ``headroom`` is in KiB, from :func:`headroom_kib`. The fastest fill is every CPU faulting
    pages in at ``fill_rate_mib_per_s``. Faster ways to lose MemAvailable than touching it
    (raising vm.nr_hugepages, mlock() of page cache) are left to ``max_sleep_s``.
    """
    fastest_kib_per_s = settings.fill_rate_mib_per_s * 1024 * max(cpus, 1)
    until_full_ms = headroom * 1000 // fastest_kib_per_s
    return min(max(until_full_ms, settings.min_sleep_ms), settings.max_sleep_s * 1000)
