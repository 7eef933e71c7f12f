"""Is a threshold crossed: memory as it was read, and what else has to be read to tell."""

from oomd.mm_types import MemInfo
from oomd.proc.pcp import read_pcp_kib
from oomd.proc.root import Root
from oomd.proc.zram import ZramRoom
from oomd.settings import Settings
from oomd.thresholds import (
    NO_LONG_STALL,
    LongStall,
    Threshold,
    evaluate,
    exhaustion_limit_kib,
    would_act,
)
from oomd.typed import NamedTuple

__all__ = ["Crossing", "measure"]


class Crossing(NamedTuple):
    """The thresholds, and which of them is crossed."""

    thresholds: tuple[Threshold, ...]
    crossed: str | None
    pcp_kib: int
    """What was counted on top of MemAvailable."""


def _swap_helps(
    zram: ZramRoom, meminfo: MemInfo, full_percent: float | None, settings: Settings
) -> bool:
    """What goes to swap makes room. Asked only when something hangs on it."""
    if meminfo.swap_free_kib <= 0:
        return True
    stalled = (full_percent or 0.0) >= settings.stall.full_percent > 0
    limit_kib = exhaustion_limit_kib(meminfo, settings.exhaustion)
    if not stalled and meminfo.mem_available_kib > limit_kib:
        zram.forget()
        return True
    desperate = meminfo.mem_available_kib * 2 < limit_kib
    return zram.makes_room(meminfo.mem_total_kib, desperate=desperate)


def measure(
    root: Root,
    meminfo: MemInfo,
    full_percent: float | None,
    settings: Settings,
    cgroup: str | None = None,
    *,
    long: LongStall = NO_LONG_STALL,
    zram: ZramRoom | None = None,
) -> Crossing:
    """Hold memory against the thresholds, and look twice before one counts as crossed.

    The per-CPU lists are then counted as well: MemAvailable leaves them out, and the kernel
    would use them first. ``zram`` remembers what went there; None: this is the only look.
    """
    if cgroup is None:
        swap_helps = _swap_helps(zram or ZramRoom(root), meminfo, full_percent, settings)
        long = long._replace(swap_helps=swap_helps)
    thresholds = evaluate(meminfo, full_percent, settings, long)
    crossed = would_act(thresholds)
    if crossed is None or cgroup is not None:
        return Crossing(thresholds, crossed, 0)
    pcp_kib = read_pcp_kib(root, root.page_size_bytes())
    counted = meminfo._replace(mem_available_kib=meminfo.mem_available_kib + pcp_kib)
    thresholds = evaluate(counted, full_percent, settings, long)
    return Crossing(thresholds, would_act(thresholds), pcp_kib)
