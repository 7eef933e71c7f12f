"""Keeps what is to be told until the storm is over, then has a helper tell the journal and write
the decisions' files."""

import errno
import os

from oomd.helpers import Helpers
from oomd.lean import deque
from oomd.log import WARNING, Log
from oomd.plain_json import dumps
from oomd.report.record import Record
from oomd.settings import RecordSettings
from oomd.typed import Callable

__all__ = ["Teller"]

# What a long storm may pile up; the oldest go first.
RECORDS_KEPT = 64
# A helper that could not be started, or failed, is tried again after this.
RETRY_MS = 1000
TRIES = 3
# And when that was of no use, but may be some time: it was killed, or there was no process to have.
LATER_MS = 60_000


class Teller:
    """A fixed ring of records, and at most one helper that takes them."""

    def __init__(self, helpers: Helpers, log: Log) -> None:
        self._helpers = helpers
        self._log = log
        self._ring: deque[Record] = deque()
        self._told: list[Record] = []
        self._helper_pid = 0
        self._next_ms = 0
        self._tries = 0
        self._count = 0
        self.kept = RecordSettings()
        """How many of the decisions become files."""
        self.series: Callable[[], Record] | None = None
        """What memory was like of late, to be told with decisions."""
        self.lost = 0
        """Records that fell out of the ring."""

    def tell(self, record: Record) -> None:
        """Keep a record. Never waits."""
        # Its file has the same name each time it is written.
        self._count += 1
        record["seq"] = self._count
        self._ring.append(record)
        self._make_room()

    def _make_room(self) -> None:
        # What was only waited for or left alone goes first, kills last; the oldest of each.
        while len(self._ring) > RECORDS_KEPT:
            self.lost += 1
            for number, record in enumerate(self._ring):
                if record.get("verdict") != "kill":
                    del self._ring[number]
                    break
            else:
                self._ring.popleft()

    def _series(self) -> tuple[Record, ...]:
        decided = any(record["kind"] == "decision" for record in self._ring)
        return (self.series(),) if decided and self.series is not None else ()

    def flush(self, now_ms: int, *, calm: bool) -> None:
        """Start the helper once the storm is over: it takes more memory than there may be."""
        if not calm or not self._ring or self._helper_pid or now_ms < self._next_ms:
            return
        self._next_ms = now_ms + RETRY_MS
        try:
            # A file in memory and not a pipe: it takes any amount without a reader.
            fd = os.memfd_create("oomd-records")
        except OSError:
            return
        try:
            data = dumps([*self._ring, *self._series()]).encode()
            if os.write(fd, data) < len(data):
                raise OSError(errno.ENOSPC, "no memory for the records")
            os.lseek(fd, 0, os.SEEK_SET)
            kept = map(str, self.kept)
            self._helper_pid = self._helpers.start("oomd.tell.helper", *kept, stdin=fd)
            self._told = list(self._ring)
            self._ring.clear()
        except OSError:
            self._failed(hopeless=False)
        finally:
            os.close(fd)

    @property
    def done(self) -> bool:
        """Everything was told."""
        return not self._ring and not self._helper_pid

    def hurry(self) -> None:
        """We are about to stop: try again at once."""
        self._next_ms = 0

    def ended(self, pid: int, exit_code: int) -> None:
        """A helper has ended; if it was ours and failed, its records are told again."""
        if pid != self._helper_pid:
            return
        self._helper_pid = 0
        told, self._told = self._told, []
        if exit_code == 0:
            self._tries = 0
            return
        self._ring.extendleft(reversed(told))
        self._make_room()
        self._failed(hopeless=exit_code > 0)

    def _failed(self, *, hopeless: bool) -> None:
        self._tries += 1
        if self._tries < TRIES:
            return
        # No helper can be had: the bare lines, on the log that is left.
        self._tries = 0
        for record in self._ring:
            # The kernel's lines, and what came of a decision without a kill, were said at once.
            if "text" in record and "said" not in record:
                self._log.say(WARNING, record["text"])
                record["said"] = True
        if hopeless:
            # It came to its own end: it has written the files, and has no journal to tell.
            self._ring.clear()
        else:
            self._next_ms += LATER_MS
