"""Which plugins there are, found without running one: to import a plugin is to run it.

Files, sorted by name; one in /etc hides the one of the same name in /usr/lib, and a link to
/dev/null there hides it for good::

    /etc/oomd/notifiers.d/*.py       the admin's
    /usr/lib/oomd/notifiers.d/*.py   the distribution's

And what installed packages publish as entry points of the group ``oomd.notifiers``. Whatever is
wrong with one of them is said in one line, and costs nobody else anything.
"""

import os
import stat
import sys
from typing import NamedTuple

from oomd.config import ConfigError, one_line
from oomd.config_files import drop_ins, is_masked

__all__ = ["GROUP", "Found", "Plugin", "discover"]

GROUP = "oomd.notifiers"
"""The entry points' group."""

_VENDOR = "usr/lib/oomd/notifiers.d"
_ADMIN = "etc/oomd/notifiers.d"


class Plugin(NamedTuple):
    """A plugin as it can be known from outside. What it registers as, only it knows."""

    name: str
    """Its file's name without ``.py``, or its entry point's name."""
    source: str
    """Its file's path, or ``entry point NAME``."""
    module: str = ""
    """Empty: it is a file."""
    attr: str = ""
    distribution: str = ""
    """The package that published it, and its version."""


class Found(NamedTuple):
    """All plugins, in the order in which they are to be registered."""

    plugins: tuple[Plugin, ...] = ()
    problems: tuple[str, ...] = ()
    """What was left out, each in one line: what, why, and what to do."""


class _Refused(Exception):
    """A plugin that is not even to be loaded. ``str()`` is a few words."""


def _trust(path: str, status: os.stat_result) -> None:
    """_Refused if anybody but root could have put code there."""
    if status.st_uid != 0:
        raise _Refused(f"{path} belongs to uid {status.st_uid}: chown root {path}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _Refused(f"{path} can be written by others: chmod go-w {path}")


def _check_file(path: str, roots_only: bool) -> None:
    """What is plainly wrong. The load looks again, and closer, at what it then runs."""
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        raise _Refused(f"{path} is a symbolic link: put the file itself there")
    if not stat.S_ISREG(status.st_mode):
        raise _Refused(f"{path} is not a regular file")
    if roots_only:
        _trust(path, status)
        # Whoever can write the folder can put another file in its place.
        folder = os.path.dirname(path)
        _trust(folder, os.stat(folder))


def _files(root: str, roots_only: bool) -> Found:
    try:
        paths = drop_ins(os.path.join(root, _VENDOR), ".py")
        paths |= drop_ins(os.path.join(root, _ADMIN), ".py")
    except ConfigError as error:
        return Found((), (str(error),))
    plugins, problems = [], []
    for name, path in sorted(paths.items()):
        if is_masked(path):
            continue
        try:
            _check_file(path, roots_only)
        except _Refused as why:
            problems.append(one_line(f"plugin left out: {why}"))
        except OSError as error:
            problems.append(one_line(f"plugin left out: {path} cannot be read: {error.strerror}"))
        else:
            plugins.append(Plugin(name.removesuffix(".py"), path))
    return Found(tuple(plugins), tuple(problems))


def _nobody_publishes() -> bool:
    """No package that could be imported has an entry point of ours, without importlib's help.

    It costs a start of the daemon a tenth of what importlib.metadata does, and most have none.
    """
    for folder in sys.path:
        if not os.path.isdir(folder):
            if os.path.exists(folder):
                return False  # An archive: importlib can look into it.
            continue
        for name in os.listdir(folder):
            if not name.lower().endswith((".dist-info", ".egg-info")) and name != "EGG-INFO":
                continue
            try:
                with open(os.path.join(folder, name, "entry_points.txt"), "rb") as file:
                    if GROUP.encode() in file.read():
                        return False
            except OSError:
                pass
    return True


def _published() -> Found:
    """The entry points of our group."""
    try:
        if _nobody_publishes():
            return Found()
    except OSError:
        pass
    # Imported here: 30 ms, and most machines have no plugin.
    from importlib.metadata import distribution, distributions  # noqa: PLC0415

    plugins, problems, seen = [], [], set()
    for one in distributions():
        try:
            # A file that another package has torn must not cost us the rest.
            if not any(entry.group == GROUP for entry in one.entry_points):
                continue
            # Of two versions the first on the path is the one that is imported.
            name = one.metadata["Name"]
            chosen = distribution(name)
            if chosen.metadata["Name"] in seen:
                continue
            seen.add(chosen.metadata["Name"])
            entries = [entry for entry in chosen.entry_points if entry.group == GROUP]
            shown = f"{name} {chosen.version}"
        except Exception as error:
            where = getattr(one, "_path", "a package")
            problems.append(one_line(f"plugin left out: {where}: no usable metadata: {error!r}"))
            continue
        for entry in entries:
            match = entry.pattern.match(entry.value)
            if match is None:
                problem = f"entry point {entry.name} of {shown}: {entry.value!r} is not MODULE:NAME"
                problems.append(one_line(f"plugin left out: {problem}"))
                continue
            source = f"entry point {entry.name}"
            module, attr = match["module"], match["attr"] or ""
            plugins.append(Plugin(entry.name, source, module, attr, shown))
    return Found(tuple(sorted(plugins)), tuple(problems))


def discover(root: str = "/", *, roots_only: bool | None = None) -> Found:
    """The plugins below ``root``; on the real ``/`` also those of installed packages.

    ``roots_only`` leaves out files that another user than root can write; without it this is
    so on the real ``/``, whoever asks: there the answer is what the daemon will do.
    """
    live = root == "/"
    files = _files(root, live if roots_only is None else roots_only)
    published = _published() if live else Found()
    return Found(files.plugins + published.plugins, files.problems + published.problems)
