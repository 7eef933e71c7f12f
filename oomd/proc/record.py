"""A machine's answers, written down: ``--record DIR``.

A recording is the tree of the files that were read, byte for byte, and ``manifest.json`` with what
isn't a file: facts, refusals, directory listings. The manifest is written last. Never recorded,
because never read: ``cmdline`` and ``environ``.
"""

import json
import os
from typing import Any

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


class CannotRecord(Exception):
    """The directory cannot be used, or writing to it failed. One line of text."""


class RecordingRoot(Root):
    """Answers as ``source`` does, and keeps a copy of each first answer in ``directory``.

    Of two reads of one file the first is kept: the snapshot is made of first reads. The directory
    must be empty or absent. Methods also raise ``CannotRecord``, when the copy cannot be written.
    """

    def __init__(self, source: Root, directory: str) -> None:
        super().__init__(source.path)
        self._source = source
        self._directory = os.path.abspath(directory)
        self._seen: set[str] = set()
        self._refused: dict[str, str] = {}
        self._listings: dict[str, list[str]] = {}
        self._subdirs: dict[str, list[str]] = {}
        self._links: dict[str, str] = {}
        self._exists: dict[str, bool] = {}
        self._user_ns_inodes: dict[str, int | None] = {}
        self._same_mm: dict[tuple[int, int], bool | None] = {}
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

    def _save(self, rel: str, data: bytes) -> None:
        if ".." in rel.split("/"):
            raise CannotRecord(f"{rel}: leads out of the recording")
        path = os.path.join(self._directory, rel)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as file:
                file.write(data)
        except OSError as error:
            raise CannotRecord(f"{path}: {error.strerror}") from None

    def _refuse(self, rel: str, error: ReadError) -> None:
        if isinstance(error, Refused):
            self._refused.setdefault(rel, error.why)

    def _file(self, rel: str, data: bytes) -> bytes:
        if rel not in self._seen:
            self._seen.add(rel)
            self._save(rel, data)
        return data

    def read(self, rel: str, *, limit: int = READ_LIMIT) -> bytes:
        try:
            return self._file(rel, self._source.read(rel, limit=limit))
        except ReadError as error:
            self._seen.add(rel)
            self._refuse(rel, error)
            raise

    def read_record(self, rel: str) -> bytes:
        try:
            return self._file(rel, self._source.read_record(rel))
        except ReadError as error:
            self._seen.add(rel)
            self._refuse(rel, error)
            raise

    def listdir(self, rel: str) -> list[str]:
        try:
            names = self._source.listdir(rel)
        except ReadError as error:
            self._refuse(rel, error)
            raise
        self._listings.setdefault(rel, names)
        return names

    def subdirs(self, rel: str) -> list[str]:
        try:
            names = self._source.subdirs(rel)
        except ReadError as error:
            self._refuse(rel, error)
            raise
        self._subdirs.setdefault(rel, names)
        return names

    def readlink(self, rel: str) -> str:
        try:
            target = self._source.readlink(rel)
        except ReadError as error:
            self._refuse(rel, error)
            raise
        self._links.setdefault(rel, target)
        return target

    def exists(self, rel: str) -> bool:
        return self._exists.setdefault(rel, self._source.exists(rel))

    def page_size_bytes(self) -> int:
        return self._source.page_size_bytes()

    def clock_ticks(self) -> int:
        return self._source.clock_ticks()

    def kernel_release(self) -> str:
        return self._source.kernel_release()

    def user_ns_inode(self, pid: int) -> int | None:
        return self._user_ns_inodes.setdefault(str(pid), self._source.user_ns_inode(pid))

    def same_mm(self, pid_a: int, pid_b: int) -> bool | None:
        answer = self._source.same_mm(pid_a, pid_b)
        return self._same_mm.setdefault((pid_a, pid_b), answer)

    def finish(self, extra: dict[str, Any] | None = None) -> None:
        """Writes the manifest. ``extra`` is the caller's own: thresholds, options, versions.

        Anything that JSON can hold; ``RecordedRoot.extra`` gives it back.
        """
        manifest = {
            VERSION_KEY: VERSION,
            "page_size_bytes": self.page_size_bytes(),
            "clock_ticks": self.clock_ticks(),
            "kernel_release": self.kernel_release(),
            # Not the host's name: a recording is sent to others.
            "uname": [*os.uname()][2:] if self.live else [],
            "refused": self._refused,
            "user_ns_inodes": self._user_ns_inodes,
            "same_mm": [[a, b, answer] for (a, b), answer in self._same_mm.items()],
            "links": self._links,
            "exists": self._exists,
            "listings": self._listings,
            "subdirs": self._subdirs,
            "extra": extra or {},
        }
        self._save(MANIFEST, json.dumps(manifest, indent=1).encode("ascii") + b"\n")
