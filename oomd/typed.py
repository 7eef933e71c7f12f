"""``typing``, ``collections.abc`` and ``enum`` for the sentinel: those cost 1 MB of locked memory.

A type checker sees their own names. At run time :class:`NamedTuple` makes the same records as
typing's does, with methods that all of them share, and :class:`Enum` as much of an enumeration as
is used; other names of typing's do nothing but stand in annotations.
"""

# What collections.namedtuple() uses: faster than a property.
from _collections import _tuplegetter  # type: ignore[import-not-found]

__all__ = [
    "TYPE_CHECKING",
    "Any",
    "Callable",
    "Enum",
    "Final",
    "Iterable",
    "Iterator",
    "Literal",
    "Mapping",
    "NamedTuple",
    "Protocol",
    "Sequence",
]

TYPE_CHECKING = False
"""True to a type checker, as ``typing.TYPE_CHECKING`` is."""

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from enum import Enum
    from typing import Any, Final, Literal, NamedTuple, Protocol
else:
    # collections.abc is this very module, behind all of collections.
    from _collections_abc import Callable, Iterable, Iterator, Mapping, Sequence

    Any = object

    class Final:
        """``Final`` and ``Final[int]``."""

        __class_getitem__ = classmethod(type(list[int]))

    class Literal:
        """``Literal["a", "b"]``, of which ``typing.get_args()`` tells what it was made of."""

        __class_getitem__ = classmethod(type(list[int]))

    class Protocol:
        """Whoever has these methods; nobody asks at run time."""


# The same descriptors for all records: of a field they know nothing but where it stands.
_GETTERS: list[object] = []


class _Record(tuple[object, ...]):
    """What ``collections.namedtuple()`` writes anew for each class."""

    __slots__ = ()
    if TYPE_CHECKING:
        # Not at run time: typing.get_type_hints() would find one more field in each record.
        _fields: tuple[str, ...]

    @classmethod
    def _make(cls, values: Iterable[object]) -> "_Record":
        """A record of these values, in the order of the fields."""
        record = tuple.__new__(cls, values)
        if len(record) != len(cls._fields):
            raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(record)}")
        return record

    def _replace(self, /, **changes: object) -> "_Record":
        """The same with other values in some fields."""
        record = tuple.__new__(type(self), map(changes.pop, self._fields, self))
        if changes:
            raise TypeError(f"Got unexpected field names: {list(changes)!r}")
        return record

    def _asdict(self) -> dict[str, object]:
        """The fields by name."""
        return dict(zip(self._fields, self, strict=True))

    def __repr__(self) -> str:
        fields = (f"{name}={value!r}" for name, value in zip(self._fields, self, strict=True))
        return f"{type(self).__name__}({', '.join(fields)})"

    def __getnewargs__(self) -> tuple[object, ...]:
        """For copy and pickle."""
        return tuple(self)


def _fields_of(namespace: dict[str, Any]) -> tuple[str, ...]:
    if "__annotations__" in namespace:
        return tuple(namespace["__annotations__"])
    # From Python 3.14 on they are made when they are asked for (PEP 649); 1 is Format.VALUE.
    annotate = namespace.get("__annotate_func__") or namespace.get("__annotate__")
    return tuple(annotate(1)) if annotate is not None else ()


class _RecordType(type):
    """What a class statement calls whose base is ``NamedTuple``."""

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        fields = _fields_of(namespace)
        defaults = {field: namespace.pop(field) for field in fields if field in namespace}
        if tuple(defaults) != fields[len(fields) - len(defaults) :]:
            raise TypeError(f"{name}: a field without a default follows one that has a default")
        while len(_GETTERS) < len(fields):
            _GETTERS.append(_tuplegetter(len(_GETTERS), ""))
        # As namedtuple() does it: nothing is as fast as a function with these very parameters.
        values = "".join(f"{field}, " for field in fields)
        new = eval(f"lambda cls, {values}: make(cls, ({values}))", {"make": tuple.__new__})
        new.__name__, new.__qualname__ = "__new__", f"{name}.__new__"
        new.__defaults__ = tuple(defaults.values())
        namespace |= dict(zip(fields, _GETTERS, strict=False))
        namespace |= {"__slots__": (), "__new__": new, "__match_args__": fields}
        namespace |= {"_fields": fields, "_field_defaults": defaults}
        # An ordinary type: a class that inherits from a record is an ordinary class, too.
        return type.__new__(type, name, (_Record,), namespace)


class _EnumType(type):
    """What a class statement calls whose base is ``Enum``: names in capitals are its members."""

    _by_value: dict[object, object]

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        values = {key: namespace.pop(key) for key in tuple(namespace) if key.isupper()}
        made: Any = type.__new__(cls, name, bases, namespace)
        made._by_value = {}
        for key, value in values.items():
            member = object.__new__(made)
            member.name, member.value = key, value
            setattr(made, key, member)
            made._by_value[value] = member
        return made

    def __call__(cls, value: object) -> Any:
        try:
            return cls._by_value[value]
        except (KeyError, TypeError):
            raise ValueError(f"{value!r} is not a valid {cls.__name__}") from None

    def __iter__(cls) -> Iterator[object]:
        return iter(cls._by_value.values())

    def __len__(cls) -> int:
        return len(cls._by_value)


if not TYPE_CHECKING:
    NamedTuple = type.__new__(_RecordType, "NamedTuple", (), {})

    class Enum(metaclass=_EnumType):
        """Each member has a ``name`` and a ``value``, and is equal to nothing but itself."""

        def __repr__(self) -> str:
            return f"<{self}: {self.value!r}>"

        def __str__(self) -> str:
            return f"{type(self).__name__}.{self.name}"

        def __reduce__(self) -> Any:
            # For copy and pickle: there is one of each.
            return type(self), (self.value,)
