"""The releasers that oomd brings along: ``[notifiers.balloon]`` and the other tables.

Each is one small file; only those that are configured are loaded. Their options are declared in
:mod:`oomd.notifier_options`. They run in the worker, never in the sentinel.
"""

from collections.abc import Mapping
from typing import Any

from oomd.notifier.builtin.releaser import Releaser
from oomd.notifier_options import COMMAND, EVERY_TABLE, Builtin, builtin_named
from oomd.proc.root import WritableRoot

__all__ = ["Releaser", "make"]


def _values(name: str, builtin: Builtin, options: Mapping[str, object]) -> dict[str, Any]:
    known = {option.name for option in builtin.options}
    for key in options:
        if key not in known:
            raise ValueError(f"{name}: option {key!r} is unknown (it has {', '.join(known)})")
    values: dict[str, Any] = {}
    for option in builtin.options:
        if option.required and option.name not in options:
            raise ValueError(f"{name}: option {option.name} is missing")
        if option.name not in EVERY_TABLE:
            values[option.name] = options.get(option.name, option.default)
    return values


def make(name: str, options: Mapping[str, object], root: WritableRoot) -> Releaser:
    """The built-in releaser of that name (``balloon``, ``command.NAME``), not started yet.

    ``options`` are checked already; those that are not there have their defaults, and what every
    table has (``enabled``, ``priority``, ``deadline_ms``) is not looked at. Raises ValueError.
    """
    builtin = builtin_named(name)
    if builtin is None:
        raise ValueError(f"{name}: there is no such built-in notifier")
    values = _values(name, builtin, options)
    # Each is imported only where it is wanted: what is not configured costs nothing.
    match builtin.name:
        case "balloon":
            from oomd.notifier.builtin.balloon import Balloon  # noqa: PLC0415

            return Balloon(root, **values)
        case "hugepages":
            from oomd.notifier.builtin.hugepages import HugePages  # noqa: PLC0415

            return HugePages(root, **values)
        case "drm":
            from oomd.notifier.builtin.drm import Drm  # noqa: PLC0415

            return Drm(root, **values)
        case "drop_caches":
            from oomd.notifier.builtin.drop_caches import DropCaches  # noqa: PLC0415

            return DropCaches(root, **values)
        case "memory_reclaim":
            from oomd.notifier.builtin.memory_reclaim import MemoryReclaim  # noqa: PLC0415

            return MemoryReclaim(root, **values)
        case "compact":
            from oomd.notifier.builtin.compact import Compact  # noqa: PLC0415

            return Compact(root, **values)
        case _:
            assert builtin.name == COMMAND
            from oomd.notifier.builtin.command import Command  # noqa: PLC0415

            return Command(root, name, **values)
