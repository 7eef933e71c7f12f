"""``balloon``: memory that is held from the start, for the moment in which it is needed.

The userspace twin of virtio_balloon's OOM notifier: anonymous memory, locked so that it can be
neither swapped nor reclaimed, given back whole at the first OOM and taken again when it is calm.
"""

import ctypes
import errno
import mmap
import os
import threading
import time

from oomd.notifier import Answer, OomEvent
from oomd.notifier.builtin.growth import RETRY_S, Growth
from oomd.proc.root import Root

__all__ = ["Balloon"]

_MIB = 1 << 20
# What is locked by one call: a storm that begins meanwhile waits for no more than this.
PIECE_BYTES = 4 * _MIB
# How long the start may take; the rest is taken in steps.
START_S = 1.0
# Between two steps: before the first storm, which is what it is there for, and after one. And how
# long a step may take: a release that is asked for meanwhile comes after it.
FIRST_STEP_S = 0.1
STEP_S = 1.0
STEP_MAX_S = 0.05
# Of the time until the deadline, what is spent on freeing; the rest is for the answer.
TIME_SHARE = 0.7

# mman.h: Python's mmap has no names for these.
_MAP_FIXED = 0x10
_PROT_NONE = 0
_MADV_HUGEPAGE = 14
_HUGE_BYTES = 2 * _MIB
_MAP_FAILED = ctypes.c_void_p(-1).value
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS


class _Arena:
    """A range of addresses with memory from its start up to some point.

    By address, since an ``mmap.mmap`` object does not tell its own.
    """

    def __init__(self, size_bytes: int) -> None:
        """Raises OSError."""
        libc = ctypes.CDLL(None, use_errno=True)
        size, number, address = ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p
        self._mmap, self._mlock, self._madvise = libc.mmap, libc.mlock, libc.madvise
        self._mmap.restype = address
        self._mmap.argtypes = (address, size, number, number, number, ctypes.c_long)
        self._mlock.argtypes = (address, size)
        self._madvise.argtypes = (address, size, number)
        start = self._map(None, size_bytes + _HUGE_BYTES, _PROT_NONE, 0)
        self._base = -(-start // _HUGE_BYTES) * _HUGE_BYTES

    def _map(self, address: int | None, size_bytes: int, protection: int, flags: int) -> int:
        place: int | None = self._mmap(address, size_bytes, protection, _ANONYMOUS | flags, -1, 0)
        if place is None or place == _MAP_FAILED:
            raise _failed("mmap", size_bytes)
        return place

    def take(self, offset: int, size_bytes: int) -> None:
        """Memory at a place, all of it there and locked. Raises OSError: none of it is."""
        place = self._map(
            self._base + offset, size_bytes, mmap.PROT_READ | mmap.PROT_WRITE, _MAP_FIXED
        )
        # Measured: a GiB of huge pages is given back in 6 ms, of small ones in 170. Where there
        # are none, or none that are free, it is small ones.
        self._madvise(place, size_bytes, _MADV_HUGEPAGE)
        # mlock(2) makes all pages present.
        if self._mlock(place, size_bytes) != 0:
            error = _failed("mlock", size_bytes)
            self.give_back(offset, size_bytes)
            raise error

    def give_back(self, offset: int, size_bytes: int) -> None:
        """Unmap a place, and keep its addresses. Raises OSError: it is still there."""
        self._map(self._base + offset, size_bytes, _PROT_NONE, _MAP_FIXED)


def _failed(call: str, size_bytes: int) -> OSError:
    code = ctypes.get_errno()
    hint = ""
    if call == "mlock" and code in (errno.ENOMEM, errno.EAGAIN, errno.EPERM):
        hint = ": allow it with LimitMEMLOCK=infinity in the unit"
    return OSError(code, f"{call} of {size_bytes} bytes: {os.strerror(code)}{hint}")


class Balloon:
    """Holds memory, and lets it go."""

    name = "balloon"

    def __init__(
        self,
        root: Root,
        *,
        size_mib: int,
        step_mib: int,
        reinflate_after_s: int,
        keep_percent: float,
    ) -> None:
        self._size_bytes = size_mib * _MIB
        self._step_bytes = step_mib * _MIB
        self._growth = Growth(root, keep_percent, reinflate_after_s)
        self._arena: _Arena | None = None
        # Guards the two below. Held for one piece at most, so that nobody is kept waiting.
        self._lock = threading.Lock()
        self._held_bytes = 0
        self._stormy = False
        self._step_s = FIRST_STEP_S

    @property
    def held_bytes(self) -> int:
        """How much it holds now."""
        return self._held_bytes

    def start(self) -> None:
        """Take as much as may be taken within a second; ``calm`` takes the rest.

        Raises OSError: memory cannot be locked here.
        """
        arena = _Arena(self._size_bytes)
        # That locking is allowed at all is found out now, and not in the calm after a storm.
        arena.take(0, mmap.PAGESIZE)
        arena.give_back(0, mmap.PAGESIZE)
        self._arena = arena
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._step():
            pass

    def _take_piece(self, room_bytes: int) -> int:
        """One more piece; its size, or 0: that is all for now. Raises OSError."""
        with self._lock:
            size_bytes = min(PIECE_BYTES, self._size_bytes - self._held_bytes)
            if self._arena is None or self._stormy or not 0 < size_bytes <= room_bytes:
                return 0
            self._arena.take(self._held_bytes, size_bytes)
            self._held_bytes += size_bytes
            return size_bytes

    def _step(self) -> int:
        """Take one step's worth, in pieces; how many bytes it was. Raises OSError."""
        # Asked before each step, since others take memory too.
        room_bytes = self._growth.room_bytes()
        taken_bytes = 0
        end = time.monotonic() + STEP_MAX_S
        while taken_bytes < self._step_bytes and time.monotonic() < end:
            piece_bytes = self._take_piece(room_bytes - taken_bytes)
            if piece_bytes == 0:
                break
            taken_bytes += piece_bytes
        return taken_bytes

    def release(self, event: OomEvent) -> Answer:
        """All of it, whatever is wanted: the pages of a balloon that is half full help nobody.

        As far as there is time for it: what is left is given back when it is asked again.
        """
        now = time.monotonic()
        end = now + (event.deadline - now) * TIME_SHARE
        # A step that is under way gives up after its piece.
        self._stormy = True
        freed_bytes = 0
        with self._lock:
            while self._arena is not None and self._held_bytes:
                # From the end, so that what is held stays in one piece.
                size_bytes = self._held_bytes % PIECE_BYTES or PIECE_BYTES
                self._arena.give_back(self._held_bytes - size_bytes, size_bytes)
                self._held_bytes -= size_bytes
                freed_bytes += size_bytes
                if time.monotonic() >= end:
                    break
        return freed_bytes

    def calm(self, now: float) -> float | None:
        """Take one step, if there is room for it and it has been calm for long enough."""
        wait_s = self._growth.wait_s(now)
        if wait_s > 0:
            return wait_s
        self._stormy = False
        try:
            taken_bytes = self._step()
        except OSError:
            # There was room a moment ago; or a limit is in the way, which somebody may lift.
            taken_bytes = 0
        if self._held_bytes >= self._size_bytes:
            return None
        return self._step_s if taken_bytes else RETRY_S

    def storm(self) -> None:
        """Take nothing more."""
        self._stormy = True
        self._step_s = STEP_S
        self._growth.storm()

    def close(self) -> None:
        """Give all of it back: nobody will ask for it any more."""
        with self._lock:
            if self._arena is not None and self._held_bytes:
                self._arena.give_back(0, self._held_bytes)
                self._held_bytes = 0
