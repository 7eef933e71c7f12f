"""The worker's plan: what it is to run, as the configuration's helper wrote it."""

import json
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar

from oomd.config import one_line
from oomd.notifier_options import CHAIN_DEADLINE_MAX_MS, PRIORITY_MAX
from oomd.wire import is_name

__all__ = [
    "DEADLINE_MS",
    "PRIORITY",
    "Builtin",
    "HookPlan",
    "Plan",
    "PlanError",
    "parse_plan",
]

_T = TypeVar("_T")

DEADLINE_MS: Final = (1, CHAIN_DEADLINE_MAX_MS)
"""Bounds, both included: nobody can have more time than a whole chain."""

# Nobody waits for these: see oomd.settings_hooks.
HOOK_DEADLINE_MS: Final = (100, 600_000)

PRIORITY: Final = (-PRIORITY_MAX, PRIORITY_MAX)


class PlanError(Exception):
    """A plan that cannot be used. ``str()`` is one line that says what is wrong with it."""


class Builtin(NamedTuple):
    """A built-in releaser that is to run."""

    name: str
    priority: int
    deadline_ms: int
    options: Mapping[str, object]


class HookPlan(NamedTuple):
    """Who is told when memory gets short, and when somebody was killed."""

    warn: str
    """A program; empty: none."""
    killed: str
    deadline_ms: int
    wall: bool


class Plan(NamedTuple):
    """What the worker is to run. Every value is within its bounds."""

    deadline_ms: int
    """Of a notifier that has none of its own."""
    chain_deadline_ms: int
    clients: str
    """``off``, ``root`` or ``all``: whose programs may register."""
    user_priority_max: int
    max_clients: int
    plugin_memory_mib: int
    watch_devices: bool
    builtin: tuple[Builtin, ...] = ()
    plugins: tuple[Mapping[str, object], ...] = ()
    """One entry for each plugin, as :func:`oomd.notifier.load.load` takes it."""
    options: Mapping[str, Mapping[str, object]] = {}
    """The plugins' tables, by the notifier's name."""
    hooks: HookPlan | None = None


def _is(value: object, type_: type[_T], what: str) -> _T:
    # bool is an int to Python, and not to anybody else.
    if not isinstance(value, type_) or (type_ is int and isinstance(value, bool)):
        raise PlanError(f"the worker's plan: {one_line(what[:100])} is not {_WORDS[type_]}")
    return value


_WORDS: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    str: "a string",
    list: "a list",
    dict: "an object",
}


def _number(table: Mapping[str, Any], key: str, bounds: tuple[int, int], where: str = "") -> int:
    value = _is(table.get(key), int, where + key)
    low, high = bounds
    if not low <= value <= high:
        raise PlanError(f"the worker's plan: {where}{key} is not from {low} to {high}")
    return value


def _builtin(entry: object) -> Builtin:
    table = _is(entry, dict, "an entry of builtin")
    name = _is(table.get("name"), str, "the name of a built-in")
    if not is_name(name):
        raise PlanError(f"the worker's plan: {one_line(name[:100])} is not a notifier's name")
    return Builtin(
        name,
        _number(table, "priority", PRIORITY, f"{name}."),
        _number(table, "deadline_ms", DEADLINE_MS, f"{name}."),
        _is(table.get("options", {}), dict, f"{name}.options"),
    )


def _plugin(entry: object) -> Mapping[str, object]:
    table = _is(entry, dict, "an entry of plugins")
    for key in ("source", *(one for one in ("module", "attr") if one in table)):
        _is(table.get(key), str, f"{key} of a plugin")
    return table


def _hooks(value: object) -> HookPlan | None:
    if value is None:
        return None
    table = _is(value, dict, "hooks")
    return HookPlan(
        _is(table.get("warn"), str, "hooks.warn"),
        _is(table.get("killed"), str, "hooks.killed"),
        _number(table, "deadline_ms", HOOK_DEADLINE_MS, "hooks."),
        _is(table.get("wall"), bool, "hooks.wall"),
    )


def parse_plan(data: bytes) -> Plan:
    """Raises PlanError, and nothing else."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise PlanError("the worker's plan is not JSON") from None
    table = _is(document, dict, "all of it")
    clients = _is(table.get("clients"), str, "clients")
    if clients not in ("off", "root", "all"):
        raise PlanError("the worker's plan: clients is not off, root or all")
    tables = _is(table.get("options", {}), dict, "options")
    return Plan(
        deadline_ms=_number(table, "deadline_ms", DEADLINE_MS),
        chain_deadline_ms=_number(table, "chain_deadline_ms", DEADLINE_MS),
        clients=clients,
        user_priority_max=_number(table, "user_priority_max", PRIORITY),
        max_clients=_number(table, "max_clients", (1, 1000)),
        plugin_memory_mib=_number(table, "plugin_memory_mib", (16, 65536)),
        watch_devices=_is(table.get("watch_devices"), bool, "watch_devices"),
        builtin=tuple(_builtin(one) for one in _is(table.get("builtin", []), list, "builtin")),
        plugins=tuple(_plugin(one) for one in _is(table.get("plugins", []), list, "plugins")),
        options={name: _is(one, dict, f"options.{name}") for name, one in tables.items()},
        hooks=_hooks(table.get("hooks")),
    )
