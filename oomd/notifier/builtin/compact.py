"""``compact``: makes the pools of compressed swap denser, and free memory less scattered."""

from collections.abc import Iterator
from typing import Final

from oomd.notifier import Answer, OomEvent
from oomd.notifier.builtin.releaser import Quiet
from oomd.proc.root import Gone, ReadError, Unparsable, WritableRoot

__all__ = ["Compact"]

_BLOCK: Final = "sys/block"
_COMPACT_MEMORY: Final = "proc/sys/vm/compact_memory"


def parse_mem_used_total(path: str, data: bytes) -> int:
    """The third number of zram's ``mm_stat``: the bytes that its pool takes. Raises Unparsable."""
    words = data.split()
    if len(words) < 3 or not words[2].isdigit():
        raise Unparsable(path, "has no mem_used_total")
    # More than 19 digits is no count of anything (and int() balks at 4,300).
    return int(words[2][:19])


class Compact(Quiet):
    """zsmalloc's compaction, and ``vm.compact_memory``."""

    name = "compact"

    def __init__(self, root: WritableRoot, *, zram: bool, memory: bool) -> None:
        self._root = root
        self._zram = zram
        self._memory = memory

    def start(self) -> None:
        """Raises ReadError: all of memory is to be compacted, and the kernel cannot."""
        if self._memory and not self._root.exists(_COMPACT_MEMORY):
            raise Gone(_COMPACT_MEMORY, "is not there: the kernel lacks CONFIG_COMPACTION")

    def _devices(self) -> Iterator[str]:
        """zram devices that hold something. Looked up anew each time: they come and go."""
        for name in self._root.listdir(_BLOCK):
            path = f"{_BLOCK}/{name}"
            try:
                if name.startswith("zram") and self._root.read(f"{path}/initstate").strip() == b"1":
                    yield path
            except ReadError:
                # Removed a moment ago.
                continue

    def _mem_used_total(self, device: str) -> int:
        path = f"{device}/mm_stat"
        return parse_mem_used_total(path, self._root.read(path))

    def release(self, event: OomEvent) -> Answer:
        """Claims what the pools have shrunk by. Raises ReadError: not one could be compacted."""
        freed_bytes, error = 0, None
        for device in self._devices() if self._zram else ():
            try:
                before_bytes = self._mem_used_total(device)
                self._root.write(f"{device}/compact", b"1")
                freed_bytes += max(0, before_bytes - self._mem_used_total(device))
            except Gone:
                continue
            except ReadError as failed:
                error = failed
        if self._memory:
            self._root.write(_COMPACT_MEMORY, b"1")
        if error is not None and not freed_bytes:
            raise error
        return freed_bytes
