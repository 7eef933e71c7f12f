"""The kernel's log, as raw records."""

import errno
import os
import re
import select
import time

__all__ = ["Kmsg"]

KMSG_RECORD_BYTES = 8192
PATIENCE_S = 120.0


class Kmsg:
    """Raw records of the kernel's log, from now on."""

    def __init__(self) -> None:
        self._fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        os.lseek(self._fd, 0, os.SEEK_END)
        self.records: list[str] = []

    def close(self) -> None:
        os.close(self._fd)

    def drain(self) -> None:
        """Take what is there."""
        while True:
            try:
                record = os.read(self._fd, KMSG_RECORD_BYTES)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.EPIPE:
                    raise
                self.records.append("lost")
                continue
            self.records.append(record.decode("utf-8", "surrogateescape").split("\n", 1)[0])

    def wait_for(self, pattern: str) -> bool:
        """Take records until one matches; False: none has for too long."""
        regex = re.compile(pattern)
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        deadline = time.monotonic() + PATIENCE_S
        looked = 0
        while True:
            self.drain()
            if any(regex.search(one) for one in self.records[looked:]):
                return True
            looked = len(self.records)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            poll.poll(left_s * 1000)
