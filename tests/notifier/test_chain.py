"""The chain's order and its accounting, as kernel/notifier.c has them."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest

from oomd.mm_types import MemInfo
from oomd.notifier import OomEvent
from oomd.notifier.chain import OomNotifyList, Outcome, Result
from oomd.wire import NOTIFIERS_MAX


@dataclass
class Recorded:
    """A notifier that answers as it was told to, and remembers what it was asked."""

    name: str
    priority: int = 0
    outcome: Outcome = field(default_factory=lambda: Outcome(4096))
    deadline_ms: int = 60_000
    source: str = "test"
    faults: int = 0
    asked: list[OomEvent] = field(default_factory=list)

    def state(self) -> str:
        return "ready"

    def release(self, event: OomEvent) -> Outcome:
        self.asked.append(event)
        return self.outcome


def event(seconds: float = 60.0) -> OomEvent:
    return OomEvent(1 << 30, time.monotonic() + seconds, "exhaustion", "CONSTRAINT_NONE")


def listed(*notifiers: Recorded) -> OomNotifyList:
    chain = OomNotifyList(lambda: None)
    for one in notifiers:
        chain.register(one)
    return chain


def called(notifiers: Iterable[Recorded]) -> list[str]:
    return [one.name for one in notifiers if one.asked]


def by_name(results: Iterable[Result]) -> dict[str, Result]:
    return {one.name: one for one in results}


def test_high_priority_first_then_in_order_of_registration() -> None:
    all_of_them = [Recorded(*one) for one in (("a", 0), ("b", 5), ("c", 0), ("d", -1), ("e", 5))]
    chain = listed(*all_of_them)
    assert [one.name for one in chain] == ["b", "e", "a", "c", "d"]
    assert [one.name for one in chain.call(event())] == ["b", "e", "a", "c", "d"]
    assert len(called(all_of_them)) == 5


def test_stop_ends_the_chain_and_its_own_bytes_count() -> None:
    first = Recorded("first", 2, Outcome(3))
    stops = Recorded("stops", 1, Outcome(4 << 20, stop=True))
    never = Recorded("never", 0)
    results = list(listed(first, stops, never).call(event()))
    assert [one.claimed_bytes for one in results] == [3, 4 << 20, 0]
    assert [one.verdict for one in results] == [
        "claims 3 bytes",
        "claims 4.0 MiB, and ends the chain",
        "not called: stops ended the chain",
    ]
    assert not never.asked


def test_a_fault_has_freed_nothing_and_the_rest_run() -> None:
    broken = Recorded("broken", 1, Outcome(7, stop=False, fault="failed: a driver's bug"))
    whole = Recorded("whole", 0, Outcome(2))
    results = by_name(listed(broken, whole).call(event()))
    assert results["broken"].fault
    assert results["broken"].claimed_bytes == 0
    assert results["broken"].verdict == "failed: a driver's bug"
    assert results["whole"].claimed_bytes == 2


def test_each_gets_its_own_deadline_or_what_is_left_of_the_chains() -> None:
    short, long = Recorded("short", 1, deadline_ms=50), Recorded("long", 0, deadline_ms=600_000)
    whole = event(60.0)
    before = time.monotonic()
    list(listed(short, long).call(whole))
    after = time.monotonic()
    assert before + 0.05 <= short.asked[0].deadline <= after + 0.05
    assert long.asked[0] == whole


def test_nobody_is_called_when_the_time_is_used_up() -> None:
    late = Recorded("late")
    (result,) = listed(late).call(event(-0.001))
    assert not late.asked
    assert result.verdict == "not called: the chain's time is used up"
    assert not result.fault


def test_what_the_machine_says_is_kept_beside_what_the_notifier_says() -> None:
    reads = iter([(1000, 5000), (4000, 5500)])

    def look() -> MemInfo:
        free_kib, available_kib = next(reads)
        return MemInfo(100_000, free_kib, available_kib, 0, 0)

    chain = OomNotifyList(look)
    chain.register(Recorded("honest", 0, Outcome(3_072_000)))
    (result,) = chain.call(event())
    assert (result.mem_free_change_kib, result.mem_available_change_kib) == (3000, 500)
    assert chain.last["honest"][1] == result


def test_nobody_registered() -> None:
    assert list(listed().call(event())) == []


def test_a_name_is_registered_once_and_can_be_taken_back() -> None:
    chain = listed(Recorded("one"))
    with pytest.raises(ValueError, match="a notifier named one is registered already"):
        chain.register(Recorded("one"))
    chain.unregister("one")
    assert chain.get("one") is None
    with pytest.raises(KeyError):
        chain.unregister("one")


def test_there_is_an_end_to_registering() -> None:
    chain = listed(*(Recorded(f"n{number}") for number in range(NOTIFIERS_MAX)))
    with pytest.raises(ValueError, match="there are 128 notifiers already"):
        chain.register(Recorded("one-more"))
