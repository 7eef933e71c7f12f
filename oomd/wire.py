"""The messages between the guard, its worker, its plugins and its clients.

One JSON object in each datagram of a Unix SOCK_SEQPACKET socket, UTF-8, at most
:data:`MAX_BYTES` long. Whoever reads one trusts nothing about it: every function here raises
:class:`WireError` and nothing else.
"""

from oomd.plain_json import dumps, loads
from oomd.typed import Any, Final, Mapping

__all__ = [
    "API",
    "EXIT_IDLE",
    "FAULTS",
    "MAX_BYTES",
    "Message",
    "NAME_BYTES",
    "NOTIFIERS_MAX",
    "WireError",
    "decode",
    "encode",
    "integer",
    "is_name",
    "name",
    "text",
]

API: Final = 1
"""The version of the messages and of the plugin interface."""

MAX_BYTES: Final = 4096
"""A longer datagram is a fault of its sender's."""

NOTIFIERS_MAX: Final = 128
"""As many may be registered, and as many results has one chain."""

EXIT_IDLE: Final = 3
"""Exit status of a worker that nobody needs: start it again when somebody connects."""

FAULTS: Final = 3
"""After so many, nobody is asked any more: not a notifier, nor a worker that keeps ending."""

NAME_BYTES: Final = 64
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")

# What a number may be: it fits a C program's int64_t.
_LARGEST: Final = 2**63 - 1

Message = Mapping[str, Any]


class WireError(ValueError):
    """A message that cannot be used. ``str()`` is one line that says what is wrong with it."""


def encode(message: Message) -> bytes:
    """The datagram. Raises WireError if it would be too long or holds what JSON has no word for."""
    try:
        data = dumps(message).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise WireError(f"not a message: {error}") from None
    if len(data) > MAX_BYTES:
        raise WireError(f"a message of {len(data)} bytes (at most {MAX_BYTES})")
    return data


def decode(data: bytes) -> dict[str, Any]:
    """The message in a datagram: an object with an ``op``. Raises WireError."""
    if len(data) > MAX_BYTES:
        raise WireError(f"a message of more than {MAX_BYTES} bytes")
    try:
        message = loads(data)
    except (ValueError, RecursionError):
        # UnicodeDecodeError is a ValueError; so is an integer of 5,000 digits.
        raise WireError("a message that is not JSON") from None
    if not isinstance(message, dict):
        raise WireError("a message that is not a JSON object")
    if not isinstance(message.get("op"), str):
        raise WireError('a message without an "op"')
    return message


def integer(message: Message, key: str, low: int = 0, high: int = _LARGEST) -> int:
    """A whole number within bounds. Raises WireError."""
    value = message.get(key)
    # bool is an int to Python, and not to anybody else.
    if type(value) is not int:
        raise WireError(f'"{key}" is not a whole number')
    if not low <= value <= high:
        raise WireError(f'"{key}" is not from {low} to {high}')
    return value


def text(message: Message, key: str, limit: int = 500) -> str:
    """A printable string of at most ``limit`` characters; what cannot be printed is escaped.

    Raises WireError if it is no string or longer.
    """
    value = message.get(key)
    if not isinstance(value, str):
        raise WireError(f'"{key}" is not a string')
    if len(value) > limit:
        raise WireError(f'"{key}" is longer than {limit} characters')
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in value)


def name(message: Message, key: str = "name") -> str:
    """A notifier's name: letters, digits, ``_``, ``.`` and ``-``. Raises WireError."""
    value = text(message, key)
    if not is_name(value):
        raise WireError(
            f'"{key}" is not a name (1 to {NAME_BYTES} letters, digits, "_", "." or "-")'
        )
    return value


def is_name(value: str) -> bool:
    """Whether this can be a notifier's name."""
    return 0 < len(value) <= NAME_BYTES and _NAME.issuperset(value)
