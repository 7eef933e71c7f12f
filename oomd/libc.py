"""Functions of the C library, through the C half of ``ctypes``.

The other half makes a class for each type of C's, which the sentinel has no use for: 0.3 MB of
locked memory.
"""

from _ctypes import (
    FUNCFLAG_CDECL,
    FUNCFLAG_USE_ERRNO,
    CFuncPtr,
    _SimpleCData,
    dlopen,
    dlsym,
    get_errno,
)

__all__ = ["CInt", "CLong", "function", "get_errno"]


class CInt(_SimpleCData):  # type: ignore[type-arg]
    """``int``."""

    _type_ = "i"


class CLong(_SimpleCData):  # type: ignore[type-arg]
    """``long``."""

    _type_ = "l"


class _Function(CFuncPtr):
    # The interpreter lock is let go for the duration of a call (no FUNCFLAG_PYTHONAPI), so that
    # one that waits never stops another thread. get_errno() tells of the calls of its own thread.
    _flags_ = FUNCFLAG_CDECL | FUNCFLAG_USE_ERRNO


# Of the program itself, which has the C library in it.
_LIBC = dlopen(None, 0)  # type: ignore[arg-type]


def function(name: str, arguments: int, result: type[CInt | CLong] = CInt) -> _Function:
    """A function that takes so many integers (each a ``long``). Raises OSError: there is none."""
    made = _Function(dlsym(_LIBC, name))
    made.argtypes = (CLong,) * arguments
    made.restype = result
    return made
