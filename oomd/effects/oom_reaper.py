"""One parked thread that calls process_mrelease(2), which can wait for a lock.

The kernel's ``oom_reaper`` kthread does the same two seconds after a kill, and only tries
the mmap lock; ours need not wait those two seconds, and lets the call wait in its place.
"""

import _thread
import errno
import os
import time

from oomd.effects import syscalls
from oomd.lean import signal
from oomd.mm_types import TaskId
from oomd.typed import Callable, NamedTuple

__all__ = ["OomReaper", "Reaped"]

# mm/oom_kill.c, MAX_OOM_REAP_RETRIES and the schedule_timeout_idle(HZ/10) between them.
_RETRIES = 10
_RETRY_SECONDS = 0.1

_RING = 8
# Python frames live on the heap; the call itself needs little. PTHREAD_STACK_MIN is
# 128 KiB on aarch64, and only touched pages are locked (MCL_ONFAULT).
_STACK_BYTES = 256 * 1024


class Reaped(NamedTuple):
    """How one process_mrelease(2) went."""

    ident: TaskId
    error: int
    """0: the memory is taken. Else the errno."""
    took_us: int


class OomReaper:
    """The parked thread, the ring of victims for it, and the slots of its results.

    Built only where the kernel has process_mrelease and the config leaves it on.
    """

    __slots__ = ("_done", "_event_fd", "_head", "_ring", "_tail", "_wake", "mrelease", "skipped")

    def __init__(self, mrelease: Callable[[int], int] = syscalls.process_mrelease):
        self.mrelease = mrelease
        self.skipped = 0
        """Victims not handed over because the ring was full or no descriptor was left."""
        self._ring: list[tuple[TaskId, int] | None] = [None] * _RING
        self._done: list[Reaped] = []
        # Free-running counters: the ring holds tail - head victims. Only the main thread
        # moves the tail, only the parked one the head.
        self._head = 0
        self._tail = 0
        # Held while there is nothing to do. A lock waits in sem_wait(3), without the GIL.
        self._wake = _thread.allocate_lock()
        self._wake.acquire()
        self._event_fd = -1

    def start(self) -> int:
        """Start the thread, with every signal blocked in it; 0 or the errno.

        Once, at start-up: a thread's stack could not be had in the storm.
        """
        try:
            self._event_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        except OSError as error:
            return error.errno or errno.EIO
        # The thread inherits the mask of its maker: no signal can slip in between, and the
        # main thread's poll() is what every signal interrupts.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        stack = _thread.stack_size(_STACK_BYTES)
        try:
            _thread.start_new_thread(self._run, ())
        except RuntimeError:
            os.close(self._event_fd)
            self._event_fd = -1
            return errno.EAGAIN
        finally:
            _thread.stack_size(stack)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return 0

    def fileno(self) -> int:
        """For poll(): readable when a result waits. -1 when not started."""
        return self._event_fd

    def submit(self, ident: TaskId, pidfd: int) -> bool:
        """Hand over a victim after SIGKILL, its sharers' too (else EINVAL). Never waits.

        The descriptor stays the caller's: the reaper takes a copy. False: skipped, counted.
        """
        if self._event_fd < 0 or pidfd < 0 or self._tail - self._head >= _RING:
            self.skipped += 1
            return False
        try:
            # A number that the caller closes may soon be another process's pidfd.
            copy = os.dup(pidfd)
        except OSError:
            self.skipped += 1
            return False
        self._ring[self._tail % _RING] = (ident, copy)
        self._tail += 1
        if self._wake.locked():
            self._wake.release()
        return True

    def results(self) -> tuple[Reaped, ...]:
        """Results since the last call, oldest first. Never waits."""
        if self._event_fd < 0:
            return ()
        try:
            os.eventfd_read(self._event_fd)
        except BlockingIOError:
            return ()
        done = tuple(self._done)
        del self._done[: len(done)]
        return done

    def _run(self) -> None:
        while True:
            self._wake.acquire()
            while self._head != self._tail:
                try:
                    self._reap_next()
                except Exception:
                    # Out of memory, most likely. This victim is skipped, the thread stays.
                    self.skipped += 1

    def _reap_next(self) -> None:
        entry = self._ring[self._head % _RING]
        assert entry is not None
        ident, pidfd = entry
        self._head += 1
        started_ns = time.monotonic_ns()
        try:
            result = self.mrelease(pidfd)
            for _ in range(_RETRIES):
                if result != -errno.EAGAIN:
                    break
                time.sleep(_RETRY_SECONDS)
                result = self.mrelease(pidfd)
        finally:
            os.close(pidfd)
        self._done.append(Reaped(ident, -result, (time.monotonic_ns() - started_ns) // 1000))
        os.eventfd_write(self._event_fd, 1)
