"""What the sentinel says on stderr. A line must never make the guard wait: one that cannot be
written now is dropped and counted."""

import os
import stat

__all__ = ["ERR", "INFO", "NOTICE", "WARNING", "Log"]

# sd-daemon(3): the priorities, which journald takes from the head of a line.
ERR, WARNING, NOTICE, INFO = 3, 4, 5, 6


class Log:
    """Lines to a descriptor, with the journal's priority prefix when the journal reads it."""

    def __init__(self, fd: int = 2) -> None:
        self._fd = fd
        self.dropped = 0
        """Lines that nobody would take."""
        self._prefix = False
        try:
            stream = os.fstat(fd)
            # systemd.exec(5): the journal reads this stream, not one that was turned elsewhere.
            journal = os.environ.get("JOURNAL_STREAM", "")
            self._prefix = journal == f"{stream.st_dev}:{stream.st_ino}"
            if stat.S_ISSOCK(stream.st_mode) or stat.S_ISFIFO(stream.st_mode):
                # A journal that is full or stopped must not stop us with it.
                os.set_blocking(fd, False)
        except OSError:
            self._fd = -1

    def say(self, priority: int, text: str) -> None:
        """One line. Newlines and escape codes of ``text`` are its caller's to keep out."""
        line = f"<{priority}>{text}\n" if self._prefix else f"oomd: {text}\n"
        try:
            os.write(self._fd, line.encode("utf-8", "backslashreplace"))
        except OSError:
            self.dropped += 1
