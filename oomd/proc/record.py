"""A machine's answers, written down: ``--record DIR``.

A recording is the tree of the files that were read, byte for byte, and ``manifest.json`` with what
isn't a file: facts, refusals, directory listings. The manifest is written last. Never recorded,
because never read: ``cmdline`` and ``environ``.
"""

import json
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from oomd.proc.recorded import (
    MANIFEST,
    VERSION,
    VERSION_KEY,
    BadRecording,
    RecordedRoot,
    open_root,
)
from oomd.proc.root import READ_LIMIT, ReadError, Refused, Root

__all__ = ["BadRecording", "CannotRecord", "RecordedRoot", "RecordingRoot", "open_root"]

_T = TypeVar("_T")


class CannotRecord(Exception):
    """The directory cannot be used, or writing to it failed. One line of text."""


class RecordingRoot(Root):
    """Asks ``source`` everything once, and keeps the answers in ``directory``.

    Asked again, it gives the first answer again: only so does a decision, which reads some files
    twice, come out the same when it is replayed. The directory must be empty or absent. Methods
    also raise ``CannotRecord``, when the copy cannot be written.
    """

    def __init__(self, source: Root, directory: str) -> None:
        super().__init__(source.path)
        self._source = source
        self._directory = os.path.abspath(directory)
        self._files: set[str] = set()
        self._errors: dict[str, ReadError] = {}
        self._listings: dict[str, list[str]] = {}
        self._subdirs: dict[str, list[str]] = {}
        self._links: dict[str, str] = {}
        self._exists: dict[str, bool] = {}
        self._user_ns_inodes: dict[str, int | None] = {}
        self._same_mm: dict[tuple[int, int], bool | None] = {}
        self._xattrs: dict[str, str | None] = {}
        self._owners: dict[str, int | None] = {}
        try:
            # Names and sizes of every user's processes: not for everybody's eyes.
            os.makedirs(self._directory, mode=0o700, exist_ok=True)
            if os.listdir(self._directory):
                raise CannotRecord(f"{directory}: not empty, and nothing is overwritten")
        except OSError as error:
            raise CannotRecord(f"{directory}: {error.strerror}") from None

    @property
    def live(self) -> bool:
        return self._source.live

    def _path(self, rel: str) -> str:
        if ".." in rel.split("/"):
            raise CannotRecord(f"{rel}: leads out of the recording")
        return os.path.join(self._directory, rel)

    def _save(self, rel: str, data: bytes) -> None:
        path = self._path(rel)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as file:
                file.write(data)
        except OSError as error:
            raise CannotRecord(f"{path}: {error.strerror}") from None

    def _file(self, rel: str, read: Callable[[str], bytes]) -> bytes:
        """The copy if there is one, else what ``read`` gives, which becomes it."""
        if rel in self._files:
            with open(self._path(rel), "rb") as file:
                return file.read()
        data = self._ask(rel, read)
        self._save(rel, data)
        self._files.add(rel)
        return data

    def _ask(self, rel: str, ask: Callable[[str], _T]) -> _T:
        """The source's answer, or the error that it gave the first time."""
        if rel in self._errors:
            raise self._errors[rel]
        try:
            return ask(rel)
        except ReadError as error:
            self._errors[rel] = error
            raise

    def read(self, rel: str, *, limit: int = READ_LIMIT) -> bytes:
        return self._file(rel, lambda rel: self._source.read(rel, limit=limit))

    def read_record(self, rel: str) -> bytes:
        return self._file(rel, self._source.read_record)

    def read_value(self, rel: str) -> bytes:
        return self._file(rel, self._source.read_value)

    def listdir(self, rel: str) -> list[str]:
        if rel not in self._listings:
            self._listings[rel] = self._ask(rel, self._source.listdir)
        return list(self._listings[rel])

    def subdirs(self, rel: str) -> list[str]:
        if rel not in self._subdirs:
            self._subdirs[rel] = self._ask(rel, self._source.subdirs)
        return list(self._subdirs[rel])

    def readlink(self, rel: str) -> str:
        if rel not in self._links:
            self._links[rel] = self._ask(rel, self._source.readlink)
        return self._links[rel]

    def xattr(self, rel: str, name: str) -> bytes | None:
        key = f"{rel}#{name}"
        if key not in self._xattrs:
            value = self._source.xattr(rel, name)
            self._xattrs[key] = None if value is None else value.decode("latin-1")
        kept = self._xattrs[key]
        return None if kept is None else kept.encode("latin-1")

    def owner(self, rel: str) -> int | None:
        if rel not in self._owners:
            self._owners[rel] = self._source.owner(rel)
        return self._owners[rel]

    def exists(self, rel: str) -> bool:
        if rel not in self._exists:
            self._exists[rel] = self._source.exists(rel)
        return self._exists[rel]

    def iter_pids(self) -> Iterator[int]:
        return iter(self.pids())

    def page_size_bytes(self) -> int:
        return self._source.page_size_bytes()

    def clock_ticks(self) -> int:
        return self._source.clock_ticks()

    def kernel_release(self) -> str:
        return self._source.kernel_release()

    def user_ns_inode(self, pid: int) -> int | None:
        key = str(pid)
        if key not in self._user_ns_inodes:
            self._user_ns_inodes[key] = self._source.user_ns_inode(pid)
        return self._user_ns_inodes[key]

    def same_mm(self, pid_a: int, pid_b: int) -> bool | None:
        pair = (pid_a, pid_b)
        if pair not in self._same_mm:
            self._same_mm[pair] = self._source.same_mm(pid_a, pid_b)
        return self._same_mm[pair]

    def finish(self, extra: dict[str, Any] | None = None) -> None:
        """Writes the manifest. ``extra`` is the caller's own: thresholds, options, versions.

        Anything that JSON can hold; ``RecordedRoot.extra`` gives it back.
        """
        refused = {rel: e.why for rel, e in self._errors.items() if isinstance(e, Refused)}
        manifest = {
            VERSION_KEY: VERSION,
            "page_size_bytes": self.page_size_bytes(),
            "clock_ticks": self.clock_ticks(),
            "kernel_release": self.kernel_release(),
            # Not the host's name: a recording is sent to others.
            "uname": [*os.uname()][2:] if self.live else [],
            "refused": refused,
            "user_ns_inodes": self._user_ns_inodes,
            "same_mm": [[a, b, answer] for (a, b), answer in self._same_mm.items()],
            "links": self._links,
            "exists": self._exists,
            "listings": self._listings,
            "subdirs": self._subdirs,
            # Most have none.
            "xattrs": {key: value for key, value in self._xattrs.items() if value is not None},
            "owners": self._owners,
            "extra": extra or {},
        }
        self._save(MANIFEST, json.dumps(manifest, indent=1).encode("ascii") + b"\n")
