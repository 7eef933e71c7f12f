"""For authors of plugins: give memory back before anyone has to die.

::

    from oomd.notifier import OomEvent, oom_notifier

    @oom_notifier("pagecache-of-mine", priority=10)
    def release(event: OomEvent, *, keep_mib: int = 16) -> int:
        return shrink_to(keep_mib)  # bytes that were freed

Keyword-only parameters are the plugin's options: their annotations (bool, int, float, str,
list[str]) and defaults are what the configuration is checked against, table
``[notifiers.pagecache-of-mine]``. A return of ``NOTIFY_STOP(freed_bytes)`` ends the chain.
"""

from oomd.typed import TYPE_CHECKING, Callable, Final, NamedTuple

if TYPE_CHECKING:
    from typing import TypeVar

    _Release = TypeVar("_Release", bound=Callable[..., "Answer"])

__all__ = ["API", "NOTIFY_STOP", "Answer", "OomEvent", "Registered", "oom_notifier"]

API: Final = 1
"""The version of this interface. A plugin that asks for another one is refused by name."""


class NOTIFY_STOP(NamedTuple):  # noqa: N801 - the kernel's name
    """``NOTIFY_STOP``: nobody after this notifier is called. As a return value."""

    freed_bytes: int = 0


Answer = int | NOTIFY_STOP
"""What a notifier returns: how many bytes it has freed."""


class OomEvent(NamedTuple):
    """What a notifier is told."""

    wanted_bytes: int
    """Freeing this much ends the emergency. More is welcome."""
    deadline: float
    """``time.monotonic()`` in seconds. Whoever is not done by then is left behind."""
    reason: str
    """``exhaustion`` or ``stall`` (which threshold was crossed), or ``manual``."""
    constraint: str
    """``CONSTRAINT_NONE``, the kernel's name: the whole machine is short of memory."""


class Registered(NamedTuple):
    """A decorated callback, found by its module-level name."""

    name: str
    priority: int
    api: int
    release: Callable[..., Answer]


ATTRIBUTE: Final = "__oom_notifier__"


def oom_notifier(
    name: str, *, priority: int = 0, api: int = API
) -> "Callable[[_Release], _Release]":
    """``register_oom_notifier()`` for a function: ``release(event, **options) -> bytes freed``.

    The highest ``priority`` is called first. The function stays what it was. Whatever is wrong
    with it is said, by name, when it is loaded.
    """

    def register(release: "_Release") -> "_Release":
        setattr(release, ATTRIBUTE, Registered(name, priority, api, release))
        return release

    return register
