"""What came of one run: who died, by whose hand, when, and how the machine fared meanwhile."""

from collections import Counter
from typing import Any, NamedTuple

from tests.bench.storms.daemons import DAEMONS
from tests.bench.storms.measure import Raw
from tests.bench.storms.scenes import STORMS

__all__ = ["Run", "judge"]

# Those of the harness, ended by the harness; `timeout` ends itself as what it ran has ended.
HARNESS = ("heartbeat", "observer", "timeout")
# Gaps count from so long before the crossing.
BEFORE_MS = 1000


class Run(NamedTuple):
    """One run, judged."""

    verdict: str
    """``right``, ``others`` (somebody died who should not have), ``kernel`` (it was first),
    ``nobody`` (though somebody had to)."""
    killed: dict[str, int]
    """By whomever, in the order of their deaths: comm, and how many of that name."""
    by_kernel: int
    """How many the kernel's killer took, by its own counter."""
    to_kill_s: float | None
    """From the crossing to the first deadly signal; 0: it came before the crossing could."""
    left_mib: float | None
    """MemAvailable then."""
    crossed: bool
    to_recovery_s: float | None
    """From the crossing until MemAvailable was back for good; None: it never was."""
    longest_ms: float
    gaps_ms: float


def _gaps(result: Any, crossed_ms: float | None) -> list[float]:
    """Of the shortage itself: before it there was nothing to do for any daemon, and what stood
    still then stood still on the host; what the harness does after its end is nobody's either.
    """
    begin_ms = 0 if crossed_ms is None else crossed_ms - BEFORE_MS
    ended_ms = result["ended_ms"]
    return [
        took for began, took in result["gaps_ms"] if begin_ms < began + took and began < ended_ms
    ]


def judge(raw: Raw) -> Run:
    """Pure: the raw result says it all."""
    result: Any = raw
    daemon = next(one for one in DAEMONS if one.name == result["daemon"])
    storm = next(one for one in STORMS if one.name == result["storm"])
    deaths = [
        one
        for one in result["deaths"]
        if one["comm"] not in HARNESS and one["at_ms"] < result["ended_ms"]
    ]
    by_daemon = [one for one in deaths if one["sender"] in daemon.senders]
    # The kernel sends it in the name of whoever asked for memory, systemd among them, which has
    # ended nobody by SIGKILL before its patience of 90 s is over.
    by_kernel = [
        one
        for one in deaths
        if result["kernel_kills"] and one["signal"] == 9 and one["sender"] not in daemon.senders
    ]
    killed = sorted(by_daemon + by_kernel, key=lambda one: one["at_ms"])
    comms = [one["comm"] for one in killed]
    # Its counter is right where the trace misleads: it may be the daemon that asks for memory.
    if killed and (killed[0] in by_kernel or result["kernel_kills"] >= len(killed)):
        verdict = "kernel"
    elif set(comms) - storm.culprits:
        verdict = "others"
    elif storm.needs_a_kill and not killed:
        verdict = "nobody"
    else:
        verdict = "right"
    crossed_ms = result["crossed_ms"]
    if crossed_ms is None and killed:
        crossed_ms = killed[0]["at_ms"]
    recovered_ms = result["recovered_ms"]
    gaps = _gaps(result, crossed_ms)
    return Run(
        verdict=verdict,
        killed=dict(Counter(comms)),
        by_kernel=result["kernel_kills"],
        to_kill_s=(killed[0]["at_ms"] - crossed_ms) / 1000 if killed else None,
        left_mib=killed[0]["available_kib"] / 1024 if killed else None,
        crossed=result["crossed_ms"] is not None,
        to_recovery_s=None if recovered_ms is None else (recovered_ms - crossed_ms) / 1000,
        longest_ms=max(gaps, default=0),
        gaps_ms=sum(gaps),
    )
