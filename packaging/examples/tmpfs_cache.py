"""Empties a folder in /dev/shm or another tmpfs, oldest files first: what lies there is memory.

To use it, put it into /etc/oomd/notifiers.d/ (root's, writable by root alone), and into
/etc/oomd/oomd.toml:

    [notifiers.tmpfs-cache]
    folder = "/dev/shm/thumbnails"
"""

import os

from oomd.notifier import OomEvent, oom_notifier


@oom_notifier("tmpfs-cache", priority=10)
def release(event: OomEvent, *, folder: str, keep_files: int = 0) -> int:
    with os.scandir(folder) as entries:
        files = [one for one in entries if one.is_file(follow_symlinks=False)]
    files.sort(key=lambda one: one.stat(follow_symlinks=False).st_mtime)
    freed_bytes = 0
    for one in files[: max(0, len(files) - keep_files)]:
        if freed_bytes >= event.wanted_bytes:
            break
        freed_bytes += 512 * one.stat(follow_symlinks=False).st_blocks
        os.unlink(one.path)
    return freed_bytes
