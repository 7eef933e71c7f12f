"""What can go wrong when the kernel is asked: one family, one line of text each."""

__all__ = ["Gone", "ReadError", "Refused", "Unparsable", "is_short"]

# There is no descriptor, or no memory for one, whoever is asked for: no other would do better.
_SHORT_OF = ("EMFILE", "ENFILE", "ENOMEM")


def is_short(why: str) -> bool:
    """Of an errno's name, or words that end with one: it says nothing about what was asked."""
    return why.endswith(_SHORT_OF)


class ReadError(Exception):
    """A file could not be used. ``path`` is relative to the root, ``why`` a few words."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        # A cgroup's name may hold a newline's worth of mischief: an error is one printable line.
        # Not by a codec: Python would load its module now, and EMFILE may be what is to be said.
        return ascii(f"{self.path}: {self.why}")[1:-1]


class Gone(ReadError):
    """It is not there (any more): ENOENT, ESRCH, ENODEV or ENOTDIR; ``why`` is that name."""


class Refused(ReadError):
    """It is there and may not be read, or reading fails; ``why`` is the errno's name."""


class Unparsable(ReadError):
    """It was read and does not have the kernel's form: torn, or not what it claims to be."""
