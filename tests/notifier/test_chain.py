"""The chain's order and its accounting, as kernel/notifier.c has them."""

from collections.abc import Callable

import pytest

from oomd.notifier.chain import NOTIFY_STOP, OomNotifier, OomNotifyList

PAGE = 4096


def notifier(
    calls: list[str], name: str, priority: int = 0, pages: int = 1, stop: bool = False
) -> OomNotifier:
    def release() -> int:
        calls.append(name)
        return pages * PAGE

    def release_and_stop() -> object:
        calls.append(name)
        return NOTIFY_STOP(pages * PAGE)

    chosen: Callable[[], object] = release_and_stop if stop else release
    return OomNotifier(name, priority, chosen)  # type: ignore[arg-type]


def test_high_priority_first_then_in_order_of_registration() -> None:
    calls: list[str] = []
    chain = OomNotifyList(PAGE)
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", -1), ("e", 5)):
        chain.register(notifier(calls, name, priority))
    result = chain.call()
    assert calls == ["b", "e", "a", "c", "d"]
    assert [one.name for one in result.results] == calls
    assert result.freed_pages == 5
    assert result.called


def test_stop_ends_the_chain_and_its_own_pages_count() -> None:
    calls: list[str] = []
    chain = OomNotifyList(PAGE)
    chain.register(notifier(calls, "first", 2, pages=3))
    chain.register(notifier(calls, "stops", 1, pages=4, stop=True))
    chain.register(notifier(calls, "never", 0))
    result = chain.call()
    assert calls == ["first", "stops"]
    assert result.freed_pages == 7
    assert result.results[2].verdict == "not called: stops ended the chain"


def test_one_that_fails_has_freed_nothing_and_the_rest_run() -> None:
    calls: list[str] = []

    def fail() -> int:
        raise RuntimeError("a driver's bug")

    chain = OomNotifyList(PAGE)
    chain.register(OomNotifier("broken", 1, fail))
    chain.register(notifier(calls, "whole", 0, pages=2))
    result = chain.call()
    assert calls == ["whole"]
    assert result.freed_pages == 2
    assert result.results[0].verdict == "failed: RuntimeError"


def test_a_negative_claim_counts_as_nothing() -> None:
    chain = OomNotifyList(PAGE)
    chain.register(notifier([], "liar", pages=-100))
    assert chain.call().freed_pages == 0


def test_nobody_registered() -> None:
    result = OomNotifyList(PAGE).call()
    assert not result.called
    assert result.results == ()


def test_listed_calls_nobody() -> None:
    calls: list[str] = []
    chain = OomNotifyList(PAGE)
    chain.register(notifier(calls, "quiet"))
    assert [one.verdict for one in chain.listed().results] == ["not called"]
    assert calls == []


def test_a_name_is_registered_once_and_can_be_taken_back() -> None:
    chain = OomNotifyList(PAGE)
    chain.register(notifier([], "one"))
    with pytest.raises(ValueError, match="'one' is registered already"):
        chain.register(notifier([], "one"))
    chain.unregister("one")
    with pytest.raises(KeyError):
        chain.unregister("one")
