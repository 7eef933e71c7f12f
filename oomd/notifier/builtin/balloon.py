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
# Between two steps, and how long one may keep the worker from its messages.
STEP_S = 1.0
STEP_MAX_S = 0.05

_MAP_FAILED = ctypes.c_void_p(-1).value


class _Libc:
    """Mappings by their address: an ``mmap.mmap`` object does not tell its own."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        size, number, address = ctypes.c_size_t, ctypes.c_int, ctypes.c_void_p
        self._mmap, self._munmap, self._mlock = libc.mmap, libc.munmap, libc.mlock
        self._mmap.restype = address
        self._mmap.argtypes = (address, size, number, number, number, ctypes.c_long)
        for call in (self._munmap, self._mlock):
            call.argtypes = (address, size)

    def take(self, size_bytes: int) -> int:
        """The address of fresh memory, all of it there and locked. Raises OSError."""
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        address: int | None = self._mmap(
            None, size_bytes, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0
        )
        if address is None or address == _MAP_FAILED:
            raise _failed("mmap", size_bytes)
        # mlock(2) makes all pages present.
        if self._mlock(address, size_bytes) != 0:
            error = _failed("mlock", size_bytes)
            self._munmap(address, size_bytes)
            raise error
        return address

    def give_back(self, address: int, size_bytes: int) -> bool:
        """Whether it has really been unmapped."""
        return bool(self._munmap(address, size_bytes) == 0)


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
        self._libc = _Libc()
        # Guards the two below. Held for one piece at most, so that release() is not kept waiting.
        self._lock = threading.Lock()
        self._pieces: list[tuple[int, int]] = []
        self._stormy = False

    @property
    def held_bytes(self) -> int:
        """How much it holds now."""
        return sum(size_bytes for _, size_bytes in tuple(self._pieces))

    def start(self) -> None:
        """Take as much as may be taken within a second; ``calm`` takes the rest."""
        # That locking is allowed at all is found out now, and not in the calm of the night.
        page = mmap.PAGESIZE
        self._libc.give_back(self._libc.take(page), page)
        end = time.monotonic() + START_S
        while time.monotonic() < end and self._step():
            pass

    def _take_piece(self, room_bytes: int) -> int:
        """One more piece; its size, or 0: that is all for now. Raises OSError."""
        with self._lock:
            size_bytes = min(PIECE_BYTES, self._size_bytes - self.held_bytes)
            if self._stormy or not 0 < size_bytes <= room_bytes:
                return 0
            self._pieces.append((self._libc.take(size_bytes), size_bytes))
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

        It goes on past the deadline: what is freed late is still freed before the next look.
        """
        with self._lock:
            self._stormy = True
            pieces, self._pieces = self._pieces, []
        freed_bytes = 0
        for address, size_bytes in pieces:
            if self._libc.give_back(address, size_bytes):
                freed_bytes += size_bytes
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
        if self.held_bytes >= self._size_bytes:
            return None
        return STEP_S if taken_bytes else RETRY_S

    def storm(self) -> None:
        """Take nothing more."""
        self._stormy = True
        self._growth.storm()

    def close(self) -> None:
        """The memory goes with the process."""
