"""JSON for the sentinel, in place of ``json``, which loads ``re``: 0.4 MB of locked memory.

RFC 8259 to the letter: NaN is refused, and so is what follows the value. What is read may come
from anybody.
"""

from oomd.typed import Any, Final

__all__ = ["dumps", "loads"]

# Deeper than any message or record of ours, and far from the interpreter's own limit.
_DEPTH: Final = 32
_SPACE: Final = " \t\n\r"
_DIGITS: Final = "0123456789"
_WORDS: Final = {"true": True, "false": False, "null": None}
_ESCAPES: Final = {
    '"': '"',
    "\\": "\\",
    "/": "/",
    "b": "\b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
}
_SHORT: Final = {character: name for name, character in _ESCAPES.items() if name != "/"}
# A number of more digits than this, int() refuses.
_NUMBER: Final = 4300


def _escaped(character: str) -> str:
    code = ord(character)
    if character in _SHORT:
        return f"\\{_SHORT[character]}"
    if 0x20 <= code < 0x7F:
        return character
    if code < 0x10000:
        return f"\\u{code:04x}"
    # UTF-16: two surrogates.
    code -= 0x10000
    return f"\\u{0xD800 | code >> 10:04x}\\u{0xDC00 | code & 0x3FF:04x}"


def _string(text: str) -> str:
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(map(_escaped, text))}"'


def _number(value: float) -> str:
    if value - value != 0:
        raise ValueError("JSON has no word for a number that is not finite")
    return float.__repr__(value)


def dumps(value: Any) -> str:
    """``value`` on one line of ASCII, without spaces.

    Dicts whose keys are strings, lists, tuples, strings, numbers, true, false and null. Raises
    TypeError for anything else, ValueError for a number that is not finite.
    """
    if isinstance(value, str):
        return _string(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, list | tuple):
        return f"[{','.join(map(dumps, value))}]"
    if isinstance(value, dict):
        members = []
        for key, one in value.items():
            if not isinstance(key, str):
                raise TypeError(f"a key is {type(key).__name__}, not a string")
            members.append(f"{_string(key)}:{dumps(one)}")
        return f"{{{','.join(members)}}}"
    raise TypeError(f"JSON has no word for {type(value).__name__}")


class _Reader:
    """Where in the text we are. Each method raises ValueError at what is no JSON."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def _wrong(self) -> ValueError:
        return ValueError(f"not JSON at character {self._at}")

    def _peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while (one := self._text[self._at : self._at + 1]) and one in _SPACE:
            self._at += 1
        return one

    def _take(self, expected: str) -> None:
        if self._peek() != expected:
            raise self._wrong()
        self._at += 1

    def whole(self) -> Any:
        value = self._value(_DEPTH)
        if self._peek():
            raise self._wrong()
        return value

    def _value(self, depth: int) -> Any:
        first = self._peek()
        if not depth or not first:
            raise self._wrong()
        if first == "{":
            return self._object(depth - 1)
        if first == "[":
            return self._array(depth - 1)
        if first == '"':
            return self._quoted()
        if first == "-" or first in _DIGITS:
            return self._numeral()
        for word, value in _WORDS.items():
            if self._text.startswith(word, self._at):
                self._at += len(word)
                return value
        raise self._wrong()

    def _object(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        self._take("{")
        if self._peek() == "}":
            self._at += 1
            return members
        while True:
            self._peek()
            key = self._quoted()
            self._take(":")
            members[key] = self._value(depth)
            if self._peek() != ",":
                self._take("}")
                return members
            self._at += 1

    def _array(self, depth: int) -> list[Any]:
        elements: list[Any] = []
        self._take("[")
        if self._peek() == "]":
            self._at += 1
            return elements
        while True:
            elements.append(self._value(depth))
            if self._peek() != ",":
                self._take("]")
                return elements
            self._at += 1

    def _quoted(self) -> str:
        text = self._text
        if text[self._at : self._at + 1] != '"':
            raise self._wrong()
        parts: list[str] = []
        self._at += 1
        while True:
            end = text.find('"', self._at)
            part = text[self._at : end]
            escape = part.find("\\")
            if escape >= 0:
                part = part[:escape]
            if end < 0 or (not part.isprintable() and min(part) < " "):
                raise self._wrong()
            parts.append(part)
            if escape < 0:
                self._at = end + 1
                return "".join(parts)
            self._at += escape
            parts.append(self._escape())

    def _escape(self) -> str:
        one = self._text[self._at + 1 : self._at + 2]
        if one != "u":
            if one not in _ESCAPES:
                raise self._wrong()
            self._at += 2
            return _ESCAPES[one]
        high = self._unit()
        if 0xD800 <= high < 0xDC00 and self._text.startswith("\\u", self._at):
            back = self._at
            low = self._unit()
            if 0xDC00 <= low < 0xE000:
                return chr(0x10000 + ((high & 0x3FF) << 10 | low & 0x3FF))
            self._at = back
        return chr(high)

    def _unit(self) -> int:
        digits = self._text[self._at + 2 : self._at + 6]
        if len(digits) != 4 or digits.strip("0123456789abcdefABCDEF"):
            raise self._wrong()
        self._at += 6
        return int(digits, 16)

    def _digits(self) -> str:
        begin = self._at
        while (one := self._text[self._at : self._at + 1]) and one in _DIGITS:
            self._at += 1
        if begin == self._at or self._at - begin > _NUMBER:
            raise self._wrong()
        return self._text[begin : self._at]

    def _numeral(self) -> int | float:
        begin = self._at
        if self._text[self._at] == "-":
            self._at += 1
        whole = self._digits()
        if whole[0] == "0" and len(whole) > 1:
            raise self._wrong()
        kind: type[int] | type[float] = int
        if self._text[self._at : self._at + 1] == ".":
            self._at += 1
            self._digits()
            kind = float
        if (one := self._text[self._at : self._at + 1]) and one in "eE":
            self._at += 1
            if (one := self._text[self._at : self._at + 1]) and one in "+-":
                self._at += 1
            self._digits()
            kind = float
        return kind(self._text[begin : self._at])


def loads(data: bytes | str) -> Any:
    """The value in UTF-8 bytes or a string. Raises ValueError for everything else."""
    return _Reader(data if isinstance(data, str) else data.decode()).whole()
