"""What the sentinel says. A line must never make the guard wait: one that cannot be taken now is
dropped and counted.

Stderr is shared with the worker, its plugins and whatever they start: any of them may set it to
blocking, fill it, or shut it down. So we say nothing over that very stream where there is a way
of our own to whoever reads it.
"""

import os
import stat

# The C half of ``socket``: importing the other half costs the sentinel 400 kB of locked memory.
from _socket import AF_UNIX, MSG_DONTWAIT, MSG_NOSIGNAL, SOCK_CLOEXEC, SOCK_DGRAM, socket

from oomd.typed import Callable

__all__ = ["ERR", "INFO", "NOTICE", "WARNING", "Log", "place_of"]

# sd-daemon(3): the priorities, which journald takes from the head of a line.
ERR, WARNING, NOTICE, INFO = 3, 4, 5, 6

# systemd's native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): an entry in each datagram.
JOURNAL = "/run/systemd/journal/socket"


class Log:
    """Lines to stderr, or to the journal where it is the journal that reads stderr."""

    def __init__(self, fd: int = 2, journal: str = JOURNAL) -> None:
        self._fd = fd
        self.dropped = 0
        """Lines that nobody would take."""
        self._journal = journal
        self._datagrams: socket | None = None
        self._stream: socket | None = None
        self._prefix = False
        try:
            stream = os.fstat(fd)
        except OSError:
            self._fd = -1
            return
        # systemd.exec(5): the journal reads this stream, not one that was turned elsewhere.
        expected = os.environ.get("JOURNAL_STREAM", "")
        self._prefix = expected == f"{stream.st_dev}:{stream.st_ino}"
        if self._prefix and os.path.exists(journal):
            self._datagrams = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        self._write = self._writer(stream.st_mode)

    def _writer(self, mode: int) -> Callable[[bytes], object]:
        if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode):
            # For those who are started with it. Any of them may undo it.
            os.set_blocking(self._fd, False)
        if stat.S_ISSOCK(mode):
            self._stream = stream = socket(fileno=os.dup(self._fd))
            return lambda data: stream.send(data, MSG_DONTWAIT | MSG_NOSIGNAL)
        if stat.S_ISFIFO(mode):
            try:
                # Opened anew: whether it blocks is then ours alone.
                path = f"/proc/self/fd/{self._fd}"
                self._fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError:
                # Its reader has gone, or there is no /proc.
                pass
        return lambda data: os.write(self._fd, data)

    def say(self, priority: int, text: str, message_id: str = "") -> None:
        """One line. Newlines and escape codes of ``text`` are its caller's to keep out.

        ``message_id``: what has happened, for the journal; see :mod:`oomd.message_ids`.
        """
        try:
            if self._fd < 0:
                raise BlockingIOError
            if not self._enter(priority, text, message_id):
                line = f"<{priority}>{text}\n" if self._prefix else f"oomd: {text}\n"
                self._write(line.encode("utf-8", "backslashreplace"))
        except OSError:
            self.dropped += 1

    def _enter(self, priority: int, text: str, message_id: str) -> bool:
        """As an entry of the journal. False: there is no way to it but stderr.

        Raises BlockingIOError: it takes nothing more now.
        """
        if self._datagrams is None:
            return False
        entry = f"MESSAGE={text}\nPRIORITY={priority}\nSYSLOG_IDENTIFIER=oomd\n"
        if message_id:
            entry += f"MESSAGE_ID={message_id}\n"
        try:
            # By its name each time: the journal may have been restarted.
            data = entry.encode("utf-8", "backslashreplace")
            self._datagrams.sendto(data, MSG_DONTWAIT, self._journal)
        except BlockingIOError:
            raise
        except OSError:
            return False
        return True

    def close(self) -> None:
        """Give back what is ours: not stderr itself."""
        for one in (self._datagrams, self._stream):
            if one is not None:
                one.close()


def place_of(error: BaseException) -> str:
    """Where an error was raised: file and line."""
    # In a function of its own: a frame kept beside its error is a cycle, and nobody collects.
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    return f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where is not None else "?"
