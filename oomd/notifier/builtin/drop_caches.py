"""``drop_caches``: has the kernel drop clean page cache, or dentries and inodes, or both."""

from typing import Final

from oomd.notifier import Answer, OomEvent
from oomd.notifier.builtin.releaser import Quiet, mem_free_bytes
from oomd.proc.root import Refused, WritableRoot

__all__ = ["DropCaches"]

_FILE: Final = "proc/sys/vm/drop_caches"

# Documentation/admin-guide/sysctl/vm.rst, drop_caches.
_MODES: Final = {"pagecache": b"1", "slab": b"2", "both": b"3"}


class DropCaches(Quiet):
    """``vm.drop_caches``. Dirty pages stay: no sync here, which could wait for a dead disk."""

    name = "drop_caches"

    def __init__(self, root: WritableRoot, *, mode: str) -> None:
        self._root = root
        self._data = _MODES[mode]

    def start(self) -> None:
        """Raises ReadError: there is no such file (a container), or no MemFree."""
        mem_free_bytes(self._root)
        if not self._root.exists(_FILE):
            raise Refused(_FILE, "is not there: this kernel, or this container, has none")

    def release(self, event: OomEvent) -> Answer:
        """Claims what MemFree and the per-CPU lists have grown by.

        MemAvailable hardly changes: it counts caches.
        """
        before_bytes = mem_free_bytes(self._root)
        self._root.write(_FILE, self._data)
        return max(0, mem_free_bytes(self._root) - before_bytes)
