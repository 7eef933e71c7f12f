"""``/proc/meminfo``."""

from oomd.mm_types import MemInfo
from oomd.proc.root import Root, Unparsable

__all__ = ["parse_meminfo", "read_meminfo"]

_FILE = "proc/meminfo"


def _fields(data: bytes) -> dict[bytes, int]:
    """Name to number; lines of another form are left out."""
    fields = {}
    for line in data.split(b"\n"):
        name, colon, rest = line.partition(b":")
        number = rest.split()[:1]
        if colon and number and number[0].isdigit():
            # More than 19 digits is no count of anything (and int() balks at 4,300).
            fields[name] = int(number[0][:19])
    return fields


def parse_meminfo(data: bytes) -> MemInfo:
    """The lines that oomd uses, in KiB. Absent ones are 0 where no decision hangs on them.

    Raises ``Unparsable``.
    """
    fields = _fields(data)
    get = fields.get
    if not get(b"MemTotal"):
        raise Unparsable(_FILE, "no MemTotal")
    # All kernels have these. Where one is torn off, 0 would say that somebody has to die.
    needed = (b"MemFree", b"SwapFree") if get(b"SwapTotal") else (b"MemFree",)
    for name in needed:
        if name not in fields:
            raise Unparsable(_FILE, f"no {name.decode()}")
    free, buffers, cached = get(b"MemFree", 0), get(b"Buffers", 0), get(b"Cached", 0)
    shmem = get(b"Shmem", 0)
    available = get(b"MemAvailable")
    if available is None:
        # Before 3.14. Shmem is counted in Cached and cannot be dropped.
        available = max(0, free + buffers + cached - shmem)
    hugetlb = get(b"Hugetlb")
    if hugetlb is None:
        # Before 4.19; huge pages of other sizes are not in it.
        hugetlb = get(b"HugePages_Total", 0) * get(b"Hugepagesize", 0)
    return MemInfo(
        mem_total_kib=fields[b"MemTotal"],
        mem_free_kib=free,
        mem_available_kib=available,
        swap_total_kib=get(b"SwapTotal", 0),
        swap_free_kib=get(b"SwapFree", 0),
        buffers_kib=buffers,
        cached_kib=cached,
        shmem_kib=shmem,
        slab_kib=get(b"Slab", 0),
        slab_reclaimable_kib=get(b"SReclaimable", 0),
        hugetlb_kib=hugetlb,
        mlocked_kib=get(b"Mlocked", 0),
        anon_pages_kib=get(b"AnonPages", 0),
    )


def read_meminfo(root: Root) -> MemInfo:
    """Raises ``ReadError`` (``Unparsable`` among them)."""
    return parse_meminfo(root.read_record(_FILE))
