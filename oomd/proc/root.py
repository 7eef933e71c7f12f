"""The only code that joins a path to the file system, and what is a fact but not a file."""

import errno
import os

from oomd.proc.errors import Gone, ReadError, Refused, Unparsable
from oomd.typed import Callable, Final, Iterator

__all__ = [
    "READ_CHUNK",
    "READ_LIMIT",
    "VALUE_BYTES",
    "Gone",
    "ReadError",
    "Refused",
    "Root",
    "Unparsable",
    "WritableRoot",
]

_GONE: Final = frozenset({errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENOTDIR})
_READ: Final = os.O_RDONLY | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CLOEXEC

# /proc/PID/stat and status fit in one read of this; a status can be longer (65,536 groups).
READ_CHUNK: Final = 8192

# No number of the kernel's is longer.
VALUE_BYTES: Final = 32

# zoneinfo of a big machine is 3 MB. More than this is no file of the kernel's.
READ_LIMIT: Final = 64 << 20

DEFAULT_PAGE_SIZE_BYTES: Final = 4096
DEFAULT_CLOCK_TICKS: Final = 100


def translate(rel: str, error: OSError | ValueError) -> ReadError:
    """``error`` as one of ours. The one place where an errno gets its meaning.

    A ValueError is a name that no file can have (a NUL, a stray surrogate).
    """
    code = (error.errno or 0) if isinstance(error, OSError) else errno.EINVAL
    name = errno.errorcode.get(code, str(code))
    return Gone(rel, name) if code in _GONE else Refused(rel, name)


def _pid(name: str) -> int:
    """0 for what is no process. isdecimal() alone also takes the digits of other scripts."""
    return int(name) if name.isascii() and name.isdecimal() else 0


class Root:
    """A tree with ``proc`` and ``sys`` in it; ``/`` is the live machine.

    Every path is relative to it, without a leading slash. All methods raise ``ReadError``
    (``Gone`` or ``Refused``) and nothing else. What only a live kernel can tell is "not
    observable" (None, or the stated default) under any other path.
    """

    def __init__(self, path: str = "/") -> None:
        self.path = os.path.abspath(path)
        self._prefix = "/" if self.path == "/" else self.path + "/"

    @property
    def live(self) -> bool:
        """This is the running machine, not a tree that looks like one."""
        return self._prefix == "/"

    # --- files

    def read(self, rel: str, *, limit: int = READ_LIMIT) -> bytes:
        """The whole file. Longer than ``limit`` bytes: refused with EFBIG, never cut short."""
        try:
            fd = os.open(self._prefix + rel, _READ)
            try:
                chunks = []
                room = limit + 1
                # Files of many records (zoneinfo, cgroup.procs) give short reads in the middle.
                while room > 0 and (chunk := os.read(fd, min(room, 65536))):
                    chunks.append(chunk)
                    room -= len(chunk)
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            raise translate(rel, error) from None
        if room <= 0:
            raise Refused(rel, "EFBIG")
        return b"".join(chunks)

    def _first(self, rel: str, size_bytes: int) -> bytes:
        """What one read of so much gives."""
        try:
            fd = os.open(self._prefix + rel, _READ)
            try:
                return os.read(fd, size_bytes)
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            raise translate(rel, error) from None

    def read_record(self, rel: str) -> bytes:
        """The whole of a file that the kernel writes as one record, where a short read is the end.

        That holds for everything below ``/proc/PID`` that oomd reads except ``children``. It saves
        the second read of ``read()``, an eighth of the scan.
        """
        data = self._first(rel, READ_CHUNK)
        return data if len(data) < READ_CHUNK else self.read(rel)

    def read_value(self, rel: str) -> bytes:
        """A file that holds one number; what is longer is cut.

        /proc/sys allocates as much as it is asked for, and a byte more (fs/proc/proc_sysctl.c,
        ``proc_sys_call_handler()``): for a chunk, four pages in a row, which it reclaims memory to
        find where there is none.
        """
        return self._first(rel, VALUE_BYTES)

    def open(self, rel: str, flags: int) -> int:
        """A descriptor of the file, for what has to stay open (a PSI trigger)."""
        try:
            return os.open(self._prefix + rel, flags | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            raise translate(rel, error) from None

    def listdir(self, rel: str) -> list[str]:
        """Names in a directory: the kernel's order on a live machine, else sorted.

        The order of ``/proc/PID/task`` is that of the thread list, which the kernel walks too.
        """
        try:
            names = os.listdir(self._prefix + rel)
        except (OSError, ValueError) as error:
            raise translate(rel, error) from None
        if not self.live:
            names.sort(key=lambda name: (len(name), name) if name.isdecimal() else (0, name))
        return names

    def subdirs(self, rel: str) -> list[str]:
        """Names of the directories in a directory; links are not followed.

        In the order in which they were made on a live machine (where cgroups are numbered so),
        else sorted.
        """
        try:
            with os.scandir(self._prefix + rel) as entries:
                found = [
                    (e.inode() if self.live else 0, e.name)
                    for e in entries
                    if e.is_dir(follow_symlinks=False)
                ]
            return [name for _, name in sorted(found)]
        except (OSError, ValueError) as error:
            raise translate(rel, error) from None

    def readlink(self, rel: str) -> str:
        """Where a symbolic link points."""
        try:
            return os.readlink(self._prefix + rel)
        except (OSError, ValueError) as error:
            raise translate(rel, error) from None

    def xattr(self, rel: str, name: str) -> bytes | None:
        """An extended attribute. None: there is none, or this file system has no such thing."""
        try:
            return os.getxattr(self._prefix + rel, name, follow_symlinks=False)
        except (OSError, ValueError):
            return None

    def owner(self, rel: str) -> int | None:
        """The uid that a file belongs to. None: not observable."""
        try:
            return os.stat(self._prefix + rel, follow_symlinks=False).st_uid
        except (OSError, ValueError):
            return None

    def exists(self, rel: str) -> bool:
        """Whether a file is there. One that may not even be looked up counts as absent."""
        try:
            return os.access(self._prefix + rel, os.F_OK)
        except ValueError:
            return False

    def pids(self) -> list[int]:
        """Every process that ``/proc`` shows, in ascending order."""
        return sorted(pid for name in self.listdir("proc") if (pid := _pid(name)))

    def iter_pids(self) -> Iterator[int]:
        """The same one at a time: a list of 30,000 names would take megabytes.

        A live kernel lists them in ascending order, and goes on behind those that ended meanwhile.
        """
        if not self.live:
            yield from self.pids()
            return
        try:
            with os.scandir("/proc") as entries:
                for entry in entries:
                    if pid := _pid(entry.name):
                        yield pid
        except OSError as error:
            raise translate("proc", error) from None

    def _sift_tree(
        self, name: str, usual: bytes, unusual: Callable[[int, bytes], None]
    ) -> tuple[int, int]:
        seen = as_usual = 0
        for pid in self.pids():
            try:
                data = self.read_record(f"proc/{pid}/{name}")[:16]
            except Gone:
                continue
            except ReadError:
                data = b""
            seen += 1
            as_usual += data == usual
            if data != usual:
                unusual(pid, data)
        return seen, as_usual

    def sift_records(
        self, name: str, usual: bytes, unusual: Callable[[int, bytes], None]
    ) -> tuple[int, int]:
        """How many processes there are, and in how many of them ``/proc/PID/name`` is ``usual``.

        Of the others ``unusual`` is called with the pid and the first 16 bytes, ``b""`` where it
        may not be read; in the order of ``iter_pids()``. Three system calls and next to nothing
        else for each process.
        """
        if not self.live:
            return self._sift_tree(name, usual, unusual)
        seen = as_usual = 0
        opened, read, close, suffix = os.open, os.read, os.close, "/" + name
        proc = self.open("proc", os.O_RDONLY | os.O_DIRECTORY)
        try:
            with os.scandir(proc) as entries:
                for entry in entries:
                    pid_name = entry.name
                    if not pid_name.isdecimal():
                        continue
                    try:
                        fd = opened(pid_name + suffix, _READ, dir_fd=proc)
                        try:
                            data = read(fd, 16)
                        finally:
                            close(fd)
                    except OSError as error:
                        if error.errno in _GONE:
                            continue
                        data = b""
                    seen += 1
                    if data == usual:
                        as_usual += 1
                    else:
                        unusual(int(pid_name), data)
        except OSError as error:
            raise translate("proc", error) from None
        finally:
            os.close(proc)
        return seen, as_usual

    def mounted_over(self, rel: str) -> bool:
        """Something else stands in the place of this file of ``/proc``, as in a container whose
        meminfo is made up."""
        try:
            return os.stat(self._prefix + rel).st_dev != os.stat(self._prefix + "proc").st_dev
        except (OSError, ValueError):
            return True

    # --- facts

    def page_size_bytes(self) -> int:
        """Bytes in a page; 4096 for a tree that does not say."""
        return os.sysconf("SC_PAGE_SIZE") if self.live else DEFAULT_PAGE_SIZE_BYTES

    def clock_ticks(self) -> int:
        """Ticks in a second, the unit of ``starttime``; 100 for a tree that does not say."""
        return os.sysconf("SC_CLK_TCK") if self.live else DEFAULT_CLOCK_TICKS

    def kernel_release(self) -> str:
        """``uname -r``; a tree may have ``proc/sys/kernel/osrelease``, else ``""``."""
        if self.live:
            return os.uname().release
        try:
            return self.read_record("proc/sys/kernel/osrelease").decode("ascii", "replace").strip()
        except ReadError:
            return ""

    def user_ns_inode(self, pid: int) -> int | None:
        """Inode of the user namespace that a process or thread is in. None: not observable.

        A tree may have the link ``proc/PID/ns/user`` (``user:[4026531837]``).
        """
        try:
            target = self.readlink(f"proc/{pid}/ns/user")
            return int(target.removeprefix("user:[").removesuffix("]"))
        except (ReadError, ValueError):
            return None

    def same_mm(self, pid_a: int, pid_b: int) -> bool | None:
        """Whether two tasks have the same mm. None: not observable, or not allowed to ask.

        Only for tasks that have an mm: two without one are "the same" to the kernel. It can wait
        behind an exec of either, so never ask before a kill.
        """
        if not self.live:
            return None
        from oomd.proc.kcmp import same_mm  # noqa: PLC0415  ctypes: paid for only when needed

        return same_mm(pid_a, pid_b)


class WritableRoot(Root):
    """A root that may be written: asked for by everything that acts, and by nothing that reads."""

    def write(self, rel: str, data: bytes) -> None:
        """``data`` in a single write, as files of the kernel want it. Raises ``ReadError``."""
        try:
            fd = os.open(self._prefix + rel, _WRITE)
            try:
                written = os.write(fd, data)
            finally:
                os.close(fd)
        except (OSError, ValueError) as error:
            raise translate(rel, error) from None
        if written != len(data):
            raise Refused(rel, "EIO")

    def replace(self, rel: str, data: bytes) -> None:
        """A regular file with ``data`` in it, whole or not at all. Raises ``ReadError``."""
        beside = self._prefix + rel + ".new"
        try:
            # Nobody else's to read: the settings hold command lines and plugins' options.
            fd = os.open(beside, _WRITE | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                os.write(fd, data)
            finally:
                os.close(fd)
            os.rename(beside, self._prefix + rel)
        except (OSError, ValueError) as error:
            raise translate(rel, error) from None
