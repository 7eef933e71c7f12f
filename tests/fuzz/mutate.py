"""Good samples made bad: flipped, cut, doubled, stretched, and fed with hostile words."""

from collections.abc import Callable
from typing import Final

from hypothesis import strategies as st

from tests.fuzz.target import Target, seeds

__all__ = ["HOSTILE", "inputs"]

HOSTILE: Final = (
    *(b"0", b"-1", b"-0", b"+1", b"1_0", b"00", b"1e9", b"0x10", b"1e400", b"nan", b"-inf"),
    *(b"4294967296", b"-2147483649", b"9223372036854775808", b"18446744073709551616"),
    *(b"9" * 40, b"9" * 400, b"9" * 4299, b"9" * 4301, b"-" + b"9" * 4299, b"f" * 5000),
    *(
        b"\0",
        b"\n",
        b"\r",
        b"\r\n",
        b"\t",
        b"\x0b",
        b"\x1c",
        b"\x85",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
    ),
    *("²".encode(), "٣".encode(), "\u2028".encode(), "\ufeff".encode(), "😀".encode()),
    *(b"\x1b[31m", b"\\", b"%s%n", b"{}", b"../../etc", b"a" * 300, b"a " * 300),
    *(b"[" * 3000, b'{"a":' * 3000, b"(" * 300, b" " * 5000, b"\n" * 2000, b"x" * 20_000),
)
"""Numbers that are none, or too large for anybody; bytes that are no text; what is deep or long."""

_Edit = tuple[str, int, int, bytes]


def _numbers(data: bytearray) -> list[tuple[int, int]]:
    """Where each run of digits begins and ends."""
    spans: list[tuple[int, int]] = []
    for at, byte in enumerate(data):
        if 0x30 <= byte <= 0x39:
            if spans and spans[-1][1] == at:
                spans[-1] = spans[-1][0], at + 1
            else:
                spans.append((at, at + 1))
    return spans


def _replace_number(data: bytearray, at: int, length: int, token: bytes) -> None:
    if spans := _numbers(data):
        begin, end = spans[at % len(spans)]
        data[begin:end] = token


def _flip(data: bytearray, at: int, length: int, token: bytes) -> None:
    if data:
        data[at % len(data)] ^= 1 << length % 8


def _drop(data: bytearray, at: int, length: int, token: bytes) -> None:
    at %= len(data) + 1
    del data[at : at + length]


def _cut(data: bytearray, at: int, length: int, token: bytes) -> None:
    del data[at % (len(data) + 1) :]


def _double(data: bytearray, at: int, length: int, token: bytes) -> None:
    at %= len(data) + 1
    data[at:at] = data[at : at + length]


def _insert(data: bytearray, at: int, length: int, token: bytes) -> None:
    at %= len(data) + 1
    data[at:at] = token


def _stutter(data: bytearray, at: int, length: int, token: bytes) -> None:
    at %= len(data) + 1
    data[at:at] = token[:64] * length


def _move_line(data: bytearray, at: int, length: int, token: bytes) -> None:
    lines = data.split(b"\n")
    lines.insert(length % (len(lines) + 1), lines.pop(at % len(lines)))
    data[:] = b"\n".join(lines)


_EDITS: Final[dict[str, Callable[[bytearray, int, int, bytes], None]]] = {
    edit.__name__: edit
    for edit in (
        _replace_number,
        _insert,
        _flip,
        _drop,
        _cut,
        _double,
        _stutter,
        _move_line,
    )
}


def _apply(seed: bytes, edits: list[_Edit]) -> bytes:
    data = bytearray(seed)
    for name, at, length, token in edits:
        _EDITS[name](data, at, length, token)
    return bytes(data)


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Its samples with a few edits each; and bytes out of nowhere."""
    tokens = st.sampled_from((*target.tokens, *HOSTILE))
    edits = st.tuples(
        st.sampled_from(sorted(_EDITS)), st.integers(0, 1 << 16), st.integers(0, 200), tokens
    )
    edited = st.builds(_apply, st.sampled_from(seeds(target)), st.lists(edits, max_size=6))
    nonsense = st.lists(tokens | st.binary(max_size=8), max_size=12).map(b"".join)
    return st.one_of(edited, edited, edited, nonsense)
