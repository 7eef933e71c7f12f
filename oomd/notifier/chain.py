"""``oom_notify_list``: those who may give memory back before anyone has to die.

``register_oom_notifier()`` and ``blocking_notifier_call_chain()`` (kernel/notifier.c): the
highest priority first, equal ones in the order in which they were registered; each adds to
what was freed, and one may end the chain.
"""

import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, Protocol

from oomd.mm_types import MemInfo
from oomd.notifier import OomEvent
from oomd.wire import NOTIFIERS_MAX

__all__ = [
    "VERDICT_LIMIT",
    "OomNotifier",
    "OomNotifyList",
    "Outcome",
    "Result",
    "left_ms",
]

VERDICT_LIMIT: Final = 500
"""Characters."""


class Outcome(NamedTuple):
    """How one notifier took its call."""

    freed_bytes: int = 0
    stop: bool = False
    """``NOTIFY_STOP``: nobody after this one is called."""
    fault: str = ""
    """What is wrong with it, in one line; nothing was freed then."""
    skipped: str = ""
    """Why it was not called, in a few words: an old fault, no new one."""


class OomNotifier(Protocol):
    """Somebody who can be asked for memory: a built-in releaser, a plugin's process, a client."""

    @property
    def name(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def deadline_ms(self) -> int: ...
    @property
    def source(self) -> str:
        """Where it comes from, for a person."""

    @property
    def faults(self) -> int:
        """How many it has had."""

    def state(self) -> str:
        """``ready``, or in a few words why it would not be called now."""

    def release(self, event: OomEvent) -> Outcome:
        """Give memory back. Returns by ``event.deadline``, whatever happens, and never raises."""


class Result(NamedTuple):
    """How one notifier took its turn, claimed and measured."""

    name: str
    priority: int
    claimed_bytes: int
    verdict: str
    """One line."""
    took_ms: int = 0
    mem_free_change_kib: int = 0
    """How MemFree changed meanwhile, whoever did it; 0 where it cannot be read. What has gone to
    the per-CPU lists is counted in, here and below."""
    mem_available_change_kib: int = 0
    fault: bool = False


def left_ms(deadline: float) -> int:
    """Milliseconds until ``time.monotonic()`` is ``deadline``, rounded up; never below 0."""
    return max(0, math.ceil((deadline - time.monotonic()) * 1000))


def _size(size_bytes: int) -> str:
    return f"{size_bytes / (1 << 20):,.1f} MiB" if size_bytes >= 1 << 20 else f"{size_bytes} bytes"


def _verdict(outcome: Outcome) -> str:
    if outcome.fault:
        return outcome.fault
    if outcome.skipped:
        return f"not called: {outcome.skipped}"
    return f"claims {_size(outcome.freed_bytes)}" + (", and ends the chain" if outcome.stop else "")


class OomNotifyList:
    """The registered notifiers, in the order in which they are called."""

    def __init__(self, look: Callable[[], MemInfo | None], reserved: int = 0) -> None:
        """``look`` reads the machine's memory; None: it cannot be read.

        The first ``reserved`` places in the order of registration are given by the caller.
        """
        self._look = look
        self._list: list[tuple[int, int, OomNotifier]] = []
        self._next = itertools.count(reserved)
        self.last: dict[str, tuple[float, Result]] = {}
        """How each one's last turn went, and at which ``time.monotonic()``."""

    def __iter__(self) -> Iterator[OomNotifier]:
        return iter([one for _, _, one in self._list])

    def __len__(self) -> int:
        return len(self._list)

    def get(self, name: str) -> OomNotifier | None:
        """The one of that name."""
        return next((one for one in self if one.name == name), None)

    def register(self, notifier: OomNotifier, place: int | None = None) -> None:
        """``register_oom_notifier()``. Raises ValueError, in one line, if it cannot be taken.

        ``place``: one of the reserved ones, whatever comes up first; else it is the last so far.
        """
        if self.get(notifier.name) is not None:
            raise ValueError(f"a notifier named {notifier.name} is registered already")
        if len(self._list) >= NOTIFIERS_MAX:
            raise ValueError(f"there are {NOTIFIERS_MAX} notifiers already, and no more may be")
        # notifier_chain_register(): before the first that has a lower priority.
        order = next(self._next) if place is None else place
        self._list.append((-notifier.priority, order, notifier))
        self._list.sort(key=lambda one: one[:2])

    def unregister(self, name: str) -> None:
        """``unregister_oom_notifier()``. Raises KeyError if there is none of that name."""
        left = [one for one in self._list if one[2].name != name]
        if len(left) == len(self._list):
            raise KeyError(name)
        self._list = left
        self.last.pop(name, None)

    def call(self, event: OomEvent) -> Iterator[Result]:
        """Call them all, one after the other; how each went, as soon as it is known.

        ``event.deadline`` is the chain's: each gets its own deadline or what is left of it.
        """
        stopped_by = ""
        for one in self:
            if stopped_by:
                verdict = f"not called: {stopped_by} ended the chain"
                yield Result(one.name, one.priority, 0, verdict)
                continue
            outcome, result = self._call(one, event)
            stopped_by = one.name if outcome.stop else ""
            yield result

    def call_one(self, one: OomNotifier, event: OomEvent) -> Result:
        """Call this one alone."""
        return self._call(one, event)[1]

    def _call(self, one: OomNotifier, event: OomEvent) -> tuple[Outcome, Result]:
        before = self._look()
        start = time.monotonic()
        own = min(start + one.deadline_ms / 1000, event.deadline)
        if own <= start:
            # Unlike the kernel: a chain ends when its time is up, whoever is still to come.
            outcome = Outcome(skipped="the chain's time is used up")
        else:
            outcome = one.release(event._replace(deadline=own))
        took_ms = round((time.monotonic() - start) * 1000)
        free_kib = available_kib = 0
        if before is not None and not outcome.skipped and (after := self._look()) is not None:
            free_kib = after.mem_free_kib - before.mem_free_kib
            available_kib = after.mem_available_kib - before.mem_available_kib
        claimed = 0 if outcome.fault or outcome.skipped else outcome.freed_bytes
        result = Result(
            one.name,
            one.priority,
            claimed,
            _verdict(outcome)[:VERDICT_LIMIT],
            took_ms,
            free_kib,
            available_kib,
            bool(outcome.fault),
        )
        # A client with too many faults is gone by now.
        if self.get(one.name) is one and not outcome.skipped:
            self.last[one.name] = start, result
        return outcome, result
