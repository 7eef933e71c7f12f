"""The helper that takes the records from the daemon: to the journal, and into files.

Runs when the storm is over. Reads a JSON list of records from standard input; its arguments are how
many files are kept, and how many MiB of them. Neither way out depends on the other.
"""

import json
import os
import sys
import threading
from collections.abc import Sequence
from typing import Any

from oomd.config import one_line
from oomd.log import WARNING, Log
from oomd.tell.journal import tell_journal
from oomd.tell.record_files import Bounds, file_name, keep_records
from oomd.tell.series import with_series

__all__ = ["main"]

EXIT_OK, EXIT_NOT_TOLD = 0, 3

# A disk that hangs for longer takes the files with it, and not what the journal was told: within
# the time that a helper has.
FILES_S = 45.0

Record = dict[str, Any]


def _folder(bounds: Bounds) -> str:
    """Where decisions are kept; empty: nowhere."""
    # systemd's StateDirectory=. Run by hand, nothing is kept.
    state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
    return os.path.join(state, "decisions") if state and bounds.files and bounds.bytes else ""


class _Files(threading.Thread):
    """Writes the files, and says once what it could not do."""

    def __init__(self, folder: str, records: Sequence[Record], bounds: Bounds, log: Log) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._records = records
        self._bounds = bounds
        self._log = log

    def run(self) -> None:
        try:
            keep_records(self._folder, self._records, self._bounds)
        except OSError as error:
            self._warn(error.strerror or str(error))
        except Exception as error:
            self._warn(repr(error))

    def _warn(self, why: str) -> None:
        self._log.say(WARNING, one_line(f"decisions were not kept in {self._folder}: {why}"))

    def wait(self) -> None:
        self.join(FILES_S)
        if self.is_alive():
            self._warn(f"nothing was written within {FILES_S:g} s")


def main(argv: Sequence[str]) -> int:
    """Exit status 0: the journal was told, and the files are there or it was said why not."""
    log = Log()
    bounds = Bounds(int(argv[0]), int(argv[1]) << 20)
    records = with_series(json.load(sys.stdin))
    folder = _folder(bounds)
    files = None
    if folder:
        for record in records:
            if record["kind"] == "decision":
                record["file"] = os.path.join(folder, file_name(record))
        files = _Files(folder, records, bounds, log)
        files.start()
    status = EXIT_OK
    try:
        tell_journal(records)
    except Exception as error:
        log.say(WARNING, one_line(f"the journal was not told of decisions: {error!r}"))
        status = EXIT_NOT_TOLD
    if files is not None:
        files.wait()
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
