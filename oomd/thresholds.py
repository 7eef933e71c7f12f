"""Is it time to act, and how long may one sleep: pure arithmetic on what was read.

Two triggers, in this order. *Exhaustion*: MemAvailable and, where there is swap, free swap are
both at or below their limits. *Stall*: tasks spend too much of their time waiting for memory,
and MemAvailable is at or below a guard; a short while of much waiting, or a long one of less.
"""

from oomd.mm_types import MemInfo, Stall
from oomd.settings import ExhaustionSettings, Settings, SettingValue, StallSettings, WatchSettings
from oomd.typed import Mapping, NamedTuple, Sequence

__all__ = [
    "LONG_WINDOW_MS",
    "NO_LONG_STALL",
    "Floors",
    "LongStall",
    "Threshold",
    "available_limit_kib",
    "evaluate",
    "exhaustion",
    "exhaustion_floors",
    "exhaustion_limit_kib",
    "headroom_kib",
    "long_stall_limit_percent",
    "sleep_ms",
    "stall",
    "stall_guard_kib",
    "stalled_percent",
    "swap_limit_kib",
    "would_act",
]

# A crawl: less of a stall than the window asks for, which goes on for so long, and nearer to the
# end of memory.
LONG_WINDOW_MS = 10_000
LONG_SHARE = 0.5
CRAWL_SHARE = 0.8
# Swap that takes this share of MemTotal in that time is in memory, or on a fast disk: it is full,
# or the storm over, in minutes at most.
SWAP_SHARE = 64


class LongStall(NamedTuple):
    """The last 10 s, ``LONG_WINDOW_MS``."""

    full_percent: float = 0.0
    """Share of them in which every task waited."""
    swapped_kib: int = 0
    """How much more of swap is used than when they began."""
    swap_helps: bool = True
    """What goes to swap makes room. False: it is zram, and what goes there does not compress."""


NO_LONG_STALL = LongStall()


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


def exhaustion(
    meminfo: MemInfo, settings: ExhaustionSettings, *, swap_helps: bool = True
) -> Threshold:
    """Memory and swap, if there is any, are used up. Value and limit are MemAvailable's.

    ``swap_helps`` False: what is left of swap makes no room, see ``LongStall``.
    """
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
        if not (swap_low or swap_helps):
            swap_low, swap_says = True, "swap is zram, and what goes there does not compress"
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


def long_stall_limit_percent(settings: StallSettings) -> float:
    """What the last 10 s are held against: less, as it goes on for longer than the window."""
    return settings.full_percent * max(LONG_SHARE, settings.window_ms / LONG_WINDOW_MS)


def stall(
    full_percent: float | None,
    meminfo: MemInfo,
    settings: StallSettings,
    long: LongStall = NO_LONG_STALL,
    *,
    swap_left: bool = False,
) -> Threshold:
    """Every task waited for memory for too much of the window, and there is little of it.

    ``full_percent`` is PSI memory ``full`` as a share of the window; None: not observable.
    Half as much for 10 s is a stall too, at four fifths of the guard.

    ``swap_left``: free swap is above exhaustion's limit. Then waiting for memory may end by itself:
    the stall has to be one of 10 s, and not fill swap meanwhile, for who fills it gets his memory.
    """
    guard_kib = stall_guard_kib(meminfo, settings)
    low = meminfo.mem_available_kib <= guard_kib
    limit, long_limit = settings.full_percent, long_stall_limit_percent(settings)
    filling = swap_left and long.swapped_kib >= max(meminfo.mem_total_kib // SWAP_SHARE, 1)
    stalled = False
    if limit <= 0:
        verdict = "switched off"
    elif full_percent is None:
        verdict = "not observable: no pressure stall information"
    else:
        crawls = (
            not swap_left
            and long.full_percent >= long_limit
            and meminfo.mem_available_kib <= guard_kib * CRAWL_SHARE
        )
        stalled = crawls or (long.full_percent if swap_left else full_percent) >= limit
        words = "at or above its limit" if stalled else "below its limit"
        if stalled and full_percent < limit:
            words = f"{long.full_percent:.0f} % of the last {LONG_WINDOW_MS // 1000} s"
        verdict = (
            f"the stall is {words}, MemAvailable is {'at or below' if low else 'above'} the guard"
            f"{', swap is being filled' if filling else ''}"
        )
    return Threshold(
        name="stall",
        value=full_percent,
        limit=limit,
        unit="%",
        crossed=stalled and low and not filling,
        verdict=verdict,
        detail={
            "full_percent": full_percent,
            "full_limit_percent": limit,
            "window_ms": settings.window_ms,
            "long_percent": long.full_percent,
            "long_limit_percent": long_limit,
            "swapped_kib": long.swapped_kib,
            "available_kib": meminfo.mem_available_kib,
            "available_guard_kib": guard_kib,
        },
    )


def evaluate(
    meminfo: MemInfo,
    full_percent: float | None,
    settings: Settings,
    long: LongStall = NO_LONG_STALL,
) -> tuple[Threshold, ...]:
    """Every trigger, always all of them and in the order in which they are asked."""
    swap_left = (
        meminfo.swap_free_kib > swap_limit_kib(meminfo, settings.exhaustion) and long.swap_helps
    )
    return (
        exhaustion(meminfo, settings.exhaustion, swap_helps=long.swap_helps),
        stall(full_percent, meminfo, settings.stall, long, swap_left=swap_left),
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


class Floors(NamedTuple):
    """What has to be left for exhaustion not to be crossed, in KiB: of memory, or of swap."""

    memory_kib: int
    swap_kib: int | None
    """None: there is no swap."""

    def headroom_kib(self, mem_available_kib: int, swap_free_kib: int) -> int:
        """What can be allocated for sure before exhaustion is crossed, in KiB; 0: it is crossed.

        Both limits have to be crossed, so it takes at least the longer way. Not the sum of the
        two: swap on zram is itself in memory, so that filling one can fill the other for nothing.
        """
        headroom = max(mem_available_kib - self.memory_kib, 0)
        return headroom if self.swap_kib is None else max(headroom, swap_free_kib - self.swap_kib)


def exhaustion_floors(meminfo: MemInfo, settings: ExhaustionSettings) -> Floors:
    """Of a machine of this size."""
    has_swap = meminfo.swap_total_kib > 0
    return Floors(
        exhaustion_limit_kib(meminfo, settings),
        swap_limit_kib(meminfo, settings) if has_swap else None,
    )


def headroom_kib(meminfo: MemInfo, settings: ExhaustionSettings) -> int:
    """``Floors.headroom_kib()`` of what there is."""
    floors = exhaustion_floors(meminfo, settings)
    return floors.headroom_kib(meminfo.mem_available_kib, meminfo.swap_free_kib)


def sleep_ms(headroom: int, settings: WatchSettings, cpus: int) -> int:
    """How long nobody can cross exhaustion, in ms, within the configured bounds.

    ``headroom`` is in KiB, from :func:`headroom_kib`. The fastest fill is every CPU faulting
    pages in at ``fill_rate_mib_per_s``. Faster ways to lose MemAvailable than touching it
    (raising vm.nr_hugepages, mlock() of page cache) are left to ``max_sleep_s``.
    """
    fastest_kib_per_s = settings.fill_rate_mib_per_s * 1024 * max(cpus, 1)
    until_full_ms = headroom * 1000 // fastest_kib_per_s
    return min(max(until_full_ms, settings.min_sleep_ms), settings.max_sleep_s * 1000)
