"""What the guest's programs and the kernel's trace say, as one raw result. Times in ms."""

import re
from bisect import bisect_right
from typing import NamedTuple

__all__ = ["Death", "Raw", "parse_deaths", "raw_result"]

# signal:signal_generate as the kernel prints it; who sends it comes first.
_SENT = re.compile(
    r"^\s*(?P<sender>.+)-(?P<sender_pid>\d+)\s+\[\d+\] .{5}\s+(?P<at_s>[\d.]+): "
    r"signal_generate: sig=(?P<signal>\d+) .*? comm=(?P<comm>.*) pid=(?P<pid>\d+) grp=",
    re.MULTILINE,
)

Raw = dict[str, object]


class Death(NamedTuple):
    """A signal that ends a process, once for each process."""

    at_ms: float
    sender: str
    signal: int
    comm: str
    pid: int
    available_kib: int = 0
    """MemAvailable in the last sample before it."""


def parse_deaths(trace: str) -> list[Death]:
    """Of every process the first deadly signal that it was sent, oldest first."""
    found: dict[int, Death] = {}
    for one in _SENT.finditer(trace):
        death = Death(
            at_ms=float(one["at_s"]) * 1000,
            sender=one["sender"].strip(),
            signal=int(one["signal"]),
            comm=one["comm"],
            pid=int(one["pid"]),
        )
        found.setdefault(death.pid, death)
    return sorted(found.values())


def _numbers(text: str, word: str) -> list[list[int]]:
    lines = (line.split() for line in text.splitlines())
    return [[int(number) for number in line[1:]] for line in lines if line[:1] == [word]]


def _one_ms(text: str, word: str) -> float | None:
    found = _numbers(text, word)
    return found[0][0] / 1000 if found else None


def raw_result(observed: str, beaten: str, trace: str, storm_ms: float) -> Raw:
    """One run. ``storm_ms``: when it began, on the guest's clock; every time is from then on.

    ``observed`` is the observer's output, ``beaten`` the heartbeat's. Gaps from before the storm
    are the harness's own.
    """
    samples = [(at / 1000, available) for at, available, _ in _numbers(observed, "sample")]
    times = [at_ms for at_ms, _ in samples]
    deaths = []
    for death in parse_deaths(trace):
        before = max(bisect_right(times, death.at_ms) - 1, 0)
        at_ms = round(death.at_ms - storm_ms, 1)
        deaths.append(death._replace(at_ms=at_ms, available_kib=samples[before][1]))
    gaps_ms = [
        (round(began / 1000 - storm_ms, 1), round(took / 1000, 1))
        for began, took in _numbers(beaten, "gap")
        if began / 1000 + took / 1000 > storm_ms
    ]

    def since(word: str) -> float | None:
        at_ms = _one_ms(observed, word)
        return None if at_ms is None else round(at_ms - storm_ms, 1)

    return {
        "total_kib": _numbers(observed, "total")[0][0],
        "lowest_kib": min(available for _, available in samples),
        "crossed_ms": since("crossed"),
        "recovered_ms": since("recovered"),
        "ended_ms": since("ended"),
        "stalled_ms": _one_ms(observed, "stalled"),
        "deaths": [death._asdict() for death in deaths],
        "gaps_ms": gaps_ms,
    }
