"""What is remembered about clients that have gone: faults, so that a new connection is no new
start."""

from collections import OrderedDict
from typing import Final, NamedTuple

from oomd.wire import FAULTS

__all__ = ["MEMORY_S", "Ledger"]

MEMORY_S: Final = 600.0
"""After as long without another one all faults are forgotten."""

# Names are free to whoever registers: more than this are not kept.
ENTRIES: Final = 256


class _Entry(NamedTuple):
    faults: int
    last: float


class Ledger:
    """Faults by user and name. Times are ``time.monotonic()``."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[int, str], _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def faults(self, uid: int, name: str, now: float) -> int:
        """How many are held against it."""
        entry = self._entries.get((uid, name))
        return entry.faults if entry is not None and now - entry.last < MEMORY_S else 0

    def since(self, uid: int, name: str, when: float | None) -> bool:
        """Whether it has had one since then (None: never)."""
        entry = self._entries.get((uid, name))
        return entry is not None and when is not None and entry.last >= when

    def add(self, uid: int, name: str, now: float, *, at_once: bool = False) -> int:
        """One more fault, ``at_once``: all that there can be. How many it has now."""
        faults = FAULTS if at_once else self.faults(uid, name, now) + 1
        self._entries[uid, name] = _Entry(faults, now)
        self._entries.move_to_end((uid, name))
        if len(self._entries) > ENTRIES:
            self._entries.popitem(last=False)
        return faults

    def banned(self, uid: int, name: str, now: float) -> bool:
        """This name may not register, or nobody of this user may: he has spoilt so many names."""
        if self.faults(uid, name, now) >= FAULTS:
            return True
        names = tuple(one for user, one in self._entries if user == uid)
        return uid != 0 and sum(self.faults(uid, one, now) >= FAULTS for one in names) >= FAULTS
