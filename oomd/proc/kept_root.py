"""The live machine, for whoever looks at the same few files of it again and again.

A file stays open, and with it the kernel's buffer for what it says (fs/seq_file.c): another look
takes no memory and so waits for none, as each would that opens it anew where memory is used up.
"""

import os

from oomd.proc.root import READ_CHUNK, READ_LIMIT, VALUE_BYTES, Root
from oomd.typed import Final

__all__ = ["KeptRoot", "kept_root"]

# More than are looked at; past it, files are opened anew.
_KEPT: Final = 32


class KeptRoot(Root):
    """Files that are read through it stay open; those that cannot be are read as through `Root`."""

    def __init__(self, path: str = "/") -> None:
        super().__init__(path)
        self._fds: dict[str, int] = {}

    def _fd(self, rel: str) -> int:
        fd = self._fds.get(rel, -1)
        if fd < 0 and len(self._fds) < _KEPT:
            self._fds[rel] = fd = self.open(rel, os.O_RDONLY)
        return fd

    def _pread(self, rel: str, chunk_bytes: int, *, whole: bool) -> bytes | None:
        """None: it is of no use, and let go of: the device, or the process, may be another."""
        fd = self._fd(rel)
        if fd < 0:
            return None
        try:
            data = os.pread(fd, chunk_bytes, 0)
            if whole:
                # zoneinfo gives a node at a time: its short reads are no end.
                chunks, offset = [data], len(data)
                while chunk := os.pread(fd, chunk_bytes, offset):
                    chunks.append(chunk)
                    offset += len(chunk)
                data = b"".join(chunks)
        except OSError:
            os.close(self._fds.pop(rel))
            return None
        return data

    def read(self, rel: str, *, limit: int = READ_LIMIT) -> bytes:
        data = self._pread(rel, READ_CHUNK, whole=True)
        return super().read(rel, limit=limit) if data is None or len(data) > limit else data

    def read_record(self, rel: str) -> bytes:
        data = self._pread(rel, READ_CHUNK, whole=False)
        return super().read_record(rel) if data is None or len(data) == READ_CHUNK else data

    def read_value(self, rel: str) -> bytes:
        data = self._pread(rel, VALUE_BYTES, whole=False)
        return super().read_value(rel) if data is None else data

    def close(self) -> None:
        """Let go of all of them."""
        for fd in self._fds.values():
            os.close(fd)
        self._fds.clear()


def kept_root(root: Root) -> Root:
    """The same machine with files that stay open, or, where it is not the live one, ``root``."""
    return KeptRoot(root.path) if root.live else root
