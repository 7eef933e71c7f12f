"""Loads one plugin: its file or entry point, its name, its signature and its options.

Runs in the process of that plugin alone (:mod:`oomd.notifier.host`): importing a plugin is
running it.
"""

import functools
import importlib
import os
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from oomd import wire
from oomd.config import one_line
from oomd.notifier import API, ATTRIBUTE, Answer, OomEvent, Registered, oom_notifier
from oomd.notifier.plugin_file import Untrusted, read_draft, read_trusted
from oomd.notifier.plugin_options import BadSignature, BadTable, bind, options_of
from oomd.notifier_options import BUILTIN, COMMAND, DEADLINE_MAX_MS, PRIORITY_MAX
from oomd.settings import NotifierSettings

__all__ = ["RESERVED", "Plugin", "PluginError", "load"]

RESERVED: Final = frozenset(BUILTIN) | frozenset(NotifierSettings._fields)
"""The built-in notifiers' names (also what begins with ``command.``), and the keys that stand in
``[notifiers]`` itself, where a plugin's name is that of its table."""

# It has to fit into the message that hands it on.
_ERROR_LIMIT = 480


class PluginError(Exception):
    """A plugin that cannot be used. ``str()`` is one line that names it and says why."""

    def __init__(self, source: str, problem: str, name: str = "") -> None:
        text = one_line(f"{source}: {name}: {problem}" if name else f"{source}: {problem}")
        super().__init__(text if len(text) <= _ERROR_LIMIT else text[: _ERROR_LIMIT - 3] + "...")


class Plugin(NamedTuple):
    """One plugin, ready to be called."""

    name: str
    priority: int
    deadline_ms: int | None
    """None: the configuration has none (or 0) of its own for it."""
    source: str
    """Its file, or ``entry point NAME``."""
    enabled: bool
    """False: ``enabled = false`` in its table. It is not to be registered."""
    options: Mapping[str, object]
    """What it is called with, defaults and all."""
    release: Callable[[OomEvent], Answer]
    """The callback, bound to its options. May raise anything."""


def describe(error: BaseException, file: str = "") -> str:
    """An exception in one line: its type, what it says, and the line of ``file`` that it left."""
    try:
        said = str(error)
    except Exception:
        said = "(it does not say why)"
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == file]
    where = f"line {frames[-1].lineno}: " if file and frames else ""
    return one_line(f"{where}{type(error).__name__}: {said}"[:_ERROR_LIMIT])


def _run_file(path: str, draft: bool) -> types.ModuleType:
    """The module in a file, run. Raises PluginError."""
    try:
        source = read_draft(path) if draft else read_trusted(path)
    except Untrusted as error:
        raise PluginError(path, str(error)) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise PluginError(path, f"cannot be read: {reason}") from None
    stem = os.path.basename(path).removesuffix(".py")
    module = types.ModuleType(f"oomd_plugin_{stem}")
    module.__file__ = path
    # dataclasses, pickle and others look a class's module up there.
    sys.modules[module.__name__] = module
    try:
        # What was read, never the name again; and no byte code from a cache folder.
        exec(compile(source, path, "exec", dont_inherit=True), module.__dict__)
    except SyntaxError as error:
        raise PluginError(path, f"line {error.lineno}: {error.msg}") from None
    except (Exception, SystemExit) as error:
        raise PluginError(path, f"cannot be imported: {describe(error, path)}") from None
    return module


def _import(entry: Mapping[str, Any], source: str) -> tuple[object, str]:
    """What an entry point leads to, and its name for an error. Raises PluginError."""
    module, attribute = entry["module"], entry.get("attr") or ""
    try:
        found: object = importlib.import_module(module)
        shown = module
        for part in attribute.split(".") if attribute else ():
            found, shown = getattr(found, part), f"{shown}.{part}"
    except (Exception, SystemExit) as error:
        where = f"{module}:{attribute}" if attribute else module
        raise PluginError(source, f"{where} cannot be imported: {describe(error)}") from None
    return found, shown


def _registered(one: object) -> Registered | None:
    try:
        mark = getattr(one, ATTRIBUTE, None)
    except Exception:
        # Modules hold all sorts of things: proxies, lazy objects.
        return None
    # With functools.wraps the mark comes along; what is called is the outermost function.
    return mark._replace(release=one) if isinstance(mark, Registered) and callable(one) else None


def _without_name(one: object) -> bool:
    """``@oom_notifier`` alone, without its parentheses: what is left is the decorator's inside."""
    wanted = f"{oom_notifier.__qualname__}.<locals>."
    return isinstance(one, types.FunctionType) and one.__qualname__.startswith(wanted)


_HOW = 'write @oom_notifier("a-name") above release(event)'


def _find(found: object, source: str, shown: str) -> Registered:
    """The one decorated function in a module, or the one that it is. Raises PluginError."""
    if not isinstance(found, types.ModuleType):
        mark = _registered(found)
        if mark is None:
            raise PluginError(source, f"{shown} is not decorated: {_HOW}")
        return mark
    content = dict(vars(found))
    if any(_without_name(one) for one in content.values()):
        raise PluginError(source, f"@oom_notifier has no name: {_HOW}")
    # One function may have two names.
    marks = {id(one): mark for one in content.values() if (mark := _registered(one))}
    if not marks:
        raise PluginError(source, f"no function is decorated: {_HOW}")
    if len(marks) > 1:
        # One process for each is what keeps one fault from costing two.
        names = ", ".join(sorted(str(mark.name)[:64] for mark in marks.values()))
        raise PluginError(source, f"has {len(marks)} notifiers ({names}): one to a file, split it")
    return next(iter(marks.values()))


def _check_identity(mark: Registered, source: str) -> None:
    """Name, API version and priority as they were decorated. Raises PluginError."""
    if not isinstance(mark.name, str) or not wire.is_name(mark.name):
        rule = f'1 to {wire.NAME_BYTES} letters, digits, "_", "." or "-"'
        raise PluginError(source, f"{mark.name!r} is not a notifier's name ({rule})")
    if mark.name in RESERVED or mark.name.startswith(f"{COMMAND}."):
        raise PluginError(source, "this name is oomd's own: choose another", mark.name)
    if type(mark.api) is not int or mark.api != API:
        problem = f"asks for version {mark.api!r} of the plugin interface, this oomd has {API}"
        raise PluginError(source, problem, mark.name)
    if not _within(mark.priority, -PRIORITY_MAX, PRIORITY_MAX):
        problem = f"priority {mark.priority!r} is not from {-PRIORITY_MAX} to {PRIORITY_MAX}"
        raise PluginError(source, problem, mark.name)


def _within(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


class _Common(NamedTuple):
    """What every notifier's table may hold."""

    enabled: bool
    priority: int
    deadline_ms: int | None


def _common(table: Mapping[str, object], priority: int) -> _Common:
    """Raises BadTable."""
    enabled = table.get("enabled", True)
    if not isinstance(enabled, bool):
        raise BadTable("enabled is not true or false")
    chosen: Any = table.get("priority", priority)
    if not _within(chosen, -PRIORITY_MAX, PRIORITY_MAX):
        raise BadTable(f"priority is not a whole number from {-PRIORITY_MAX} to {PRIORITY_MAX}")
    deadline_ms: Any = table.get("deadline_ms", 0)
    if not _within(deadline_ms, 0, DEADLINE_MAX_MS):
        raise BadTable(f"deadline_ms is not a whole number from 1 to {DEADLINE_MAX_MS}")
    return _Common(enabled, chosen, deadline_ms or None)


def load(entry: Mapping[str, Any], options: Mapping[str, Mapping[str, object]]) -> Plugin:
    """The plugin of one entry of the plan, checked and bound to its options.

    ``entry`` has a ``source``: a file's absolute path, or words for an entry point, which has a
    ``module`` and an ``attr``. ``"draft": true`` is its author's own test: whoever owns the file,
    with the folders of ``"path"`` to import from, and ``"table"`` for its options, whatever its
    name. ``options`` are the tables ``[notifiers.NAME]``, by name.

    Runs the plugin's module. Raises PluginError.
    """
    source = str(entry["source"])
    draft = entry.get("draft") is True
    if draft:
        sys.path.extend(str(folder) for folder in entry.get("path", ()))
    found: object
    if "module" in entry:
        found, shown = _import(entry, source)
    else:
        found, shown = _run_file(source, draft), source
    mark = _find(found, source, shown)
    _check_identity(mark, source)
    own = draft and "table" in entry
    table = entry["table"] if own else options.get(mark.name, {})
    try:
        common = _common(table, mark.priority)
        declared = options_of(mark.release)
        # Whoever switches a plugin off need not mend its table first.
        arguments = bind(declared, table) if common.enabled else {}
    except (BadSignature, BadTable) as error:
        raise PluginError(source, str(error), mark.name) from None
    return Plugin(
        name=mark.name,
        priority=common.priority,
        deadline_ms=common.deadline_ms,
        source=source,
        enabled=common.enabled,
        options=arguments,
        release=functools.partial(mark.release, **arguments),
    )
