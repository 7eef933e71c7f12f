"""The strict check: each bad config is refused in one line that says where, what and why."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given

import oomd
from oomd.config import PLAN, RULES, SETTINGS, ConfigError, settings_from_mapping, toml_value
from oomd.settings import ClientsAllowed, PanicAction, PolicyName, Settings, SettingValue, value_of
from tests.config.strategies import toml_documents

WATCH_KEYS = (
    "tripwire_ms, fill_rate_mib_per_s, max_sleep_s, min_sleep_ms, current_max_age_ms, "
    "kept_descriptors, cgroup"
)
TOP_KEYS = (
    "policy, exhaustion, stall, watch, kill, panic, notifiers, hooks, log, records, control, rules"
)
BIG = 10**30

BAD: list[tuple[str, str]] = [
    # Wrong types.
    (
        '[watch]\ntripwire_ms = "70"',
        'watch.tripwire_ms: "70" is a string (expected an integer from 1 to 10000 ms)',
    ),
    (
        "[watch]\ntripwire_ms = true",
        "watch.tripwire_ms: true is a boolean (expected an integer from 1 to 10000 ms)",
    ),
    (
        "[watch]\ntripwire_ms = 70.0",
        "watch.tripwire_ms: 70.0 is a number (expected an integer from 1 to 10000 ms)",
    ),
    (
        "[watch]\ntripwire_ms = [70]",
        "watch.tripwire_ms: is an array (expected an integer from 1 to 10000 ms)",
    ),
    (
        "[watch]\ntripwire_ms = 2026-01-01",
        "watch.tripwire_ms: is a date or time (expected an integer from 1 to 10000 ms)",
    ),
    (
        "[kill]\nprocess_mrelease = 1",
        "kill.process_mrelease: 1 is an integer (expected true or false)",
    ),
    (
        "[stall]\nfull_percent = false",
        "stall.full_percent: false is a boolean (expected a number from 1 to 100 %, or 0 for off)",
    ),
    ("policy = 7", 'policy: 7 is an integer (expected one of "el7", "mainline", "auto")'),
    ("[policy]\nx = 1", 'policy: is a table (expected one of "el7", "mainline", "auto")'),
    ("watch = 3", "watch: is an integer (expected a table, [watch])"),
    ("[[watch]]\ntripwire_ms = 3", "watch: is an array (expected a table, [watch])"),
    # Impossible values.
    ('policy = "el8"', 'policy: "el8" is not known (expected one of "el7", "mainline", "auto")'),
    (
        "[panic]\nnone_killable = 'kill'",
        'panic.none_killable: "kill" is not known (expected one of "sysrq", "reboot", "defer")',
    ),
    (
        "[exhaustion]\navailable_percent = 0",
        "exhaustion.available_percent: 0.0 is out of range (expected a number from 0.1 to 50 %)",
    ),
    (
        "[exhaustion]\navailable_percent = nan",
        "exhaustion.available_percent: nan is out of range (expected a number from 0.1 to 50 %)",
    ),
    (
        "[exhaustion]\navailable_percent = inf",
        "exhaustion.available_percent: inf is out of range (expected a number from 0.1 to 50 %)",
    ),
    (
        "[exhaustion]\navailable_max_mib = -1",
        "exhaustion.available_max_mib: -1 is out of range"
        " (expected an integer from 16 to 16777216 MiB)",
    ),
    (
        f"[exhaustion]\navailable_percent = {BIG}",
        "exhaustion.available_percent: an integer beyond 64 bits is an integer"
        " (expected a number from 0.1 to 50 %)",
    ),
    (
        f"[log]\ntop = {BIG}",
        "log.top: an integer beyond 64 bits is out of range (expected an integer from 0 to 100)",
    ),
    (
        "[watch]\ncgroup = 'system.slice'",
        'watch.cgroup: "system.slice" is not the path of a cgroup'
        ' (expected a path such as "/system.slice/db.service", or "")',
    ),
    (
        "[watch]\ncgroup = '/a/../b'",
        'watch.cgroup: "/a/../b" is not the path of a cgroup'
        ' (expected a path such as "/system.slice/db.service", or "")',
    ),
    (
        "[watch]\ncgroup = '/'",
        'watch.cgroup: "/" is not the path of a cgroup'
        ' (expected a path such as "/system.slice/db.service", or "")',
    ),
    (
        '[watch]\ncgroup = "/a\\nb"',
        'watch.cgroup: "/a\\U0000000Ab" is not the path of a cgroup'
        ' (expected a path such as "/system.slice/db.service", or "")',
    ),
    # Unknown keys.
    (
        "[watch]\ntripwire = 70",
        f"watch.tripwire: unknown key, did you mean watch.tripwire_ms? (expected one of"
        f" {WATCH_KEYS})",
    ),
    (
        "tripwire_ms = 70",
        f"tripwire_ms: unknown key, did you mean watch.tripwire_ms? (expected one of {TOP_KEYS})",
    ),
    (
        "[log]\ntripwire_ms = 70",
        "log.tripwire_ms: unknown key, did you mean watch.tripwire_ms? (expected one of kmsg, top)",
    ),
    ("[watsh]\n", f"watsh: unknown key, did you mean watch? (expected one of {TOP_KEYS})"),
    ("qqq = 1", f"qqq: unknown key (expected one of {TOP_KEYS})"),
    ('"log.top" = 1', f"log.top: unknown key, did you mean log? (expected one of {TOP_KEYS})"),
    ('"\\u001b[31m\\n" = 1', f"\\x1b[31m\\n: unknown key (expected one of {TOP_KEYS})"),
    (f"{'q' * 99} = 1", f"{'q' * 57}...: unknown key (expected one of {TOP_KEYS})"),
    # Values that contradict each other, or a default.
    (
        "[watch]\ntripwire_ms = 2001",
        "watch.tripwire_ms: a tripwire of 2001 ms does not fit into a window of 2000 ms"
        " (expected watch.tripwire_ms to be at most stall.window_ms)",
    ),
    (
        "[stall]\nfull_percent = 3",
        "stall.full_percent: the daemon would wake up after 70 ms, too late for a stall of 60 ms"
        " (expected watch.tripwire_ms to be at most stall.full_percent of stall.window_ms)",
    ),
    (
        "[notifiers]\nchain_deadline_ms = 100",
        "notifiers.chain_deadline_ms: one notifier would get 200 ms, all of them together 100 ms"
        " (expected notifiers.deadline_ms to be at most notifiers.chain_deadline_ms)",
    ),
    (
        "[notifiers]\nchain_deadline_ms = 100\ndeadline_ms = 101",
        "notifiers.deadline_ms: one notifier would get 101 ms, all of them together 100 ms"
        " (expected notifiers.deadline_ms to be at most notifiers.chain_deadline_ms)",
    ),
]


@pytest.mark.parametrize(("toml", "error"), BAD, ids=[toml[:40] for toml, _ in BAD])
def test_bad_config(toml: str, error: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_from_mapping(tomllib.loads(toml), "FILE")
    assert str(caught.value) == f"FILE: {error}"
    assert caught.value.key in error or not caught.value.key.isprintable()


def test_no_config_is_the_defaults() -> None:
    assert settings_from_mapping({}) == Settings()


def test_what_is_set_is_in_force_and_nothing_else() -> None:
    settings = settings_from_mapping({"policy": "auto", "stall": {"full_percent": 40}})
    assert settings == Settings(policy="auto", stall=Settings().stall._replace(full_percent=40.0))
    assert type(settings.stall.full_percent) is float


def test_a_stall_is_switched_off_by_zero() -> None:
    assert settings_from_mapping({"stall": {"full_percent": 0}}).stall.full_percent == 0


@given(toml_documents())
def test_no_input_raises_anything_but_config_error(document: dict[str, Any]) -> None:
    try:
        settings = settings_from_mapping(document, "FILE")
    except ConfigError as error:
        text = str(error)
        assert text.startswith("FILE: ")
        assert text.isprintable() and len(text) < 500
    else:
        assert isinstance(settings, Settings)


def _fields(record: Any, prefix: str = "") -> list[str]:
    names: list[str] = []
    for name, value in record._asdict().items():
        nested = hasattr(value, "_asdict")
        names += _fields(value, f"{prefix}{name}.") if nested else [f"{prefix}{name}"]
    return names


def test_every_field_has_its_setting_in_the_same_order() -> None:
    # But for the one that no file sets.
    fields = [field for field in _fields(Settings()) if field not in (PLAN, RULES)]
    assert [setting.key for setting in SETTINGS] == fields


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_a_setting_is_documented_and_its_default_is_possible(setting: Any) -> None:
    assert setting.help.endswith(".") and setting.help[0].isupper()
    assert setting.help.count(". ") == 0, "one sentence"
    # The unit belongs into the name, as everywhere in this tree.
    suffix = {"%": "_percent", "MiB": "_mib", "ms": "_ms", "s": "_s", "MiB/s": "_mib_per_s"}
    assert setting.key.endswith(suffix.get(setting.unit, ""))
    table, _, name = setting.key.rpartition(".")
    mapping = {table: {name: setting.default}} if table else {name: setting.default}
    assert value_of(settings_from_mapping(mapping), setting.key) == setting.default


def test_choices_are_those_of_the_type() -> None:
    choices = {setting.key: setting.choices for setting in SETTINGS if setting.choices}
    assert choices == {
        "policy": get_args(PolicyName),
        "panic.panic_on_oom": get_args(PanicAction),
        "panic.none_killable": get_args(PanicAction),
        "notifiers.clients": get_args(ClientsAllowed),
    }
    assert Settings.__annotations__["policy"] is PolicyName


@pytest.mark.parametrize(
    "value", [True, False, 7, 2.5, 1e22, "", 'a"b\\c', "/ü\n\x1b", "\U0001f4a5"]
)
def test_toml_value_is_toml(value: SettingValue) -> None:
    assert tomllib.loads(f"x = {toml_value(value)}") == {"x": value}
    assert "\n" not in toml_value(value)


def test_the_sentinel_gets_its_settings_cheaply() -> None:
    heavy = "tomllib json dataclasses pathlib difflib argparse textwrap inspect ast tempfile"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import oomd.config, oomd.thresholds\n"
        f"print(*sorted(set({heavy.split()!r}) & set(sys.modules)))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(Path(oomd.__file__).parents[1])]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert loaded == "\n"
