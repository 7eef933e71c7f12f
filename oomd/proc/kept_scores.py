"""``/proc/PID/oom_score`` of every process through descriptors that stay open, as far as a budget
goes: a third of the price of opening each anew.

Each costs the kernel 4.4 KiB that cannot be reclaimed, and this process some 100 bytes. A
descriptor is of one process for good: when that has ended, reading fails, whoever has its pid.
"""

import os

from oomd.proc.root import Gone, ReadError, Root
from oomd.typed import Callable

__all__ = ["KeptScores"]


class KeptScores:
    """Sifts the scores of all processes. State is bounded by the budget."""

    def __init__(self, root: Root, budget: int) -> None:
        """``budget``: at most so many descriptors are kept."""
        self._root = root
        self._budget = budget
        self._fds: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._fds)

    def _anew(self, pid: int, room: bool) -> tuple[bytes, int]:
        """Its score, and the descriptor if that was kept; else -1. Raises ``ReadError``."""
        fd = self._root.open(f"proc/{pid}/oom_score", os.O_RDONLY)
        kept = False
        try:
            data = os.read(fd, 16)
            kept = room
        except OSError as error:
            # It has ended in between.
            raise Gone(f"proc/{pid}/oom_score", str(error.errno)) from None
        finally:
            if not kept:
                os.close(fd)
        return data, fd if kept else -1

    def sift(self, usual: bytes, unusual: Callable[[int, bytes], None]) -> tuple[int, int]:
        """``Root.sift_records()`` of ``oom_score``. Raises ``ReadError`` when the processes cannot
        be listed.
        """
        before, kept = self._fds, dict[int, int]()
        budget, pread = self._budget, os.pread
        seen = as_usual = 0
        try:
            for pid in self._root.iter_pids():
                fd = before.pop(pid, -1)
                data = b""
                if fd >= 0:
                    try:
                        data = pread(fd, 16, 0)
                    except OSError:
                        # The pid is another process's by now.
                        os.close(fd)
                        fd = -1
                if fd < 0:
                    try:
                        data, fd = self._anew(pid, len(kept) + len(before) < budget)
                    except Gone:
                        continue
                    except ReadError:
                        data = b""
                if fd >= 0:
                    kept[pid] = fd
                seen += 1
                if data == usual:
                    as_usual += 1
                else:
                    unusual(pid, data)
        finally:
            self._fds = kept
            # Of those who were not met any more.
            for fd in before.values():
                os.close(fd)
        return seen, as_usual

    def close(self) -> None:
        """Give all of them back."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()
