"""For authors' own tests: a plugin, or a program that registers, is asked for memory for real.

::

    from oomd.testing import Harness

    def test_gives_memory_back(tmp_path):
        ...
        with Harness("my_plugin.py", options={"folder": str(tmp_path)}) as oomd:
            released = oomd.release(wanted_bytes=8 << 20)
        assert released.fault == ""
        assert released.claimed_bytes >= 8 << 20

What runs is oomd's own worker, with the process of its own that each plugin has, the limits and
the deadline; only the guard, which would call it, is played by the harness. It needs no root and
no daemon, and touches nothing of a daemon that is running.
"""

import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Self

from oomd.config import bare_plan
from oomd.notifier import ATTRIBUTE, Answer
from oomd.notifier.own_worker import OwnWorker, OwnWorkerError, Released, Unusable
from oomd.notifier_options import CHAIN_DEADLINE_MAX_MS
from oomd.settings import NotifierSettings

__all__ = ["Harness", "HarnessError", "PluginRefused", "Released", "draft_entry"]

PluginLike = str | os.PathLike[str] | Callable[..., Answer]

HarnessError = OwnWorkerError
"""``str()`` is one line: what went wrong, and what to do."""

PluginRefused = Unusable
"""oomd would not load this plugin, or not call it. ``str()`` is what its log would say."""


def draft_entry(
    plugin: PluginLike, options: Mapping[str, object] | None = None
) -> dict[str, object]:
    """The entry of the worker's plan for a plugin under test: a file, ``module:function``, the
    name of an entry point, or the function itself. Raises HarnessError."""
    entry: dict[str, object] = {"draft": True}
    if options is not None:
        entry["table"] = dict(options)
    if callable(plugin):
        if not hasattr(plugin, ATTRIBUTE):
            raise HarnessError(f"{plugin!r} is not decorated with @oom_notifier")
        module, qualname = plugin.__module__, plugin.__qualname__
        if "<locals>" in qualname:
            raise HarnessError(f"{module}.{qualname} is inside a function: move it to the top")
        plugin = f"{module}:{qualname}"
    text = os.fspath(plugin)
    if text.endswith(".py") or "/" in text:
        return {**entry, "source": os.path.abspath(text)}
    if ":" not in text:
        found = importlib.metadata.entry_points(group="oomd.notifiers", name=text)
        if not found:
            raise HarnessError(
                f"{text} is not an installed entry point of the group oomd.notifiers:"
                " give a file (NAME.py), MODULE:FUNCTION, or install the package"
            )
        text = next(iter(found)).value
    module, _, attribute = text.partition(":")
    # Where this process would find it: the plugin's starts without our folders.
    folders = [os.path.abspath(folder) for folder in sys.path]
    source = f"entry point {text}"
    return {**entry, "source": source, "module": module, "attr": attribute, "path": folders}


class Harness(OwnWorker):
    """oomd's worker with one plugin in it, or with none, for programs that use the socket.

    ``options`` is the plugin's table of the configuration; ``deadline_ms`` and ``memory_mib`` are
    what ``notifiers.deadline_ms`` and ``notifiers.plugin_memory_mib`` would be. Everything here
    raises HarnessError, and PluginRefused, which is one, if oomd would not load or call it.
    """

    def __init__(
        self,
        plugin: PluginLike | None = None,
        *,
        options: Mapping[str, object] | None = None,
        deadline_ms: int = 200,
        memory_mib: int = 64,
    ) -> None:
        settings = NotifierSettings(
            deadline_ms=deadline_ms,
            chain_deadline_ms=min(max(1000, 5 * deadline_ms), CHAIN_DEADLINE_MAX_MS),
            clients="all",
            user_priority_max=1000,
            plugin_memory_mib=memory_mib,
        )
        entries = [] if plugin is None else [draft_entry(plugin, options)]
        self._has_plugin = plugin is not None
        plan = json.loads(bare_plan(settings))
        super().__init__({**plan, "plugins": entries, "options": {}})

    def __enter__(self) -> Self:
        super().__enter__()
        if self._has_plugin:
            try:
                self._the_plugin()
            except BaseException:
                self.close()
                raise
        return self

    @property
    def environment(self) -> dict[str, str]:
        """The environment for a program that is to find this socket and not the daemon's."""
        return {**os.environ, "OOMD_NOTIFY_SOCKET": self.socket}

    def _the_plugin(self) -> str:
        """The plugin's name, once it is loaded. Raises PluginRefused."""
        for one in self.notifiers():
            if one["source"].startswith(("entry point ", "/")):
                state = str(one["state"])
                if state.startswith(("refused", "quarantined", "switched off")):
                    name = f"{one['name']}: " if one["name"] else ""
                    raise PluginRefused(name + state.removeprefix("refused: "))
                return str(one["name"])
        raise HarnessError("the plugin is not listed by the worker")

    def release(
        self,
        wanted_bytes: int = 64 << 20,
        *,
        name: str | None = None,
        reason: str = "exhaustion",
        calm: bool = True,
    ) -> Released:
        """Ask the plugin, or the program of that ``name``, for memory.

        Everybody who has registered is asked, as in an emergency; this one's result is returned.
        ``calm``: the emergency is over then, and whoever was left behind is started anew.
        """
        if name is None:
            name = self._the_plugin()
        self.wait_until_ready(name)
        for one in self.chain(wanted_bytes, reason=reason, calm=calm):
            if one.name == name:
                return one
        raise HarnessError(f"{name} was not called")
