"""Reads a plugin's file so that nobody but root (or its own user) can have written what is run, and
checks programs likewise.

The file is opened once, below folders that were opened one by one; what is checked, read and run
is what those descriptors hold, whatever becomes of the names meanwhile.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

__all__ = ["Untrusted", "check_program", "read_draft", "read_trusted"]

# No plugin comes near this; it bounds what a wrong file costs.
MAX_BYTES = 1 << 20

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a FIFO would hold us up until somebody writes to it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Untrusted(Exception):
    """A file whose content is not to be run. ``str()`` is a few words: why, and what to do."""


def _check_owner(path: str, status: os.stat_result, euid: int) -> None:
    if status.st_uid not in (0, euid):
        raise Untrusted(f"{path} belongs to uid {status.st_uid}: chown root {path}")


def _check_folder(path: str, status: os.stat_result, euid: int, *, own: bool) -> None:
    """Whoever can write a folder can put another file into it, or another folder below it.

    ``own``: it holds the file itself. Further up, the sticky bit keeps what is ours in place.
    """
    _check_owner(path, status, euid)
    kept = bool(status.st_mode & stat.S_ISVTX) and not own
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not kept:
        raise Untrusted(f"folder {path} can be written by others: chmod go-w {path}")


def _check_file(path: str, status: os.stat_result, euid: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise Untrusted("is not a regular file")
    _check_owner(path, status, euid)
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise Untrusted(f"can be written by others: chmod go-w {path}")


@contextmanager
def _folder(path: str, euid: int) -> Iterator[int]:
    """A folder's descriptor, each folder above it checked on the way down."""
    # A link on the way (/etc to /usr/etc) is an admin's right; what it leads to is what counts.
    parts = [part for part in os.path.realpath(path).split("/") if part]
    with ExitStack() as opened:

        def keep(fd: int) -> int:
            opened.callback(os.close, fd)
            return fd

        here, fd = "/", keep(os.open("/", _FOLDER))
        _check_folder(here, os.fstat(fd), euid, own=not parts)
        for number, part in enumerate(parts, 1):
            here = os.path.join(here, part)
            fd = keep(os.open(part, _FOLDER, dir_fd=fd))
            _check_folder(here, os.fstat(fd), euid, own=number == len(parts))
        yield fd


def _read(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Untrusted(f"is longer than {MAX_BYTES >> 10} KiB")
    return data


@contextmanager
def _trusted(path: str) -> Iterator[int]:
    """The file's descriptor, if nobody but root and the user who runs this can have written it."""
    euid = os.geteuid()
    folder, name = os.path.split(path)
    with _folder(folder, euid) as folder_fd:
        # lstat first: of a link, open() only says ELOOP.
        if stat.S_ISLNK(os.lstat(name, dir_fd=folder_fd).st_mode):
            raise Untrusted("is a symbolic link: put the file itself there")
        fd = os.open(name, _FILE, dir_fd=folder_fd)
        try:
            _check_file(path, os.fstat(fd), euid)
            yield fd
        finally:
            os.close(fd)


def read_trusted(path: str) -> bytes:
    """The file, if nobody but root and the user who runs this can have written it.

    Raises Untrusted and OSError. ``path`` is absolute.
    """
    with _trusted(path) as fd:
        return _read(fd)


def check_program(path: str) -> None:
    """Whether this can be run, and nobody but root and the user who runs this can change it.

    Raises Untrusted and OSError. ``path`` is absolute. No folder on its way is anybody else's to
    write, so what is found good here is what will be run.
    """
    with _trusted(path) as fd:
        if not os.fstat(fd).st_mode & stat.S_IXUSR:
            raise Untrusted(f"is not executable: chmod +x {path}")


def read_draft(path: str) -> bytes:
    """The file, whoever wrote it: for its author's own tests. Raises Untrusted and OSError."""
    fd = os.open(path, _FILE & ~os.O_NOFOLLOW)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Untrusted("is not a regular file")
        return _read(fd)
    finally:
        os.close(fd)
