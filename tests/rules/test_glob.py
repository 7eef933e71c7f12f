"""Shell patterns: as :mod:`fnmatch` has them, and in bounded time."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.rules.glob import BadGlob, Glob

_LETTERS = "ab/\n.é\udcff"
texts = st.text(st.sampled_from(_LETTERS), max_size=12)
_parts = st.sampled_from(["*", "?", "a", "b", "/", "\n", "é", "\udcff", "[ab]", "[!ab]", "[a-c]"])
patterns = st.lists(_parts, max_size=8).map("".join)


@given(patterns, texts)
def test_matches_what_fnmatch_does(pattern: str, text: str) -> None:
    assert Glob(pattern).matches(text) == fnmatch.fnmatchcase(text, pattern)


@given(st.lists(_parts, max_size=8), st.data())
def test_matches_what_it_was_made_of(parts: list[str], data: st.DataObject) -> None:
    """Each star becomes any text, each question mark any character."""
    made = {"*": texts, "?": texts.filter(lambda text: len(text) == 1), "[ab]": st.just("b")}
    made |= {"[!ab]": st.just("\n"), "[a-c]": st.just("c")}
    text = "".join(data.draw(made[part]) if part in made else part for part in parts)
    glob = Glob("".join(parts))
    assert glob.matches(text)
    assert len(text) >= glob.shortest
    assert glob.has_stars or len(text) == glob.shortest


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("sshd", ["sshd"], ["sshd2", "xsshd", "SSHD", ""]),
        ("chrom*", ["chrome", "chrom"], ["achrome"]),
        ("*.slice", ["user.slice", ".slice"], ["user.slices"]),
        ("/a/*/c", ["/a/b/c", "/a/b/b/c"], ["/a/c"]),
        ("", [""], ["a"]),
        ("[]]", ["]"], ["", "[", "]]"]),
        ("[!]]", ["a"], ["]"]),
        ("[a-]", ["a", "-"], ["b"]),
        ("[[]x", ["[x"], ["x"]),
        (r"a\x2db", [r"a\x2db"], ["a-b"]),
        ("ab*ab", ["abab", "ab-ab"], ["ab", "aba"]),
    ],
)
def test_by_hand(pattern: str, yes: list[str], no: list[str]) -> None:
    assert [text for text in yes + no if Glob(pattern).matches(text)] == yes


@pytest.mark.parametrize("pattern", ["[", "a[bc", "[]", "[!]", "[a-z", "*["])
def test_a_bracket_that_is_not_closed(pattern: str) -> None:
    with pytest.raises(BadGlob, match=r"a \[ without its \]"):
        Glob(pattern)


def test_no_pattern_takes_exponential_time() -> None:
    """Fails by never ending: a matcher that goes back over its stars takes 10^20 steps."""
    assert not Glob("*a" * 40 + "b").matches("a" * 4000)
    assert not Glob("*?a[!x]" * 30 + "b").matches("a" * 4000)
