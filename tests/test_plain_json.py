"""The sentinel's JSON against the standard library's: the same values, the same refusals."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oomd.plain_json import dumps, loads

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    SCALARS | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=12,
)


def refuse(word: str) -> Any:
    raise ValueError(word)


def theirs(text: str) -> Any:
    return json.loads(text, parse_constant=refuse)


@settings(deadline=None)
@given(VALUES)
def test_what_is_written_is_read_by_both(value: Any) -> None:
    text = dumps(value)
    assert text == json.dumps(value, separators=(",", ":"))
    assert loads(text) == theirs(text) == value
    assert (
        loads(
            json.dumps(value, indent=1, ensure_ascii=False)
            .encode("utf-8", "surrogatepass")
            .decode("utf-8", "surrogatepass")
        )
        == value
    )


# Pieces of JSON, so that what is tried is often nearly right.
PIECES = st.sampled_from(
    [*'{}[],:" \t\n\r\\/-+.eE019aut', "\\u", "\\ud83d", "\\udca5", "00e9", "true", "null", "NaN"]
    + ["Infinity", '"a"', '{"op":', "1.5", "1e3", "-0", "\x00", "\x1f", "\x7f", "é", "\u2028", "٣"]
)


@settings(deadline=None)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_both_refuse_the_same(text: str) -> None:
    try:
        expected = theirs(text)
    except ValueError:
        with pytest.raises(ValueError):
            loads(text)
    else:
        assert repr(loads(text)) == repr(expected)


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_any_bytes_are_a_value_or_a_refusal(data: bytes) -> None:
    try:
        value = loads(data)
    except ValueError:
        return
    assert repr(value) == repr(theirs(data.decode()))


@pytest.mark.parametrize(
    "text", ["[" * 40 + "]" * 40, '{"a":' * 4000, "9" * 5000, "[1e" + "9" * 4301]
)
def test_what_would_take_too_much_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        loads(text)


@pytest.mark.parametrize("value", [{1: 2}, object(), b"bytes", {"a": {3}}])
def test_what_json_has_no_word_for(value: Any) -> None:
    with pytest.raises(TypeError):
        dumps(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [-float("inf")]])
def test_a_number_that_is_none(value: Any) -> None:
    with pytest.raises(ValueError):
        dumps(value)
