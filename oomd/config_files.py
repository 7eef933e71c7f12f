"""Which configuration files there are, and reading one that nobody but root can have written.

Outside the sentinel, as :mod:`oomd.config_load`, whose docstring says which file wins.
"""

import os
import stat

from oomd.config import ConfigError

__all__ = ["drop_ins", "is_masked", "read", "search"]

_VENDOR = "usr/lib/oomd/oomd.toml"
_ADMIN = "etc/oomd/oomd.toml"
# No config comes near this; it bounds what a wrong path (a core dump, a log) can cost.
_MAX_BYTES = 256 * 1024


def drop_ins(folder: str, suffix: str) -> dict[str, str]:
    """The drop-ins of one folder, path by name. No folder is no drop-ins. Raises ConfigError."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError(folder, None, "", f"cannot be read: {error.strerror}") from error
    # Editors leave their hidden files here.
    chosen = [name for name in names if name.endswith(suffix) and not name.startswith(".")]
    return {name: os.path.join(folder, name) for name in chosen}


def is_masked(path: str) -> bool:
    """A link to /dev/null: a drop-in that only hides the vendor's of the same name."""
    return os.path.realpath(path) == os.devnull


def search(root: str = "/") -> list[str]:
    """The config files there are, in the order in which they are read. Raises ConfigError."""
    vendor, admin = os.path.join(root, _VENDOR), os.path.join(root, _ADMIN)
    admins = drop_ins(f"{admin}.d", ".toml")
    vendors = {n: path for n, path in drop_ins(f"{vendor}.d", ".toml").items() if n not in admins}
    # lexists: a dangling link is a mistake that is to be named, not a file that is not there.
    return [
        *filter(os.path.lexists, [vendor]),
        *(vendors[name] for name in sorted(vendors)),
        *filter(os.path.lexists, [admin]),
        *(admins[name] for name in sorted(admins) if not is_masked(admins[name])),
    ]


def _distrust(path: str, status: os.stat_result) -> None:
    """ConfigError if anyone but root could have written this: it decides who is killed."""
    if status.st_uid != 0:
        raise ConfigError(path, None, "", f"belongs to uid {status.st_uid}", f"chown root {path}")
    writable = status.st_mode & (stat.S_IWOTH | (stat.S_IWGRP if status.st_gid != 0 else 0))
    if writable:
        who = "others" if writable & stat.S_IWOTH else f"gid {status.st_gid}"
        raise ConfigError(path, None, "", f"can be written by {who}", f"chmod go-w {path}")


def _open_at_once(path: str, flags: int) -> int:
    # A FIFO would hold up the start of the daemon until somebody writes to it.
    return os.open(path, flags | os.O_NOCTTY | os.O_NONBLOCK)


def read(path: str, roots_only: bool) -> str:
    """A file's text, whole. Raises ConfigError."""
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(path, None, "", "is not a regular file")
            if roots_only:
                _distrust(path, status)
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the path.
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(path, None, "", f"cannot be read: {reason}") from error
    if len(data) > _MAX_BYTES:
        raise ConfigError(path, None, "", "is too long", f"at most {_MAX_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(path, line, "", "is not UTF-8") from error
