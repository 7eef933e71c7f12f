"""zram: swap that is itself in memory, and gives back only what it squeezes out."""

from oomd.proc.root import ReadError, Root

__all__ = ["ZramRoom", "parse_mm_stat"]

# Less in them says nothing yet about what will come: this, or this share of a small machine.
TELLING_BYTES = 16 << 20
TELLING_SHARE = 128
# What was stored before may be another's, and compress well: so many times as much in a row that
# does not is told by itself.
TELLING_ROW = 4


def parse_mm_stat(data: bytes) -> tuple[int, int]:
    """``orig_data_size`` and ``mem_used_total`` of a device, in bytes; zeros if it is torn."""
    words = data.split()[:3]
    if len(words) < 3 or not (words[0].isdigit() and words[2].isdigit()):
        return 0, 0
    # More than 19 digits is no count of anything (and int() balks at 4,300).
    return int(words[0][:19]), int(words[2][:19])


def _squeezed(stored_bytes: int, taken_bytes: int) -> bool:
    return taken_bytes * 4 <= stored_bytes * 3


class ZramRoom:
    """Does what goes to zram make room: of all that it holds, and of what went there last."""

    __slots__ = ("_root", "_row_bytes", "_seen")

    def __init__(self, root: Root) -> None:
        self._root = root
        self.forget()

    def forget(self) -> None:
        """Memory is not short any more: what goes there next time may be another's."""
        self._seen = (0, 0)
        self._row_bytes = 0

    def _read(self) -> tuple[int, int]:
        """``orig_data_size`` and ``mem_used_total`` of all devices, in bytes."""
        stored_bytes = taken_bytes = 0
        try:
            names = [name for name in self._root.listdir("sys/block") if name.startswith("zram")]
        except ReadError:
            return 0, 0
        for name in names:
            try:
                stored, taken = parse_mm_stat(self._root.read(f"sys/block/{name}/mm_stat"))
            except ReadError:
                continue
            stored_bytes += stored
            taken_bytes += taken
        return stored_bytes, taken_bytes

    def makes_room(self, mem_total_kib: int, *, desperate: bool = False) -> bool:
        """What is in zram takes at most three quarters of what it took outside, and so did what
        was stored since the last calls.

        ``mem_total_kib``: of a machine of this size. ``desperate``: so little is left that less of
        it in a row has to tell. True as well where there is no zram, or not enough in it to tell,
        or that is not observable.
        """
        stored, taken = self._read()
        telling_bytes = min(TELLING_BYTES, mem_total_kib * 1024 // TELLING_SHARE)
        if stored < telling_bytes:
            self._seen = (stored, taken)
            return True
        before, taken_before = self._seen
        more = stored - before
        if not before or more < 0:
            self._seen = (stored, taken)
        elif more >= telling_bytes:
            self._row_bytes = 0 if _squeezed(more, taken - taken_before) else self._row_bytes + more
            self._seen = (stored, taken)
        row_bytes = telling_bytes * (1 if desperate else TELLING_ROW)
        return _squeezed(stored, taken) and self._row_bytes < row_bytes
