"""How a bad configuration is said: the error, where it stands, and values as TOML has them."""

from oomd.setting import SettingValue
from oomd.typed import Mapping, NamedTuple

__all__ = [
    "DEFAULT",
    "ConfigError",
    "Origin",
    "kind_of",
    "one_line",
    "shown",
    "toml_value",
]


def one_line(text: str) -> str:
    """Escapes what must not reach a terminal or a log: control characters, surrogates."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class ConfigError(Exception):
    """A config that cannot be used. ``str()`` is one line that says where, what, and why."""

    def __init__(
        self, file: str, line: int | None, key: str, problem: str, expected: str = ""
    ) -> None:
        self.file = file
        self.line = line
        """Counted from 1. None: not known."""
        self.key = key
        """Dotted. Empty: the fault is with the file as a whole."""
        self.problem = problem
        self.expected = expected
        where = file if line is None else f"{file}:{line}"
        text = ": ".join(part for part in (where, key, problem) if part)
        if expected:
            text += f" (expected {expected})"
        # A file name or a quoted key may hold anything.
        super().__init__(one_line(text))


class Origin(NamedTuple):
    """Where a value comes from."""

    file: str = ""
    """Empty: nowhere, it is the default."""
    line: int | None = None

    def __str__(self) -> str:
        if not self.file:
            return "default"
        return self.file if self.line is None else f"{self.file}:{self.line}"


DEFAULT = Origin()


def toml_value(value: SettingValue | tuple[str, ...]) -> str:
    """As TOML has it, on one line."""
    if isinstance(value, tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + "".join(c if c.isprintable() else f"\\U{ord(c):08X}" for c in quoted) + '"'
    return repr(value)


def kind_of(value: object) -> str:
    """What a TOML value is, with its article. bool first: it is an int to Python."""
    kinds = ((bool, "a boolean"), (int, "an integer"), (float, "a number"), (str, "a string"))
    for type_, name in (*kinds, (Mapping, "a table"), (list, "an array")):
        if isinstance(value, type_):
            return name
    return "a date or time"


def shown(value: SettingValue) -> str:
    """A value for an error: short, and never one that Python refuses to print."""
    if isinstance(value, int) and abs(value) >= 2**63:
        # str() of an integer of more than 4300 digits raises ValueError.
        return "an integer beyond 64 bits"
    if isinstance(value, str) and len(value) > 60:
        return toml_value(value[:57] + "...")
    return toml_value(value)
