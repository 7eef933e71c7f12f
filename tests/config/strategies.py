"""Hypothesis: settings that can be in force, and TOML values that should not be."""

import json
import math
from typing import Any

from hypothesis import strategies as st

from oomd.config import PLAN, SETTINGS, ConfigError, Setting, configured
from oomd.notifier_options import BUILTIN
from oomd.settings import Settings, SettingValue

_CGROUP_PARTS = st.text(st.characters(exclude_categories=("C", "Z"), exclude_characters="/"))


def _cgroups() -> st.SearchStrategy[str]:
    good = _CGROUP_PARTS.filter(lambda part: part not in ("", ".", ".."))
    return st.lists(good, max_size=3).map(lambda parts: "".join(f"/{part}" for part in parts))


def good_values(setting: Setting) -> st.SearchStrategy[SettingValue]:
    """What this setting takes."""
    if setting.kind == "boolean":
        return st.booleans()
    if setting.kind == "choice":
        return st.sampled_from(setting.choices)
    if setting.key == "control.group":
        return st.from_regex(r"[a-z_][a-z0-9_-]{0,30}|", fullmatch=True)
    if setting.kind == "string":
        return _cgroups()
    low, high = setting.minimum, setting.maximum
    assert low is not None and high is not None
    if setting.kind == "integer":
        return st.integers(math.ceil(low), math.floor(high))
    off = () if setting.off is None else (setting.off,)
    return st.one_of(st.floats(low, high), st.sampled_from([low, high, *map(float, off)])).map(
        float
    )


def plans() -> st.SearchStrategy[str]:
    """One line of JSON, as what reads the configuration writes it; or nothing."""
    documents = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)
    return st.one_of(st.just(""), documents.map(json.dumps))


@st.composite
def all_settings(draw: st.DrawFn) -> Settings:
    """Settings that the check lets pass, with any plan that a helper may hand over."""
    values = {setting.key: draw(good_values(setting)) for setting in SETTINGS}
    values[PLAN] = draw(plans())
    try:
        return configured(values, {}).settings
    except ConfigError:
        # Contradictory: the pairs that can be are left at their defaults.
        for key in ("stall.full_percent", "stall.window_ms", "watch.tripwire_ms"):
            del values[key]
        del values["notifiers.deadline_ms"], values["notifiers.chain_deadline_ms"]
        return configured(values, {}).settings


_NAMES = st.one_of(
    st.sampled_from([part for setting in SETTINGS for part in setting.key.split(".")]),
    st.sampled_from([setting.key for setting in SETTINGS]),
    st.text(max_size=80),
)

_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([10**5000, -(2**63), 2**64]),
    st.floats(),
    st.text(st.characters(), max_size=80),
    st.dates(),
    st.datetimes(),
)


def notifier_tables() -> st.SearchStrategy[dict[str, Any]]:
    """``[notifiers]`` with tables in it, of names and keys that are nearly right."""
    options = [option.name for one in BUILTIN.values() for option in one.options]
    keys = st.one_of(st.sampled_from(options), st.text(max_size=80))
    values = st.one_of(_SCALARS, st.lists(_SCALARS, max_size=3))
    inner = st.dictionaries(keys, values, max_size=3)
    names = st.one_of(st.sampled_from([*BUILTIN, "command.x", "mycache"]), st.text(max_size=80))
    tables = st.one_of(inner, st.dictionaries(names, inner, max_size=2), values)
    return st.fixed_dictionaries({"notifiers": st.dictionaries(names, tables, max_size=4)})


def toml_documents() -> st.SearchStrategy[dict[str, Any]]:
    """Anything a TOML parser could return, and some that it could not; mostly bad configs."""
    values = st.one_of(_SCALARS, st.lists(_SCALARS, max_size=3))
    tables = st.dictionaries(_NAMES, st.one_of(values, st.dictionaries(_NAMES, values, max_size=3)))
    return st.dictionaries(_NAMES, st.one_of(values, tables), max_size=4)
