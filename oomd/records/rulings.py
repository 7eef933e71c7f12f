"""The admin's rules of a record: what they said of those who are in it, and no globs."""

from collections.abc import Iterable

from oomd.mm_types import Task, TaskId
from oomd.oom import Ruling
from oomd.typed import NamedTuple

__all__ = ["Ruled", "Rulings"]


class Ruled(NamedTuple):
    """One process, and the fields of its ``Ruling``."""

    task: TaskId
    rule: str
    adj: int
    never: bool
    small: bool
    unread: bool


class Rulings:
    """``Rules`` that say again what they have said."""

    def __init__(self, ruled: Iterable[Ruled]) -> None:
        self._by_ident = {one.task: Ruling(*one[1:]) for one in ruled}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Rulings) and self._by_ident == other._by_ident

    __hash__ = None  # type: ignore[assignment]

    def ruling(self, task: Task) -> Ruling | None:
        """As the record has it."""
        return self._by_ident.get(task.ident)

    @property
    def raised_pids(self) -> Iterable[int]:
        """All of them count as anybody."""
        return ()

    @property
    def highest_adj(self) -> int:
        """To nobody who is in the record they add more."""
        return max((one.adj for one in self._by_ident.values()), default=0)
