"""A few lines that outlive a worker which is killed in a storm: a file in the daemon's folder."""

import os
from typing import Final

from oomd.proc.root import ReadError, WritableRoot

__all__ = ["Kept"]

# Always written whole, so that one write replaces what was there.
_BYTES: Final = 4096


class Kept:
    """One small file below ``$RUNTIME_DIRECTORY``; without that, nothing is kept.

    It is made, with all its room, when it is calm: in a storm no page is allocated for it.
    """

    def __init__(self, root: WritableRoot, name: str) -> None:
        self._root = root
        # systemd's RuntimeDirectory=.
        folder = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0].strip("/")
        self._path = f"{folder}/{name}" if folder else ""
        self._fd = -1

    def open(self) -> list[str]:
        """What the last worker has left; from then on it can be written."""
        if not self._path:
            return []
        try:
            text = self._root.read(self._path, limit=_BYTES).decode("ascii", "replace")
        except ReadError:
            # The first one to use it.
            text = ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        try:
            self._root.replace(self._path, _padded(lines))
            self._fd = self._root.open(self._path, os.O_WRONLY)
        except ReadError:
            # A full /run: it works as well without, as long as this worker lives.
            pass
        return lines

    def write(self, lines: list[str]) -> None:
        """From now on these."""
        if self._fd < 0:
            return
        try:
            os.pwrite(self._fd, _padded(lines), 0)
        except OSError:
            # A help and no more.
            pass

    def close(self) -> None:
        """Nothing is written any more."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _padded(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode().ljust(_BYTES)[:_BYTES]
