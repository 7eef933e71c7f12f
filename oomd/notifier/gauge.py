"""What the machine's memory says, beside what the notifiers say."""

from oomd.mm_types import MemInfo
from oomd.proc.meminfo import read_meminfo
from oomd.proc.pcp import read_pcp_kib
from oomd.proc.root import ReadError, Root

__all__ = ["Gauge", "read_memory"]


def read_memory(root: Root) -> MemInfo:
    """The machine's memory, with the per-CPU lists in what is free and available.

    Raises ReadError.
    """
    meminfo = read_meminfo(root)
    # What was just freed is there at first, and in neither figure.
    pcp_kib = read_pcp_kib(root, root.page_size_bytes())
    return meminfo._replace(
        mem_free_kib=meminfo.mem_free_kib + pcp_kib,
        mem_available_kib=meminfo.mem_available_kib + pcp_kib,
    )


class Gauge:
    """Reads memory as it is now."""

    def __init__(self, root: Root) -> None:
        self._root = root

    def look(self) -> MemInfo | None:
        """The machine's memory; None: it cannot be read."""
        try:
            return read_memory(self._root)
        except ReadError:
            return None

    def most_bytes(self) -> int:
        """How much memory and swap there is: nobody can free more."""
        meminfo = self.look()
        # Not readable: then nothing is too much.
        total_kib = meminfo.mem_total_kib + meminfo.swap_total_kib if meminfo else 1 << 53
        return total_kib * 1024
