"""Descriptors and memory that are kept for the moment in which no others are to be had."""

import os
import time

__all__ = ["DESCRIPTORS", "Reserve"]

# A scan of all processes has three open at once, a kill two: the victim's, and a file of its. The
# others are for the machine's limit, beyond which those with CAP_SYS_ADMIN go on opening: what they
# are over by has to be given back as well. Half a KiB of the kernel's each.
DESCRIPTORS = 128
# What the kernel counts against our control group for an open file, many times over.
MEMORY_BYTES = 128 << 10
# Once given up they are not taken again for so long: whoever took the others may still be there.
AGAIN_S = 10.0


class Reserve:
    """Held from the start; given up in the storm and taken again when it is calm. Raises nothing.

    Each is a file of its own, so that it counts against the machine's limit (ENFILE) as well as
    against ours (EMFILE).
    """

    def __init__(self, again_s: float = AGAIN_S) -> None:
        self._again_s = again_s
        self._fds: list[int] = []
        self._not_before_s = 0.0
        # Written to, so that it is there; and large enough that malloc(3) gives it back. Once given
        # up it is not taken again: in a group at its limit that could wait for ever.
        self._memory = bytearray(b"-") * MEMORY_BYTES
        self.fill()

    def fill(self) -> None:
        """Take what is missing, as far as it is to be had."""
        if time.monotonic() < self._not_before_s:
            return
        try:
            while len(self._fds) < DESCRIPTORS:
                self._fds.append(os.eventfd(0, os.EFD_CLOEXEC))
        except OSError:
            pass

    def give_up(self) -> bool:
        """Close them all, and give the memory back. False: there was nothing left."""
        had = bool(self._fds or self._memory)
        self._memory = bytearray()
        self._not_before_s = time.monotonic() + self._again_s
        while self._fds:
            os.close(self._fds.pop())
        return had
