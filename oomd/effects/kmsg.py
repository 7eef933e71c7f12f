"""The kernel's log, for the few lines that belong beside its own: ``/dev/kmsg``."""

from oomd.effects import doors
from oomd.proc.root import ReadError, WritableRoot
from oomd.report.kernel_log import printable
from oomd.typed import Iterable

__all__ = ["KERN_EMERG", "KERN_ERR", "KERN_WARNING", "KmsgWriter", "kmsg_line"]

# include/linux/kern_levels.h; mm/oom_kill.c says most of its words at KERN_ERR.
KERN_EMERG = 0
KERN_ERR = 3
KERN_WARNING = 4

_LINES_A_KILL = 6

# EINVAL above LOG_LINE_MAX, 992 bytes on 3.10; the prefix and a newline are counted.
_LINE_BYTES = 960


def kmsg_line(level: int, text: str) -> bytes:
    """One record for ``/dev/kmsg``: no newline, ESC or other control character inside.

    A line whose comms were made safe when it was built stays as it is.
    """
    body = text if text.isprintable() else printable(text)
    # Cut to what the kernel takes, never in the middle of a character.
    body = body.encode()[:_LINE_BYTES].decode("utf-8", "ignore")
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
                doors.write(self._root, doors.KMSG, kmsg_line(level, line))
                written += 1
            except ReadError:
                self.failed += 1
        return written
