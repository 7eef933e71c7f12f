#!/usr/bin/env python3
"""A cache that gives memory back when oomd asks for it.

    python3 cache.py NAME MIB [PRIORITY]

Whatever the program does goes on in the main thread; a thread beside it listens to oomd, whether
or not oomd is running yet, and connects again when it is restarted.
"""

import mmap
import sys
import threading
import time

from oomd.client import OomClient, OomEvent

MIB = 1 << 20


class Cache:
    """Blocks of 1 MiB that hold nothing of value."""

    def __init__(self, mib: int) -> None:
        self._lock = threading.Lock()
        self._blocks = [self._block() for _ in range(mib)]

    @staticmethod
    def _block() -> mmap.mmap:
        # A mapping of its own goes back to the system when it is closed. What is left behind by
        # del may stay with the allocator.
        block = mmap.mmap(-1, MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        block.write(b"x" * MIB)
        return block

    def shrink(self, event: OomEvent) -> int:
        """Give back what is wanted, or as much as there is time for; how many bytes it was."""
        until = time.monotonic() + (event.deadline - time.monotonic()) / 2
        freed_bytes = 0
        with self._lock:
            while self._blocks and freed_bytes < event.wanted_bytes and time.monotonic() < until:
                self._blocks.pop().close()
                freed_bytes += MIB
            print(f"freed {freed_bytes} bytes, {len(self._blocks)} MiB left", flush=True)
        return freed_bytes


def main() -> None:
    name, mib, *priority = sys.argv[1:]
    cache = Cache(int(mib))
    client = OomClient(name, priority=int(priority[0]) if priority else 0)
    client.run_in_thread(cache.shrink).join()


if __name__ == "__main__":
    main()
