"""What can go wrong when the kernel is asked: one family, one line of text each."""

__all__ = ["Gone", "ReadError", "Refused", "Unparsable"]


class ReadError(Exception):
    """A file could not be used. ``path`` is relative to the root, ``why`` a few words."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(path, why)
        self.path = path
        self.why = why

    def __str__(self) -> str:
        # A cgroup's name may hold a newline's worth of mischief: an error is one printable line.
        return f"{self.path}: {self.why}".encode("unicode_escape").decode("ascii")


class Gone(ReadError):
    """It is not there (any more): ENOENT, ESRCH, ENODEV or ENOTDIR; ``why`` is that name."""


class Refused(ReadError):
    """It is there and may not be read, or reading fails; ``why`` is the errno's name."""


class Unparsable(ReadError):
    """It was read and does not have the kernel's form: torn, or not what it claims to be."""
