"""The sentinel's records are what typing makes of the same class statement."""

import copy
import enum
import pickle
import types
import typing
from collections.abc import Callable
from typing import Any

import pytest

from oomd import typed
from oomd.mm_types import MemInfo, Task, TaskId
from oomd.oom import Constraint, OomControl

STATEMENT = '''
class Place(NamedTuple):
    """Where it is."""

    x: int
    """Field docstrings are only for readers."""
    y: int = 7
    names: tuple[str, ...] = ()

    @property
    def sum(self) -> int:
        return self.x + self.y
'''


def made_by(base: object) -> Any:
    module = types.ModuleType("places")
    module.__dict__["NamedTuple"] = base
    exec(STATEMENT, module.__dict__)
    return module.__dict__["Place"]


OURS, THEIRS = made_by(typed.NamedTuple), made_by(typing.NamedTuple)


@pytest.mark.parametrize(
    "ask",
    [
        lambda place: place._fields,
        lambda place: place._field_defaults,
        lambda place: place.__match_args__,
        lambda place: place.__annotations__,
        typing.get_type_hints,
        lambda place: place.__doc__,
        lambda place: (place.__name__, place.__qualname__, place.__module__),
        lambda place: place.__slots__,
        type,
        lambda place: repr(place(1)),
        lambda place: tuple(place(1, 2, ("a",))),
        lambda place: tuple(place(y=2, x=1)),
        lambda place: place(3, names=("b",)).sum,
        lambda place: place(1)._asdict(),
        lambda place: tuple(place(1)._replace(y=9, names=("c",))),
        lambda place: tuple(place._make([4, 5, ()])),
        lambda place: (place(1).x, place(1).y, place(1)[1], len(place(1))),
        lambda place: place(1) == place(1, 7) == (1, 7, ()) != place(2),
        lambda place: hash(place(1)) == hash((1, 7, ())),
        lambda place: hasattr(place(1), "__dict__"),
    ],
)
def test_it_answers_as_typings_does(ask: Callable[[Any], object]) -> None:
    assert ask(OURS) == ask(THEIRS)


@pytest.mark.parametrize(
    ("fails", "error"),
    [
        (lambda place: place(), TypeError),
        (lambda place: place(1, 2, (), 4), TypeError),
        (lambda place: place(1, z=3), TypeError),
        (lambda place: place._make([1, 2]), TypeError),
        # ValueError before Python 3.13.
        (lambda place: place(1)._replace(z=3), (TypeError, ValueError)),
        (lambda place: setattr(place(1), "x", 2), AttributeError),
        (lambda place: setattr(place(1), "z", 2), AttributeError),
    ],
)
def test_it_refuses_what_typings_does(fails: Callable[[Any], object], error: Any) -> None:
    for place in (OURS, THEIRS):
        with pytest.raises(error):
            fails(place)


def test_a_default_is_no_hole() -> None:
    statement = "class Hole(NamedTuple):\n    x: int = 1\n    y: int\n"
    for base in (typed.NamedTuple, typing.NamedTuple):
        with pytest.raises(TypeError, match="default"):
            exec(statement, {"NamedTuple": base, "__name__": "holes"})


def test_a_match_takes_it_apart() -> None:
    match OURS(1, 2):
        case OURS(x, y=2):
            assert x == 1
        case _:
            pytest.fail("not matched")


@pytest.mark.parametrize(
    "record", [TaskId(1, 2), Task(5, 6, "name"), MemInfo(1, 2, 3), OomControl()]
)
def test_it_is_copied_and_pickled(record: Any) -> None:
    for same in (copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert same == record and type(same) is type(record)


def test_a_record_with_more_in_it() -> None:
    more = type("More", (OURS,), {"__slots__": (), "more": lambda self: self.x + 1})
    assert more(1).more() == 2 and isinstance(more(1)._replace(x=2), more)


def test_a_literal_says_what_it_was_made_of() -> None:
    assert typing.get_args(typed.Literal["a", 1]) == ("a", 1)
    assert typing.get_args(typed.Literal["a"] | None)[1] is type(None)


COLOURS = """
class Colour(Enum):
    RED = "red"
    BLUE = 2

    def shout(self) -> str:
        return self.name + "!"
"""


@pytest.mark.parametrize(
    "ask",
    [
        lambda colour: [(one.name, one.value) for one in colour],
        lambda colour: colour("red") is colour.RED and colour(2) is colour.BLUE,
        lambda colour: colour.RED in ("red", colour.BLUE),
        lambda colour: isinstance(colour.RED, colour),
        lambda colour: (repr(colour.RED), str(colour.BLUE)),
        lambda colour: {colour.RED: 1}[colour("red")],
        lambda colour: colour.RED.shout(),
        len,
    ],
)
def test_an_enumeration_answers_as_the_real_one_does(ask: Callable[[Any], object]) -> None:
    answers = []
    for base in (typed.Enum, enum.Enum):
        module: dict[str, Any] = {"Enum": base, "__name__": "colours"}
        exec(COLOURS, module)
        answers.append(ask(module["Colour"]))
        with pytest.raises(ValueError, match="'green' is not a valid Colour"):
            module["Colour"]("green")
    assert answers[0] == answers[1]


def test_there_is_one_of_each_member() -> None:
    for one in Constraint:
        assert copy.deepcopy(one) is one and pickle.loads(pickle.dumps(one)) is one
