"""Tells systemd that a unit's process was killed for memory, as systemd-oomd does: by extended
attributes of the unit's control group.

When a child of systemd's ends, or the unit's last process does, ``unit_check_oomd_kill()``
(systemd, src/core/cgroup.c) looks whether ``user.oomd_ooms`` has grown; if so it logs the number in
``user.oomd_kill``, and ``OOMPolicy=`` decides, as after a kill of the kernel's: by default the
unit's result is ``oom-kill``. It looks at nothing while the unit goes on, so a mark that nobody
has seen is taken back: some reload, hours later, would end a unit for what is long past.
"""

import os

from oomd.mm_types import Task
from oomd.proc.cgroup import cgroup_of, cgroup_path, unit_cgroup, unit_name
from oomd.proc.root import Gone, ReadError, WritableRoot, translate
from oomd.proc.task import parse_stat
from oomd.report.kernel_log import printable
from oomd.typed import Iterable, NamedTuple

__all__ = ["TAKEN_BACK_MS", "UnitMarks", "Whose"]

_OOMS, _KILL = "user.oomd_ooms", "user.oomd_kill"

# systemd looks only where all controllers are in cgroup v2.
_MOUNT = "sys/fs/cgroup"

# How long systemd, and a shell that is a unit's main process and whose child was killed, have to
# take note of it; an orphan of the unit that ends meanwhile has it looked at, too.
TAKEN_BACK_MS = 5000

# Companions beyond this many, and marks to be taken back: a memory.oom.group may have thousands.
_AT_MOST = 64

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Whose(NamedTuple):
    """Where a process is, fit to be shown."""

    cgroup: str
    unit: str
    """The innermost unit, such as ``db.service``. Empty: none."""


class _Mark(NamedTuple):
    before: bytes | None
    """``user.oomd_ooms`` when it was not marked. None: it had none."""
    due_ms: int


def _attribute(fd: int, name: str) -> bytes | None:
    try:
        return os.getxattr(fd, name)
    except OSError:
        return None


def _number(value: bytes | None) -> int:
    # Whoever owns the control group can write what he likes: 19 digits fit systemd's 64 bits.
    return int(value) if value is not None and value.isdigit() and len(value) < 19 else 0


class UnitMarks:
    """Marks the units of those who were killed. No call raises."""

    __slots__ = ("_marked", "_root", "_said", "_works")

    def __init__(self, root: WritableRoot) -> None:
        self._root = root
        self._works = root.exists(f"{_MOUNT}/cgroup.controllers")
        self._marked: dict[str, _Mark] = {}
        self._said = False

    def _cgroup(self, task: Task) -> str:
        """Its control group; empty where that is the root, or it has gone already.

        After its SIGKILL only: ``/proc/PID/cgroup`` takes a global lock before Linux 6.8.
        """
        try:
            path = cgroup_of(self._root.read_record(f"proc/{task.pid}/cgroup"))
            stat = parse_stat(self._root.read_record(f"proc/{task.pid}/stat"))
        except ReadError:
            return ""
        # Reaped meanwhile, its pid may be another process's.
        return path if stat.starttime_ticks == task.starttime_ticks else ""

    def killed(self, task: Task, now_ms: int, *, mark: bool) -> tuple[Whose, str]:
        """Right after its SIGKILL: whose it was, and why the unit was not marked (once), or "".

        ``mark`` False: only look. ``now_ms`` is CLOCK_MONOTONIC.
        """
        path = self._cgroup(task)
        why = self._mark(path, now_ms) if mark and self._works else ""
        return Whose(printable(path), printable(unit_name(path))), why

    def companions(self, tasks: Iterable[Task], now_ms: int) -> str:
        """Those who died with it, likewise."""
        if not self._works:
            return ""
        said = ""
        for task, _ in zip(tasks, range(_AT_MOST), strict=False):
            said = said or self._mark(self._cgroup(task), now_ms)
        return said

    def _mark(self, path: str, now_ms: int) -> str:
        unit = unit_cgroup(path)
        if not unit or (unit not in self._marked and len(self._marked) >= _AT_MOST):
            return ""
        try:
            fd = self._root.open(_MOUNT + cgroup_path(unit), _FOLDER)
        except Gone:
            # Its last process has gone, and systemd was quick.
            return ""
        except ReadError as error:
            return self._once(error)
        try:
            before = _attribute(fd, _OOMS)
            kills = _number(_attribute(fd, _KILL)) + 1
            # This one first: it is read when the other one has grown.
            os.setxattr(fd, _KILL, b"%d" % kills)
            # Unlike systemd-oomd, which counts from 1 in each control group: systemd keeps what it
            # saw last when the unit is started anew, and would miss the second unit's first.
            ooms = max(_number(before) + 1, now_ms)
            os.setxattr(fd, _OOMS, b"%d" % ooms)
        except OSError as error:
            return self._once(translate(f"{_OOMS} of {unit}", error))
        finally:
            os.close(fd)
        mark = self._marked.get(unit)
        first = before if mark is None else mark.before
        self._marked[unit] = _Mark(first, now_ms + TAKEN_BACK_MS)
        return ""

    def _once(self, error: ReadError) -> str:
        if self._said or isinstance(error, Gone):
            return ""
        self._said = True
        return f"systemd cannot be told whose process was killed: {printable(str(error))}"

    def take_back(self, now_ms: int) -> None:
        """In the calm: what systemd had no reason to look at is not to be found later."""
        for unit, mark in tuple(self._marked.items()):
            if now_ms >= mark.due_ms:
                del self._marked[unit]
                self._restore(unit, mark)

    def _restore(self, unit: str, mark: _Mark) -> None:
        try:
            fd = self._root.open(_MOUNT + cgroup_path(unit), _FOLDER)
        except ReadError:
            # As it should be: the unit has gone.
            return
        try:
            if mark.before is None:
                os.removexattr(fd, _OOMS)
            else:
                os.setxattr(fd, _OOMS, mark.before)
        except OSError:
            # Somebody else has done so, or the control group went a moment ago.
            pass
        finally:
            os.close(fd)
