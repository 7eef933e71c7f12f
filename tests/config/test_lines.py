"""The plain lines by which a helper hands the settings to the sentinel."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.config import ConfigError, from_lines, to_lines
from oomd.settings import Settings
from tests.config.strategies import all_settings

DEFAULTS = to_lines(Settings())
LINES = DEFAULTS.split("\n")
PLAN = LINES.index("notifiers.plan=") + 1
TOP = LINES.index("log.top=10") + 1


@given(all_settings())
def test_round_trip(settings: Settings) -> None:
    assert from_lines(to_lines(settings)) == settings


@given(all_settings(), st.data())
def test_what_was_cut_short_does_not_pass(settings: Settings, data: st.DataObject) -> None:
    lines = to_lines(settings)
    cut = data.draw(st.integers(0, len(lines) - 1))
    with pytest.raises(ConfigError):
        from_lines(lines[:cut])


@given(st.one_of(st.text(), st.text().map(lambda text: DEFAULTS.replace("70", text))))
def test_no_input_raises_anything_but_config_error(text: str) -> None:
    try:
        from_lines(text)
    except ConfigError as error:
        assert str(error).isprintable()


BAD = [
    ("rules=\n", "", "settings: rules: is missing (expected every setting)"),
    (
        "rules=\n",
        "rules=name=a sometimes\n",
        f"settings:{LINES.index('rules=') + 1}: rules: rules that cannot be read: has a word that"
        " is not known",
    ),
    (
        "watch.tripwire_ms=70\n",
        "",
        "settings: watch.tripwire_ms: is missing (expected every setting)",
    ),
    (LINES[-2] + "\n", LINES[-2], f"settings:{len(LINES) - 1}: the last line is cut short"),
    ("log.top=10\n", "log.top=10\nlog.top=10\n", f"settings:{TOP + 1}: log.top: is there twice"),
    (
        "log.top=10\n",
        "log.bottom=10\n",
        f"settings:{TOP}: log.bottom: unknown key (expected oomd of one version: restart it)",
    ),
    ("el7", "el7\n", "settings:2: no key=value (expected oomd of one version: restart it)"),
    (
        "log.top=10",
        "log.top=1e1",
        f'settings:{TOP}: log.top: "1e1" is a string (expected an integer from 0 to 100)',
    ),
    (
        "mrelease=true",
        "mrelease=1",
        'settings:17: kill.process_mrelease: "1" is a string (expected true or false)',
    ),
    (
        "exhaustion.swap_free_percent=10.0",
        "exhaustion.swap_free_percent=nan",
        "settings:4: exhaustion.swap_free_percent: nan is out of range"
        " (expected a number from 0.1 to 100 %)",
    ),
    (
        "notifiers.plan=\n",
        "",
        "settings: notifiers.plan: is missing (expected every setting)",
    ),
    (
        "notifiers.plan=\n",
        "notifiers.plan={}\nnotifiers.plan={}\n",
        f"settings:{PLAN + 1}: notifiers.plan: is there twice",
    ),
    (
        "notifiers.plan=\n",
        'notifiers.plan={"é": 1}\n',
        f"settings:{PLAN}: notifiers.plan: is no plan (expected ASCII, at most 256 KiB)",
    ),
    (
        "notifiers.plan=\n",
        f"notifiers.plan={'x' * (256 * 1024 + 1)}\n",
        f"settings:{PLAN}: notifiers.plan: is no plan (expected ASCII, at most 256 KiB)",
    ),
    (
        "watch.tripwire_ms=70",
        "watch.tripwire_ms=5000",
        "settings: watch.tripwire_ms: a tripwire of 5000 ms does not fit into a window of 2000 ms"
        " (expected watch.tripwire_ms to be at most stall.window_ms)",
    ),
]


@pytest.mark.parametrize(("good", "bad", "error"), BAD, ids=[error for _, _, error in BAD])
def test_bad_lines(good: str, bad: str, error: str) -> None:
    assert DEFAULTS.count(good) == 1
    with pytest.raises(ConfigError) as caught:
        from_lines(DEFAULTS.replace(good, bad))
    assert str(caught.value) == error
