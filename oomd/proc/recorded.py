"""A recorded machine's answers, given again: ``--root DIR``.

The manifest's keys but the first are optional, so that one can be written by hand:

    {"oomd_recording": 1, "page_size_bytes": 65536, "refused": {"proc/7/status": "EACCES"},
     "user_ns_inodes": {"7": 4026531837}, "same_mm": [[7, 8, true]]}
"""

import json
import os
from typing import Any, Final, TypeVar, cast

from oomd.proc.root import (
    DEFAULT_CLOCK_TICKS,
    DEFAULT_PAGE_SIZE_BYTES,
    READ_LIMIT,
    Refused,
    Root,
)

__all__ = ["MANIFEST", "VERSION", "VERSION_KEY", "BadRecording", "RecordedRoot", "open_root"]

MANIFEST: Final = "manifest.json"
VERSION_KEY: Final = "oomd_recording"
VERSION: Final = 1

_T = TypeVar("_T")


class BadRecording(Exception):
    """A tree that cannot be used as one. One line of text."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path = path
        self.why = why


class _Manifest:
    """The manifest's keys, each checked as it is taken."""

    def __init__(self, directory: str) -> None:
        self._path = os.path.join(directory, MANIFEST)
        try:
            with open(self._path, "rb") as file:
                content = json.loads(file.read(READ_LIMIT))
        except OSError as error:
            raise BadRecording(self._path, str(error.strerror)) from None
        except (ValueError, RecursionError):
            raise BadRecording(self._path, "not JSON") from None
        if not isinstance(content, dict) or content.get(VERSION_KEY) != VERSION:
            raise BadRecording(self._path, f'not a recording: no "{VERSION_KEY}": {VERSION}')
        self._content = content

    def take(self, key: str, default: _T, *types: type) -> _T:
        """``key``'s value: of the default's type, and if it is a mapping, its values of ``types``.

        Raises ``BadRecording``.
        """
        value = self._content.get(key, default)
        good = type(value) is type(default)
        if good and isinstance(value, dict) and types:
            good = all(type(each) in types for each in value.values())
        if not good:
            raise BadRecording(self._path, f'"{key}" has an impossible value')
        return cast(_T, value)

    def take_names(self, key: str) -> dict[str, list[str]]:
        """Directories and the names in them. Raises ``BadRecording``."""
        empty: dict[str, list[str]] = {}
        listings = self.take(key, empty, list)
        if not all(type(name) is str for names in listings.values() for name in names):
            raise BadRecording(self._path, f'"{key}" has an impossible value')
        return listings

    def take_same_mm(self) -> dict[tuple[int, int], bool | None]:
        """Pairs of tasks and kcmp's answer, in both orders. Raises ``BadRecording``."""
        rows: list[Any] = self.take("same_mm", [])
        answers: dict[tuple[int, int], bool | None] = {}
        for row in rows:
            match row:
                # Numbers beyond a pid's range can be chosen so that all of them have one hash.
                case [int(a), int(b), (bool() | None) as answer] if max(a, b) >> 31 == 0:
                    answers[a, b] = answers[b, a] = answer
                case _:
                    raise BadRecording(self._path, '"same_mm" has an impossible value')
        return answers


class RecordedRoot(Root):
    """A tree with a manifest. What was not asked when it was recorded is not there.

    Raises ``BadRecording`` when the manifest cannot be used.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        manifest = _Manifest(self.path)
        self._page_size_bytes = manifest.take("page_size_bytes", DEFAULT_PAGE_SIZE_BYTES)
        # The kernel's own unit, KiB, would not fit; and no page is a GiB.
        if not 1024 <= self._page_size_bytes <= 1 << 30:
            raise BadRecording(path, '"page_size_bytes" has an impossible value')
        self._clock_ticks = manifest.take("clock_ticks", DEFAULT_CLOCK_TICKS)
        self._kernel_release = manifest.take("kernel_release", "")
        no_text: dict[str, str] = {}
        self._refused = manifest.take("refused", no_text, str)
        self._links = manifest.take("links", no_text, str)
        no_facts: dict[str, bool] = {}
        self._exists = manifest.take("exists", no_facts, bool)
        self._xattrs = manifest.take("xattrs", no_text, str)
        no_owners: dict[str, int | None] = {}
        self._owners = manifest.take("owners", no_owners, int, type(None))
        no_inodes: dict[str, int | None] = {}
        self._user_ns_inodes = manifest.take("user_ns_inodes", no_inodes, int, type(None))
        self._same_mm = manifest.take_same_mm()
        self._listings = manifest.take_names("listings")
        self._subdirs = manifest.take_names("subdirs")
        no_extra: dict[str, Any] = {}
        self.extra = manifest.take("extra", no_extra)

    @property
    def live(self) -> bool:
        return False

    def _check(self, rel: str) -> None:
        if why := self._refused.get(rel):
            raise Refused(rel, why)

    def read(self, rel: str, *, limit: int = READ_LIMIT) -> bytes:
        self._check(rel)
        return super().read(rel, limit=limit)

    def read_record(self, rel: str) -> bytes:
        self._check(rel)
        return super().read_record(rel)

    def read_value(self, rel: str) -> bytes:
        self._check(rel)
        return super().read_value(rel)

    def listdir(self, rel: str) -> list[str]:
        self._check(rel)
        names = self._listings.get(rel)
        return super().listdir(rel) if names is None else list(names)

    def subdirs(self, rel: str) -> list[str]:
        self._check(rel)
        names = self._subdirs.get(rel)
        return super().subdirs(rel) if names is None else list(names)

    def readlink(self, rel: str) -> str:
        self._check(rel)
        target = self._links.get(rel)
        return super().readlink(rel) if target is None else target

    def xattr(self, rel: str, name: str) -> bytes | None:
        value = self._xattrs.get(f"{rel}#{name}")
        return super().xattr(rel, name) if value is None else value.encode("latin-1", "replace")

    def owner(self, rel: str) -> int | None:
        return self._owners[rel] if rel in self._owners else super().owner(rel)

    def exists(self, rel: str) -> bool:
        answer = self._exists.get(rel)
        return super().exists(rel) if answer is None else answer

    def page_size_bytes(self) -> int:
        return self._page_size_bytes

    def clock_ticks(self) -> int:
        return self._clock_ticks

    def kernel_release(self) -> str:
        return self._kernel_release or super().kernel_release()

    def user_ns_inode(self, pid: int) -> int | None:
        key = str(pid)
        return (
            self._user_ns_inodes[key] if key in self._user_ns_inodes else super().user_ns_inode(pid)
        )

    def same_mm(self, pid_a: int, pid_b: int) -> bool | None:
        return self._same_mm.get((pid_a, pid_b))


def open_root(path: str = "/") -> Root:
    """The live machine, a recording, or a tree written by hand (without a manifest).

    Raises ``BadRecording``.
    """
    root = Root(path)
    if root.live:
        return root
    if os.path.lexists(os.path.join(root.path, MANIFEST)):
        return RecordedRoot(path)
    if not os.path.isdir(os.path.join(root.path, "proc")):
        raise BadRecording(path, "no tree to read: it has no proc directory")
    return root
