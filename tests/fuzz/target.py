"""What is fuzzed is a target: a callable on bytes, and what it promises about any of them."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

__all__ = ["BrokenPromise", "Target", "check", "found", "seeds"]

_HERE = Path(__file__).parent
SEEDS, FOUND = _HERE / "seeds", _HERE / "found"

# An error is one line for a person, however long what it complains about is.
_ERROR_CHARACTERS = 4096


class BrokenPromise(AssertionError):
    """What a target did that it says it never does, other than raise what it does not declare."""


class Target(NamedTuple):
    """One parser."""

    name: str
    """Also of its folders below ``seeds`` and ``found``."""
    call: Callable[[bytes], object]
    errors: tuple[type[Exception], ...] = ()
    """All that it may raise."""
    tokens: tuple[bytes, ...] = ()
    """Words of its format, to be put where they do not belong."""
    times: int = 40
    """How many times as large as its input the result may be, printed ..."""
    plus: int = 2000
    """... and so many characters that do not depend on the input."""
    newlines: bool = False
    """Its errors may name an input with newlines in it as it is."""
    samples: Callable[[], tuple[bytes, ...]] | None = None
    """Where its good ones come from, if not from its folder below ``seeds``."""
    examples: int = 60
    """In the ordinary tests: fewer for what takes long."""


def _printed(result: object) -> str:
    try:
        return repr(result)
    except ValueError as error:
        # An integer of more than 4,300 digits: whoever logs it would fail in our place.
        raise BrokenPromise(f"the result cannot be printed: {error}") from error


def check(target: Target, data: bytes) -> object:
    """Call ``target`` and hold it to its promises; its result, or the declared error.

    Raises BrokenPromise, and whatever undeclared the target raises.
    """
    try:
        result = target.call(data)
    except target.errors as error:
        said = str(error)
        if len(said) > _ERROR_CHARACTERS:
            raise BrokenPromise(f"an error of {len(said)} characters") from error
        if "\n" in said and not target.newlines:
            raise BrokenPromise("an error of more than one line") from error
        return error
    size = len(_printed(result))
    if size > target.times * len(data) + target.plus:
        raise BrokenPromise(f"{len(data)} bytes became a result of {size} characters")
    return result


def _files(folder: Path) -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in sorted(folder.glob("*")) if path.is_file())


def seeds(target: Target) -> tuple[bytes, ...]:
    """Good samples."""
    made = target.samples() if target.samples is not None else ()
    return made + _files(SEEDS / target.name) or (b"",)


def found(target: Target) -> tuple[bytes, ...]:
    """What has once broken it."""
    return _files(FOUND / target.name)
