"""Shell patterns, in time that no name and no pattern can make explode.

As fnmatch(3) without flags has them: ``*`` is any characters, slashes and newlines too, ``?``
any one, ``[a-z]`` one of these, ``[!a-z]`` one of the others; no escapes. Upper and lower case
differ. :mod:`fnmatch` would bring :mod:`re` along, which the sentinel does without.
"""

from oomd.typed import NamedTuple

__all__ = ["BadGlob", "Glob"]


class BadGlob(ValueError):
    """No pattern. One phrase that says why."""


class _Set(NamedTuple):
    """One character: in one of the ranges, or in none of them."""

    ranges: tuple[tuple[str, str], ...]
    negated: bool

    def holds(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) != self.negated


# A piece without stars: a text, or what each of its characters may be (None: anything).
_Piece = str | tuple[str | _Set | None, ...]


def _set_at(pattern: str, begin: int) -> tuple[_Set, int]:
    """The set that opens at ``begin``, and where the pattern goes on. Raises BadGlob."""
    place = begin + 1
    negated = pattern[place : place + 1] == "!"
    place += negated
    # A bracket that comes first closes nothing.
    end = pattern.find("]", place + 1)
    if end < 0:
        raise BadGlob("has a [ without its ]")
    inside, ranges = pattern[place:end], []
    while inside:
        if len(inside) > 2 and inside[1] == "-":
            ranges.append((inside[0], inside[2]))
            inside = inside[3:]
        else:
            ranges.append((inside[0], inside[0]))
            inside = inside[1:]
    return _Set(tuple(ranges), negated), end + 1


def _pieces(pattern: str) -> list[_Piece]:
    """What stands between the stars; always one more than there are stars. Raises BadGlob."""
    pieces: list[_Piece] = []
    piece: list[str | _Set | None] = []
    place = 0
    while place <= len(pattern):
        character = pattern[place : place + 1]
        place += 1
        if character in ("*", ""):
            plain = [one for one in piece if isinstance(one, str)]
            pieces.append("".join(plain) if len(plain) == len(piece) else tuple(piece))
            piece = []
        elif character == "[":
            one, place = _set_at(pattern, place - 1)
            piece.append(one)
        else:
            piece.append(None if character == "?" else character)
    return pieces


def _stands_at(piece: _Piece, text: str, place: int) -> bool:
    if isinstance(piece, str):
        return text.startswith(piece, place)
    if place < 0 or place + len(piece) > len(text):
        return False
    for number, wanted in enumerate(piece, place):
        if isinstance(wanted, _Set):
            if not wanted.holds(text[number]):
                return False
        elif wanted is not None and wanted != text[number]:
            return False
    return True


def _find(piece: _Piece, text: str, begin: int, end: int) -> int:
    """The first place of the piece in ``text[begin:end]``, or -1."""
    if isinstance(piece, str):
        return text.find(piece, begin, end)
    for place in range(begin, end - len(piece) + 1):
        if _stands_at(piece, text, place):
            return place
    return -1


class Glob:
    """A pattern, taken apart once. Raises BadGlob."""

    __slots__ = ("_pieces", "pattern")

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self._pieces = _pieces(pattern)

    def __repr__(self) -> str:
        return f"Glob({self.pattern!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Glob) and other.pattern == self.pattern

    def __hash__(self) -> int:
        return hash(self.pattern)

    @property
    def shortest(self) -> int:
        """So many characters has the shortest text that it matches."""
        return sum(map(len, self._pieces))

    @property
    def has_stars(self) -> bool:
        """It matches texts of more than one length."""
        return len(self._pieces) > 1

    def matches(self, text: str) -> bool:
        """The whole of ``text``. Takes len(pattern) * len(text) steps at most.

        Between two stars the first place that fits is as good as any: nothing is tried twice.
        """
        first, *middle = self._pieces
        if not _stands_at(first, text, 0):
            return False
        if not middle:
            return len(first) == len(text)
        last = middle.pop()
        begin, end = len(first), len(text) - len(last)
        for piece in middle:
            place = _find(piece, text, begin, end)
            if place < 0:
                return False
            begin = place + len(piece)
        return begin <= end and _stands_at(last, text, end)
