"""JSON values checked against the records' own type annotations: exactly these fields, of exactly
these types.
"""

import re
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from oomd.mm_types import Task, TaskId
from oomd.oom import OomControl, Rules
from oomd.records.rulings import Ruled, Rulings
from oomd.typed import Enum

__all__ = ["BadRecord", "Keys", "as_type", "as_value", "comm_of"]

_T = TypeVar("_T")

# Wider than a nodemask of MAX_NUMNODES bits, and far from where Python refuses to print a number.
_INT_BITS = 1100
# Of those that are put into sets: wider ones can be chosen so that all of them have one hash.
_SET_INT_BITS = 64
# What was not asked yet when earlier records were made, and how it would have been.
_SINCE_THEN: dict[type, dict[str, object]] = {OomControl: {"rules": None}}
_ESCAPE = re.compile(rb"\\(?:x([0-9a-f]{2})|\\)?")
# Of a name that nobody knows, no more than this is shown.
_SHOWN = 40


class BadRecord(Exception):
    """A file that is no record of a decision. One line: where in it, and what is wrong."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where}: {why}" if where else why)
        self.where = where
        """Such as ``candidates[3].rss_pages``. Empty: the whole."""
        self.why = why


def _kind(value: object) -> str:
    """What a JSON value is, with its article."""
    kinds: dict[type, str] = {
        NoneType: "null",
        bool: "true or false",
        int: "an integer",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return kinds[type(value)]


def _scalar(hint: type, value: object, where: str, int_bits: int = _INT_BITS) -> object:
    # Not isinstance(): to Python true is an integer.
    if type(value) is not hint:
        expected = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
        raise BadRecord(where, f"is {_kind(value)} (expected {expected[hint]})")
    if isinstance(value, int) and value.bit_length() > int_bits:
        raise BadRecord(where, "is a larger number than any kernel has")
    return value


def as_value(value: object, where: str) -> object:
    """One value as a trace has it: no array and no object."""
    if value is not None and type(value) is not float:
        if type(value) not in (int, str, bool):
            raise BadRecord(where, f"is {_kind(value)} (expected a single value)")
        return _scalar(type(value), value, where)
    return value


def _array(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise BadRecord(where, f"is {_kind(value)} (expected an array)")
    return value


def _enum(hint: type[Enum], value: object, where: str) -> Enum:
    try:
        return hint(value)
    except ValueError:
        names = ", ".join(str(one.value) for one in hint)
        raise BadRecord(where, f"is none of {names}") from None


def comm_of(text: str) -> str:
    r"""Undo ``printable()``: the comm as the kernel had it. Raises ValueError at a stray ``\``."""

    def byte(escape: re.Match[bytes]) -> bytes:
        if escape[0] == b"\\":
            raise ValueError("a stray backslash")
        return b"\\" if escape[1] is None else bytes.fromhex(escape[1].decode())

    data = _ESCAPE.sub(byte, text.encode("utf-8", "surrogatepass"))
    return data.decode("utf-8", "surrogateescape")


def _comm(text: str, where: str) -> str:
    try:
        return comm_of(text)
    except ValueError:
        raise BadRecord(where, "is no escaped name") from None


class Keys:
    """An object of the record, each key checked as it is taken."""

    def __init__(self, value: object, where: str = "") -> None:
        if not isinstance(value, dict):
            raise BadRecord(where, f"is {_kind(value)} (expected an object)")
        self._content: dict[str, object] = value
        self._where = where

    def path(self, key: str) -> str:
        """Where the key's value stands."""
        return f"{self._where}.{key}" if self._where else key

    def raw(self, key: str) -> Any:
        """The value as JSON has it."""
        if key not in self._content:
            raise BadRecord(self.path(key), "is missing")
        return self._content[key]

    def take(self, key: str, hint: type[_T]) -> _T:
        """The value, as ``hint`` has it."""
        value: _T = as_type(hint, self.raw(key), self.path(key))
        return value

    def names(self) -> tuple[str, ...]:
        """Its keys."""
        return tuple(self._content)

    def array(self, key: str) -> list[tuple[str, Any]]:
        """The elements of an array, each with where it stands."""
        where = self.path(key)
        return [(f"{where}[{n}]", one) for n, one in enumerate(_array(self.raw(key), where))]

    def only(self, *keys: str) -> None:
        """No other keys than these."""
        for key in self._content:
            if key not in keys:
                raise BadRecord(self.path(ascii(key)[1:-1][:_SHOWN]), "is not known")


def _fields(hint: type, value: object, where: str) -> Any:
    """A NamedTuple: every field, and no other."""
    hints = get_type_hints(hint)
    if isinstance(value, dict):
        value = {**_SINCE_THEN.get(hint, {}), **value}
    keys = Keys(value, where)
    keys.only(*hints)
    fields = {name: keys.take(name, inner) for name, inner in hints.items()}
    if hint is Task:
        fields["comm"] = _comm(fields["comm"], keys.path("comm"))
    return hint(**fields)


def as_type(hint: Any, value: Any, where: str) -> Any:
    """``value`` as an object of the type ``hint``. Raises BadRecord."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in (UnionType, Union):
        # T | None: there is no other in the records.
        (inner,) = (one for one in args if one is not NoneType)
        return None if value is None else as_type(inner, value, where)
    if origin is frozenset and args == (int,):
        pids = enumerate(_array(value, where))
        return frozenset(_scalar(int, one, f"{where}[{n}]", _SET_INT_BITS) for n, one in pids)
    if origin in (tuple, frozenset):
        elements = enumerate(_array(value, where))
        return origin(as_type(args[0], one, f"{where}[{n}]") for n, one in elements)
    if hint is TaskId:
        pair = _array(value, where)
        if len(pair) != 2:
            raise BadRecord(where, "is no [pid, start time]")
        return TaskId(*(_scalar(int, one, where, _SET_INT_BITS) for one in pair))  # type: ignore[arg-type]
    if hint is Rules:
        return Rulings(as_type(tuple[Ruled, ...], value, where))
    if issubclass(hint, Enum):
        return _enum(hint, value, where)
    if hasattr(hint, "_fields"):
        return _fields(hint, value, where)
    return _scalar(hint, value, where)
