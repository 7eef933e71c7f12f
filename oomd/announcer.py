"""Where records and the calm's looks pass on their way to the hooks, if there are any."""

import os

from oomd.event import Look
from oomd.settings import Settings
from oomd.typed import TYPE_CHECKING, Any, Callable

if TYPE_CHECKING:
    from oomd.hooks import Hooks

__all__ = ["Announcer"]

Record = dict[str, Any]


class Announcer:
    """Loads what tells programs and people, once somebody wants to be told."""

    def __init__(
        self,
        tell: Callable[[Record], None],
        send: Callable[[Record], bool],
        say_event: Callable[[str, str], None],
    ) -> None:
        """``tell`` gets every record; the others are as for :class:`oomd.hooks.Hooks`."""
        self._tell = tell
        self._send = send
        self._say_event = say_event
        self._hooks: Hooks | None = None

    def configure(self, settings: Settings) -> Callable[[Look], int] | None:
        """Take new settings; what is to be called with each look in the calm."""
        if not (settings.hooks.warns or settings.hooks.tells_kills):
            self._hooks = None
            return None
        if self._hooks is None:
            # Only here, and only in the calm: all that is loaded is locked memory.
            from oomd.hooks import Hooks  # noqa: PLC0415

            self._hooks = Hooks(settings, os.cpu_count() or 1, self._send, self._say_event)
        self._hooks.configure(settings)
        return self._hooks.look

    def tell(self, record: Record) -> None:
        """Pass a record on. Never waits."""
        self._tell(record)
        if self._hooks is not None:
            self._hooks.told(record)
