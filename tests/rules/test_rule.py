"""The line by which rules reach the sentinel: there and back, and nothing but that."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.rules.glob import Glob
from oomd.rules.rule import ADJ_MAX, RULES_AT_MOST, UID_MAX, BadRules, Rule, parse_rules
from oomd.rules.rule import rules_as_text as as_text

_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
_globs = st.lists(_names.filter(lambda name: "[" not in name).map(Glob), max_size=3).map(tuple)
_uids = st.integers(0, UID_MAX)
_ranges = st.tuples(_uids, _uids).map(lambda pair: (min(pair), max(pair)))
_actions = st.tuples(st.integers(-ADJ_MAX, ADJ_MAX), st.just(False)) | st.just((0, True))


@st.composite
def rules(draw: st.DrawFn) -> Rule:
    """Any rule that a configuration can hold."""
    where = draw(_globs), draw(_globs), draw(_globs)
    return Rule(
        draw(_names),
        *draw(_actions),
        *where,
        draw(st.none() | st.lists(_ranges, max_size=2).map(tuple)),
    )


@given(st.lists(rules(), max_size=4).map(tuple))
def test_there_and_back(some: tuple[Rule, ...]) -> None:
    text = as_text(some)
    assert parse_rules(text) == some
    assert text.isascii() and text.isprintable()


def test_what_an_admin_finds_in_run() -> None:
    database = Rule("the database", never=True, units=(Glob("postgresql@*.service"),))
    builds = Rule("builds", 300, comms=(Glob("cc1*"), Glob("ld")), uids=((1000, 1999), (7, 7)))
    nobody = Rule("gone", -5, uids=())
    assert as_text((database, builds, nobody)) == (
        "name=the%20database never unit=postgresql%40*.service; "
        "name=builds adj=300 comm=cc1* comm=ld uid=1000-1999 uid=7-7; "
        "name=gone adj=-5 uid=1-0"
    )


@pytest.mark.parametrize(
    "text",
    [
        "never",
        "name=a never;",
        "name=a adj=x",
        "name=a adj=1001",
        "name=a adj=1 color=red",
        "name=a adj=1 comm=[",
        "name=a adj=1 comm=%zz",
        "name=a adj=1 uid=7",
        "name=a%",
        "name=é adj=1",
        "; ".join(["name=a never"] * (RULES_AT_MOST + 1)),
    ],
)
def test_what_nobody_has_made_is_refused(text: str) -> None:
    with pytest.raises(BadRules):
        parse_rules(text)
