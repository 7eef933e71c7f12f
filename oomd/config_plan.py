"""What the worker is to run: one line of JSON, made from the tables and the plugins found.

The sentinel hands it on without looking into it. The audit lists what is in it.
"""

import json
import os
from difflib import get_close_matches
from typing import Any, NamedTuple

from oomd.config import PLAN_BYTES, ConfigError, Configured, bare_plan, one_line
from oomd.config_notifiers import Table, Tables, deadline_ms_of
from oomd.config_plugins import Found, Plugin
from oomd.config_rules import rule_warnings
from oomd.notifier_options import BUILTIN, EVERY_TABLE, Builtin, OptionValue, builtin_named
from oomd.oom import Notified, NotifierChain
from oomd.settings import Settings

__all__ = ["Listed", "listed", "make_plan", "not_called", "warnings", "with_plan"]


def _enabled(table: Table | None) -> bool:
    return table is None or "enabled" not in table.given or bool(table.given["enabled"].value)


def _builtin(name: str, table: Table, kind: Builtin, settings: Settings) -> dict[str, Any]:
    values = {option.name: table.get(option) for option in kind.options}
    return {
        "name": name,
        "priority": values["priority"],
        "deadline_ms": deadline_ms_of(table, settings),
        "options": {key: value for key, value in values.items() if key not in EVERY_TABLE},
    }


def _options(table: Table) -> dict[str, OptionValue]:
    """A plugin's table as its load takes it, which knows no deadline of 0."""
    values = {key: given.value for key, given in table.given.items()}
    return {key: value for key, value in values.items() if value or key != "deadline_ms"}


def _entry(plugin: Plugin) -> dict[str, str]:
    """All that is known of it but its name, which is a guess."""
    return {key: value for key, value in plugin._asdict().items() if value and key != "name"}


def _wanted(found: Found, tables: Tables) -> tuple[Plugin, ...]:
    """The plugins that are to be loaded: not those whose name was switched off.

    One that registers under another name than its file's or its entry point's has to be loaded
    before that is known.
    """
    return tuple(one for one in found.plugins if _enabled(tables.get(one.name)))


def make_plan(configured: Configured, found: Found) -> str:
    """The plan; empty if there is nothing to run. Raises ConfigError if it is too long."""
    settings: Settings = configured.settings
    tables: Tables = dict(configured.tables)
    # Equal priorities are called in the order of registration: here that of the documentation.
    builtin = [
        _builtin(name, table, kind, settings)
        for kind in BUILTIN.values()
        for name, table in tables.items()
        if builtin_named(name) is kind and _enabled(table)
    ]
    plugins = [_entry(one) for one in _wanted(found, tables)]
    hooks = settings.hooks.warns or settings.hooks.tells_kills
    if not (builtin or plugins or hooks or settings.notifiers.watch_devices):
        return ""
    options = {
        name: _options(table) for name, table in tables.items() if builtin_named(name) is None
    }
    plan = {"builtin": builtin, "plugins": plugins, "options": options}
    if hooks:
        names = ("warn", "killed", "deadline_ms", "wall")
        plan["hooks"] = {name: getattr(settings.hooks, name) for name in names}
    plan = {**json.loads(bare_plan(settings.notifiers)), **plan}
    text = json.dumps(plan, allow_nan=False, separators=(",", ":"))
    if len(text) > PLAN_BYTES:
        problem = f"the plan made from the notifiers' tables has {len(text)} bytes"
        raise ConfigError("configuration", None, "", problem, f"at most {PLAN_BYTES}")
    return text


def with_plan(configured: Configured, found: Found) -> Configured:
    """The same with the worker's plan among the settings. Raises ConfigError."""
    settings = configured.settings
    notifiers = settings.notifiers._replace(plan=make_plan(configured, found))
    return configured._replace(settings=settings._replace(notifiers=notifiers))


def warnings(configured: Configured, found: Found) -> tuple[str, ...]:
    """What may not be what was meant, and is no error: plugins may come later. One line each."""
    said = list(found.problems)
    names = {plugin.name for plugin in found.plugins}
    for name, table in configured.tables.items():
        if builtin_named(name) is not None or name in names:
            continue
        close = get_close_matches(name, BUILTIN, 1)
        if close:
            problem = f"no built-in notifier has this name, did you mean {close[0]}?"
        elif not found.plugins:
            problem = "no built-in notifier has this name, and no plugin is installed"
        else:
            continue
        said.append(one_line(f"{table.origin}: notifiers.{name}: {problem}"))
    said += rule_warnings(configured.rules)
    settings = configured.settings
    if settings.watch.cgroup and listed(settings.notifiers.plan):
        said.append("watch.cgroup is set, and an OOM of a memory cgroup calls no notifiers")
    return tuple(said)


# --- what is in a plan, for those who only look


class Listed(NamedTuple):
    """One notifier of a plan."""

    name: str
    """A plugin's is not known before it is loaded: its file's name, or its entry point's."""
    priority: int | None
    """None: the plugin's own, and not known."""
    deadline_ms: int
    source: str


def _plugin(entry: dict[str, Any], plan: dict[str, Any]) -> Listed:
    source = str(entry["source"])
    if entry.get("module"):
        name = table = source.removeprefix("entry point ")
        source = f"{source} of {entry['distribution']}"
    else:
        name = os.path.basename(source)
        table = name.removesuffix(".py")
    own = plan["options"].get(table, {})
    return Listed(name, own.get("priority"), own.get("deadline_ms") or plan["deadline_ms"], source)


def listed(plan: str) -> tuple[Listed, ...]:
    """The notifiers of a plan that :func:`make_plan` made, as they would be called.

    Those whose priority is not known come last.
    """
    if not plan:
        return ()
    content = json.loads(plan)
    known = [
        Listed(one["name"], one["priority"], one["deadline_ms"], "built in")
        for one in content["builtin"]
    ]
    known += [_plugin(one, content) for one in content["plugins"]]
    known.sort(key=lambda one: (one.priority is None, -(one.priority or 0)))
    return tuple(known)


def not_called(plan: str) -> NotifierChain:
    """Step 1 for those who only look."""
    results: dict[str, Notified] = {}
    for one in listed(plan):
        # Two packages may have published one name; only one of them will get it.
        name = one.name if one.name not in results else f"{one.name} ({one.source})"
        results[name] = Notified(name, one.priority)
    return NotifierChain(tuple(results.values()))
