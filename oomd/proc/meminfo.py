"""``/proc/meminfo``."""

import os

from oomd.mm_types import MemInfo
from oomd.proc.root import ReadError, Root, Unparsable

__all__ = ["Glance", "parse_meminfo", "read_meminfo"]

_FILE = "proc/meminfo"


def _number(data: bytes, name: bytes) -> int | None:
    """The number on a line that begins with ``name``; None: no such line, or of another form.

    Each is looked for by itself: the file has four times as many lines as are wanted.
    """
    start = data.find(b"\n" + name + b":")
    if start < 0:
        return None
    words = data[start + len(name) + 2 : data.find(b"\n", start + 1)].split(None, 1)
    # More than 19 digits is no count of anything (and int() balks at 4,300).
    return int(words[0][:19]) if words and words[0].isdigit() else None


def parse_meminfo(data: bytes) -> MemInfo:
    """The lines that oomd uses, in KiB. Absent ones are 0 where no decision hangs on them.

    Raises ``Unparsable``.
    """
    text = b"\n" + data + b"\n"

    def get(name: bytes) -> int:
        return _number(text, name) or 0

    total_kib, swap_total_kib = get(b"MemTotal"), get(b"SwapTotal")
    if not total_kib:
        raise Unparsable(_FILE, "no MemTotal")
    # All kernels have these. Where one is torn off, 0 would say that somebody has to die.
    for name in (b"MemFree", b"SwapFree") if swap_total_kib else (b"MemFree",):
        if _number(text, name) is None:
            raise Unparsable(_FILE, f"no {name.decode()}")
    free, buffers, cached = get(b"MemFree"), get(b"Buffers"), get(b"Cached")
    shmem = get(b"Shmem")
    available = _number(text, b"MemAvailable")
    if available is None:
        # Before 3.14. Shmem is counted in Cached and cannot be dropped.
        available = max(0, free + buffers + cached - shmem)
    hugetlb = _number(text, b"Hugetlb")
    if hugetlb is None:
        # Before 4.19; huge pages of other sizes are not in it.
        hugetlb = get(b"HugePages_Total") * get(b"Hugepagesize")
    return MemInfo(
        mem_total_kib=total_kib,
        mem_free_kib=free,
        mem_available_kib=available,
        swap_total_kib=swap_total_kib,
        swap_free_kib=get(b"SwapFree"),
        buffers_kib=buffers,
        cached_kib=cached,
        shmem_kib=shmem,
        slab_kib=get(b"Slab"),
        slab_reclaimable_kib=get(b"SReclaimable"),
        hugetlb_kib=hugetlb,
        mlocked_kib=get(b"Mlocked"),
        anon_pages_kib=get(b"AnonPages"),
    )


def read_meminfo(root: Root) -> MemInfo:
    """Raises ``ReadError`` (``Unparsable`` among them)."""
    return parse_meminfo(root.read_record(_FILE))


# More than the file has by far; its first three lines; those of swap.
_GLANCE_BYTES = 8192
_FIRST_BYTES = 120
_SWAP_BYTES = 80


class Glance:
    """What is left, and nothing else, through a descriptor that stays open.

    A third of what :func:`read_meminfo` takes, for one who sleeps and only asks whether he may
    sleep on. Few steps, as each is met with cold caches. Anything out of the ordinary is for a
    proper look.
    """

    __slots__ = ("_fd",)

    def __init__(self, root: Root) -> None:
        """Raises nothing: without the descriptor there are no glances."""
        try:
            self._fd = root.open(_FILE, os.O_RDONLY)
        except ReadError:
            self._fd = -1

    def take(self) -> tuple[int, int, int, int, int] | None:
        """MemTotal, MemFree, MemAvailable, SwapTotal and SwapFree, in KiB. None: not to be had."""
        if self._fd < 0:
            return None
        try:
            data = os.pread(self._fd, _GLANCE_BYTES, 0)
            total, total_kib, _, free, free_kib, _, available, available_kib, *_ = data[
                :_FIRST_BYTES
            ].split()
            at = data.index(b"SwapTotal:")
            _, swap_kib, _, swap_free, swap_free_kib, *_ = data[at : at + _SWAP_BYTES].split()
            names = (total, free, available, swap_free)
            if names != (b"MemTotal:", b"MemFree:", b"MemAvailable:", b"SwapFree:"):
                return None
            return (
                int(total_kib),
                int(free_kib),
                int(available_kib),
                int(swap_kib),
                int(swap_free_kib),
            )
        except (OSError, ValueError):
            return None

    def close(self) -> None:
        """No more glances."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
