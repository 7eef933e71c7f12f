"""A plugin's options: read from its signature, and the configuration checked against them.

``release(event, *, keep_mib: int = 16, paths: list[str] = [])``: the keyword-only parameters.
"""

import inspect
import math
import typing
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

from oomd.config import one_line
from oomd.notifier_options import EVERY_TABLE

__all__ = ["BadSignature", "BadTable", "Option", "bind", "options_of"]

_KINDS: dict[Any, str] = {
    bool: "a boolean",
    int: "an integer",
    float: "a number",
    str: "a string",
    list[str]: "an array of strings",
}
_SHOWN = "bool, int, float, str or list[str]"


class BadSignature(Exception):
    """The callback cannot be called as it is written. ``str()`` is a few words."""


class BadTable(Exception):
    """What was configured does not go with the options. ``str()`` is a few words."""


class Option(NamedTuple):
    """One keyword-only parameter."""

    name: str
    type: Any
    """bool, int, float, str or list[str]."""
    default: object
    required: bool


def _kind_of(value: object) -> str:
    """What a configured value is, with its article. bool first: it is an int to Python."""
    for type_ in (bool, int, float, str):
        if isinstance(value, type_):
            return _KINDS[type_]
    if isinstance(value, list):
        return "an array" if not _fits(value, list[str]) else _KINDS[list[str]]
    return "a table" if isinstance(value, Mapping) else f"{type(value).__name__}"


def _fits(value: object, type_: Any) -> bool:
    if type_ is float:
        # An integer may be too large for a float, which isfinite() would raise for.
        large = type(value) is int and abs(value) >= 2**63
        return type(value) in (int, float) and not large and math.isfinite(value)  # type: ignore[arg-type]
    if type_ == list[str]:
        return isinstance(value, list) and all(isinstance(one, str) for one in value)
    return type(value) is type_


def _annotation(release: Callable[..., object], parameter: inspect.Parameter) -> object:
    """The type itself, also where ``from __future__ import annotations`` made a string of it."""
    annotation = parameter.annotation
    names = getattr(inspect.unwrap(release), "__globals__", {})
    for _ in range(2):  # A string under that import is a string of a string.
        if not isinstance(annotation, str):
            break
        try:
            annotation = eval(annotation, dict(names))
        except Exception as error:
            # What is only imported under TYPE_CHECKING is not there now.
            problem = f"its type {parameter.annotation} cannot be resolved"
            raise BadSignature(f"option {parameter.name}: {problem} ({error})") from None
    if typing.get_origin(annotation) is list:
        return list[typing.get_args(annotation)]  # type: ignore[misc] # typing.List is list too
    return annotation


def _option(release: Callable[..., object], parameter: inspect.Parameter) -> Option:
    name = parameter.name
    if name in EVERY_TABLE:
        raise BadSignature(f"option {name}: every notifier has {name}, call yours something else")
    if parameter.annotation is parameter.empty:
        raise BadSignature(f"option {name}: has no type, write {name}: {_SHOWN}")
    type_ = _annotation(release, parameter)
    if type_ not in list(_KINDS):
        shown = getattr(type_, "__name__", str(type_)) if isinstance(type_, type) else str(type_)
        raise BadSignature(f"option {name}: its type is {shown}, which is none of {_SHOWN}")
    required = parameter.default is parameter.empty
    # An empty tuple is the safe way to write "none" as a default.
    default = list(parameter.default) if parameter.default == () else parameter.default
    if not required and not _fits(default, type_):
        raise BadSignature(
            f"option {name}: the default {_shown(parameter.default)} is not {_KINDS[type_]}"
        )
    return Option(name, type_, default, required)


def options_of(release: Callable[..., object]) -> tuple[Option, ...]:
    """The options that a callback declares. Raises BadSignature."""
    shape = "expected release(event, *, option: type = default, ...)"
    if inspect.iscoroutinefunction(release) or inspect.isgeneratorfunction(release):
        kind = "a coroutine" if inspect.iscoroutinefunction(release) else "a generator"
        raise BadSignature(f"is {kind}: it has to free memory before it returns, write plain def")
    try:
        parameters = list(inspect.signature(release).parameters.values())
    except (TypeError, ValueError):
        raise BadSignature(f"has no signature, {shape}") from None
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in positional:
        raise BadSignature(f"takes no event, {shape}")
    rest = parameters[1:]
    for parameter in rest:
        if parameter.kind is not parameter.KEYWORD_ONLY:
            raise BadSignature(f"parameter {parameter} is not keyword-only, {shape}")
    return tuple(_option(release, parameter) for parameter in rest)


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except Exception:
        # An integer of more than 4300 digits, or the author's own type.
        return f"of type {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "..."


def _unknown(name: str, options: tuple[Option, ...]) -> BadTable:
    names = [*(option.name for option in options), *EVERY_TABLE]
    close = get_close_matches(name[:60], names, 1)
    hint = f", did you mean {close[0]}?" if close else ""
    shown = one_line(name if len(name) <= 60 else name[:57] + "...")
    return BadTable(f"option {shown} is unknown{hint} (it has {', '.join(names)})")


def bind(options: tuple[Option, ...], table: Mapping[str, object]) -> dict[str, object]:
    """The keyword arguments: what was configured, and the defaults. Raises BadTable.

    ``table`` is ``[notifiers.NAME]``; what every notifier has in it is left out here.
    """
    by_name = {option.name: option for option in options}
    values: dict[str, object] = {}
    for name, value in table.items():
        if name in EVERY_TABLE:
            continue
        option = by_name.get(name)
        if option is None:
            raise _unknown(name, options)
        if not _fits(value, option.type):
            kind = _kind_of(value)
            raise BadTable(
                f"option {name}: {_shown(value)} is {kind} (expected {_KINDS[option.type]})"
            )
        values[name] = float(typing.cast(float, value)) if option.type is float else value
    for option in options:
        if option.required and option.name not in values:
            raise BadTable(f"option {option.name} is missing (expected {_KINDS[option.type]})")
        if option.name not in values:
            values[option.name] = option.default
    return values
