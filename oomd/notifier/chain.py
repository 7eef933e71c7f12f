"""``oom_notify_list``: callbacks that may give memory back before anyone has to die.

``register_oom_notifier()`` and ``blocking_notifier_call_chain()`` (kernel/notifier.c): the
highest priority first, equal ones in the order in which they were registered; each adds to
what was freed, and one may end the chain.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from oomd.oom import Notified, NotifierChain

__all__ = ["NOTIFY_STOP", "OomNotifier", "OomNotifyList"]


class _Stop(NamedTuple):
    """``NOTIFY_STOP_MASK``: nobody after this one is called."""

    freed_bytes: int = 0


NOTIFY_STOP: Final = _Stop
"""``return NOTIFY_STOP(freed_bytes)`` ends the chain."""


class OomNotifier(NamedTuple):
    """One registered callback."""

    name: str
    priority: int
    release: Callable[[], int | _Stop]
    """Gives memory back and returns how many bytes."""


class OomNotifyList:
    """The registered notifiers, in the order in which they are called."""

    def __init__(self, page_size_bytes: int) -> None:
        self._page_size_bytes = page_size_bytes
        self._list: list[OomNotifier] = []

    def register(self, notifier: OomNotifier) -> None:
        """``register_oom_notifier()``. Raises ValueError if the name is taken."""
        if any(one.name == notifier.name for one in self._list):
            raise ValueError(f"a notifier named {notifier.name!r} is registered already")
        # notifier_chain_register(): before the first that has a lower priority.
        place = next(
            (n for n, one in enumerate(self._list) if one.priority < notifier.priority),
            len(self._list),
        )
        self._list.insert(place, notifier)

    def unregister(self, name: str) -> None:
        """``unregister_oom_notifier()``. Raises KeyError if there is none of that name."""
        left = [one for one in self._list if one.name != name]
        if len(left) == len(self._list):
            raise KeyError(name)
        self._list = left

    def listed(self) -> NotifierChain:
        """Who would be called, for those who only look."""
        return NotifierChain(tuple(Notified(one.name, one.priority) for one in self._list))

    def call(self) -> NotifierChain:
        """Call them all. One that raises has freed nothing, and the rest still run."""
        results = []
        freed_pages = 0
        stopped_by = ""
        for one in self._list:
            if stopped_by:
                verdict = f"not called: {stopped_by} ended the chain"
                results.append(Notified(one.name, one.priority, 0, verdict))
                continue
            result, stopped = self._call_one(one)
            freed_pages += result.claimed_pages
            stopped_by = one.name if stopped else ""
            results.append(result)
        return NotifierChain(tuple(results), bool(results), freed_pages)

    def _call_one(self, one: OomNotifier) -> tuple[Notified, bool]:
        try:
            answer = one.release()
        except Exception as error:
            # The kernel's callbacks cannot fail; these are other people's code.
            verdict = f"failed: {type(error).__name__}"
            return Notified(one.name, one.priority, 0, verdict), False
        stopped = isinstance(answer, _Stop)
        freed_bytes = answer.freed_bytes if isinstance(answer, _Stop) else answer
        pages = max(0, freed_bytes) // self._page_size_bytes
        verdict = f"claims {pages} pages" + (", and ends the chain" if stopped else "")
        return Notified(one.name, one.priority, pages, verdict), stopped
