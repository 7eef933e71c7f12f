"""``memory_reclaim``: has the kernel reclaim memory from those who can best do without it.

cgroup v2's ``memory.reclaim`` (Linux 5.19): page cache is dropped, anonymous memory is swapped
out, of the chosen control groups and of nobody else.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Final

from oomd.notifier import Answer, OomEvent
from oomd.notifier.builtin.cgroups import CgroupChoice
from oomd.notifier.builtin.releaser import Quiet
from oomd.proc.cgroup import v2_mount
from oomd.proc.meminfo import read_meminfo
from oomd.proc.root import Gone, ReadError, Refused, Unparsable, WritableRoot

__all__ = ["MemoryReclaim"]

_MIB: Final = 1 << 20
# What is asked for at once: a write returns only when it is done, and the deadline is looked at
# in between.
PIECE_BYTES = 4 * _MIB
# The walk: how many groups at a time, how soon the next ones, and how often all of them.
WALK_GROUPS = 200
WALK_STEP_S = 0.05
WALK_AGAIN_S = 30.0


class MemoryReclaim(Quiet):
    """Spreads what is wanted over the chosen groups, in proportion to what they hold."""

    name = "memory_reclaim"

    def __init__(self, root: WritableRoot, *, cgroups: Sequence[str], xattr: str) -> None:
        self._root = root
        self._cgroups = tuple(cgroups)
        self._xattr = xattr
        self._choice: CgroupChoice | None = None
        self._walk: Iterator[str | None] | None = None
        self._found: list[str] = []
        # What the last whole walk has found: no directory is read in a storm.
        self._targets: tuple[str, ...] = ()

    @property
    def targets(self) -> tuple[str, ...]:
        """The chosen groups, relative to the root."""
        return self._targets

    def start(self) -> None:
        """Raises ReadError: the kernel has no ``memory.reclaim``, or a path is no cgroup's."""
        mount = v2_mount(self._root)
        if mount is None:
            raise Gone(
                "sys/fs/cgroup", "is no cgroup v2 hierarchy, which memory.reclaim is part of"
            )
        file = f"{mount}/memory.reclaim"
        if not self._root.exists(file):
            raise Gone(file, "is not there: it came with Linux 5.19, in the unified hierarchy")
        self._choice = CgroupChoice(self._root, mount, self._cgroups, self._xattr)
        self._targets = tuple(path for path in self._choice.walk() if path is not None)

    def calm(self, now: float) -> float | None:
        """Look for the chosen groups, some of the hierarchy at a time."""
        if self._choice is None:
            return None
        if self._walk is None:
            self._walk, self._found = self._choice.walk(), []
        for _ in range(WALK_GROUPS):
            try:
                path = next(self._walk)
            except StopIteration:
                self._walk = None
                self._targets = tuple(self._found)
                return WALK_AGAIN_S
            if path is not None:
                self._found.append(path)
        return WALK_STEP_S

    def _current_bytes(self, group: str) -> int:
        path = f"{group}/memory.current"
        try:
            data = self._root.read(path).strip()
        except Gone:
            if not self._root.exists(f"{group}/memory.reclaim"):
                raise
            # The root group has no such file: it is the whole machine.
            meminfo = read_meminfo(self._root)
            return (meminfo.mem_total_kib - meminfo.mem_free_kib) * 1024
        if not data.isdigit():
            raise Unparsable(path, "is not a number")
        # More than 19 digits is no count of anything (and int() balks at 4,300).
        return int(data[:19])

    def release(self, event: OomEvent) -> Answer:
        """Claims what ``memory.current`` of the groups has gone down by.

        Raises ReadError: not one of them could be asked.
        """
        held, error = self._held()
        total_bytes = max(sum(held.values()), 1)
        freed_bytes = 0
        # Then those that had more than their share make up for those that had less.
        for shared in (True, False):
            # The largest first: it is the one that a deadline should not cut off.
            for group in sorted(held, key=lambda group: held[group], reverse=True):
                wanted_bytes = event.wanted_bytes - freed_bytes
                if shared:
                    share_bytes = event.wanted_bytes * held[group] // total_bytes
                    wanted_bytes = min(wanted_bytes, share_bytes)
                try:
                    given_bytes = self._reclaim(group, wanted_bytes, event.deadline)
                except ReadError as failed:
                    given_bytes, error = 0, failed
                freed_bytes += given_bytes
                if given_bytes < wanted_bytes:
                    # It has no more.
                    del held[group]
        if error is not None and not freed_bytes:
            raise error
        return freed_bytes

    def _meant(self) -> list[str]:
        """The last walk's, and what is named in full: it may have been started just now."""
        groups = list(self._targets)
        for path in self._choice.literal if self._choice is not None else ():
            # What is below a group is in it already.
            if not any(f"{path}/".startswith(f"{group}/") for group in groups):
                groups = [group for group in groups if not group.startswith(f"{path}/")]
                groups.append(path)
        return groups

    def _held(self) -> tuple[dict[str, int], ReadError | None]:
        """What each group holds, in bytes; and why one of them would not say."""
        held, error = {}, None
        for group in self._meant():
            try:
                held[group] = self._current_bytes(group)
            except Gone:
                continue
            except ReadError as failed:
                error = failed
        return held, error

    def _reclaim(self, group: str, wanted_bytes: int, deadline: float) -> int:
        """Ask one group, piece by piece; how many bytes it has less. Raises ReadError."""
        freed_bytes = 0
        while freed_bytes < wanted_bytes and time.monotonic() < deadline:
            ask_bytes = min(PIECE_BYTES, wanted_bytes - freed_bytes)
            try:
                before_bytes = self._current_bytes(group)
                partial = self._ask(group, ask_bytes)
                given_bytes = max(0, before_bytes - self._current_bytes(group))
            except Gone:
                # The group has ended: what it held is free, and none of our doing.
                break
            freed_bytes += given_bytes
            # Others in the group may take as fast as we free: that is no reason to go on for ever.
            if partial or not given_bytes:
                break
        return freed_bytes

    def _ask(self, group: str, ask_bytes: int) -> bool:
        """Whether it was only done in part. Raises ReadError."""
        try:
            self._root.write(f"{group}/memory.reclaim", b"%d" % ask_bytes)
        except Refused as error:
            if error.why != "EAGAIN":
                raise
            return True
        return False
