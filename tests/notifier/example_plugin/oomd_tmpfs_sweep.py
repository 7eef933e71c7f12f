"""An oomd plugin: deletes the oldest files of folders in a tmpfs until enough memory is back.

[notifiers.tmpfs-sweep]
folders = ["/dev/shm/thumbnails", "/run/renderer/cache"]
keep_mib = 16
"""

import os
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from oomd.notifier import NOTIFY_STOP, OomEvent, oom_notifier

__all__ = ["release"]


class File(NamedTuple):
    """A file that may go."""

    used: float
    size_bytes: int
    """What it takes, not what it says: a sparse file is smaller."""
    path: str


def _files(folder: str, pattern: str) -> Iterator[File]:
    try:
        with os.scandir(folder) as entries:
            found = list(entries)
    except FileNotFoundError:
        return
    for entry in found:
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry.path, pattern)
        elif entry.is_file(follow_symlinks=False) and fnmatchcase(entry.name, pattern):
            status = entry.stat(follow_symlinks=False)
            yield File(status.st_mtime, 512 * status.st_blocks, entry.path)


@oom_notifier("tmpfs-sweep", priority=20)
def release(
    event: OomEvent,
    *,
    folders: list[str],
    pattern: str = "*",
    keep_mib: int = 0,
    min_age_s: float = 0.0,
    last_word: bool = False,
) -> int | NOTIFY_STOP:
    """Delete files, the oldest first.

    ``keep_mib`` of the youngest stay, as do files younger than ``min_age_s`` seconds and those
    whose names do not match ``pattern``. ``last_word``: if that was enough, nobody else is asked.
    """
    files = sorted(file for folder in folders for file in _files(folder, pattern))
    spare_bytes = sum(file.size_bytes for file in files) - (keep_mib << 20)
    youngest = time.time() - min_age_s
    freed_bytes = 0
    for file in files:
        enough = freed_bytes >= event.wanted_bytes
        # An answer that comes after the deadline is a fault, whatever was freed.
        late = time.monotonic() > event.deadline - 0.02
        if enough or late or file.used > youngest or freed_bytes + file.size_bytes > spare_bytes:
            break
        os.unlink(file.path)
        freed_bytes += file.size_bytes
    if last_word and freed_bytes >= event.wanted_bytes:
        return NOTIFY_STOP(freed_bytes)
    return freed_bytes
