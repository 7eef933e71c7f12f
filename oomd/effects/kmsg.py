"""The kernel's log, for the few lines that belong beside its own: ``/dev/kmsg``."""

from collections.abc import Iterable

from oomd.proc.root import ReadError, WritableRoot

__all__ = ["KERN_ERR", "KERN_WARNING", "KmsgWriter", "one_line"]

# include/linux/kern_levels.h; mm/oom_kill.c says most of its words at KERN_ERR.
KERN_ERR = 3
KERN_WARNING = 4

_LINES_A_KILL = 6

# EINVAL above LOG_LINE_MAX, 992 bytes on 3.10; the prefix and a newline are counted.
_LINE_BYTES = 960


def _escaped(char: str) -> str:
    # An undecodable byte is a surrogate of U+DC80 to U+DCFF; no other has a byte to show.
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", errors))


def one_line(text: str) -> str:
    r"""``text`` with all that a terminal would obey as ``\xNN``, one for each byte.

    Control characters, newlines, ESC, direction marks, bytes that are not UTF-8: any process
    may put them into its comm. Printable characters of any language stay. Text that was made
    safe before stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _line(level: int, text: str) -> bytes:
    # Cut to what the kernel takes, never in the middle of a character.
    body = one_line(text).encode()[:_LINE_BYTES].decode("utf-8", "ignore")
    return f"<{level}>{body}\n".encode()


class KmsgWriter:
    """Writes after a kill what log watchers look for. Failures are counted, never raised."""

    __slots__ = ("_root", "failed")

    def __init__(self, root: WritableRoot):
        self._root = root
        self.failed = 0
        """Lines that could not be written."""

    def write(self, lines: Iterable[str], level: int = KERN_ERR) -> int:
        """Write the first six lines of one kill, one write(2) each; how many were taken.

        The file is opened anew for each line: the kernel counts its rate limit (10 lines in
        5 s, silently) for each open file, and ``Killed process`` must not fall under it, as it
        does not in mm/oom_kill.c.
        """
        written = 0
        for line, _ in zip(lines, range(_LINES_A_KILL), strict=False):
            try:
                self._root.write("dev/kmsg", _line(level, line))
                written += 1
            except ReadError:
                self.failed += 1
        return written
