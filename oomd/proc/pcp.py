"""Pages in the per-CPU lists: free, and not counted by MemAvailable."""

from oomd.proc.root import ReadError, Root

__all__ = ["parse_pcp_pages", "read_pcp_kib"]


def parse_pcp_pages(data: bytes) -> int:
    """The sum of every pageset's ``count:`` in ``/proc/zoneinfo``, in pages."""
    pages = 0
    for part in data.split(b"\n              count: ")[1:]:
        number = part[: part.find(b"\n")].strip()
        pages += int(number[:19]) if number.isdigit() else 0
    return pages


def read_pcp_kib(root: Root, page_size_bytes: int) -> int:
    """KiB in the lists; 0 where that is not observable.

    Since 6.7 the lists tune themselves, and hold hundreds of MiB after a large process has
    died, for seconds. The kernel drains them before it runs out of memory (``drain_all_pages()``
    in ``__alloc_pages_direct_reclaim()``), so they are as good as free. The file is large on a
    large machine: it is read only when there seems to be too little.
    """
    try:
        return parse_pcp_pages(root.read("proc/zoneinfo")) * page_size_bytes // 1024
    except ReadError:
        return 0
