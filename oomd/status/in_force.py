"""The settings that the daemon has, beside those that the files hold now."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from oomd.config import ConfigError, Configured, toml_value
from oomd.config_load import load
from oomd.settings import SETTINGS, Settings, value_of
from oomd.status.ask import State

__all__ = ["InForce", "compare", "settings_of"]

# The daemon knows its number, the file its name.
_LOOKED_UP = ("control.group",)


class InForce(NamedTuple):
    """One setting that somebody has set, or is about to."""

    key: str
    value: str
    """As TOML has it, with its unit."""
    origin: str
    """The file and line that it is from; empty: not known."""
    pending: str
    """What the files say now, if it is another value: a reload puts it into force."""


def _value(settings: Mapping[str, Any], key: str) -> Any:
    found: Any = settings
    for name in key.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return None
        found = found[name]
    return found


def settings_of(state: State, files: Settings) -> Settings:
    """The settings in force as a record; what an older daemon does not tell is as in ``files``."""
    settings = files
    for name in Settings._fields:
        given, own = state["settings"].get(name), getattr(files, name)
        if isinstance(own, tuple) and isinstance(given, Mapping):
            known = {key: value for key, value in given.items() if key in own._fields}  # type: ignore[attr-defined]
            settings = settings._replace(**{name: own._replace(**known)})  # type: ignore[attr-defined]
        elif isinstance(given, type(own)):
            settings = settings._replace(**{name: given})
    return settings


def _files(state: State) -> Configured | str:
    file = state.get("config_file")
    if file and not os.path.isabs(file):
        return f"its configuration is {file}, in a folder that is not known"
    try:
        return load(file)
    except ConfigError as error:
        return f"the configuration would not be taken now: {error}"


def compare(state: State) -> tuple[list[InForce], list[str]]:
    """What is set, and what is to be known about it: one line each."""
    files = _files(state)
    found = []
    for setting in SETTINGS:
        value = _value(state["settings"], setting.key)
        if value is None or setting.key in _LOOKED_UP:
            continue
        on_disk, origin = value, ""
        if isinstance(files, Configured):
            on_disk = value_of(files.settings, setting.key)
            origin = str(files.origins.get(setting.key, "")) if on_disk == value else ""
        if value == setting.default and on_disk == value:
            continue
        unit = f" {setting.unit}" if setting.unit else ""
        pending = "" if on_disk == value else f"{toml_value(on_disk)}{unit}"
        found.append(InForce(setting.key, f"{toml_value(value)}{unit}", origin, pending))
    notes = [files] if isinstance(files, str) else []
    if any(one.pending for one in found):
        notes.append("the files have changed: systemctl reload oomd puts them into force")
    return found, notes
