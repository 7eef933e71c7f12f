"""``hugepages``: takes huge pages that nobody uses out of their pools, and puts them back later.

What a pool holds is lost to everybody else, and most pools are made for a load that is not there
all the time. What is reserved or in use is not touched.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from oomd.notifier import Answer, OomEvent
from oomd.notifier.builtin.growth import RETRY_S, Growth
from oomd.notifier.builtin.kept import Kept
from oomd.proc.root import Gone, ReadError, Unparsable, WritableRoot

__all__ = ["HugePages"]

_POOLS: Final = "sys/kernel/mm/hugepages"
_NODES: Final = "sys/devices/system/node"
# Between two steps.
STEP_S = 1.0


def _number(root: WritableRoot, path: str) -> int:
    data = root.read(path).strip()
    if not data.isdigit():
        raise Unparsable(path, "is not a number")
    # More than 19 digits is no count of anything (and int() balks at 4,300).
    return int(data[:19])


class _Pool(NamedTuple):
    """The huge pages of one size: of one node, or of a machine that knows no nodes."""

    path: str
    page_bytes: int

    def free(self, root: WritableRoot) -> int:
        """Pages that nobody has. Some of them may be promised (reserved) to somebody."""
        return _number(root, f"{self.path}/free_hugepages")

    def size(self, root: WritableRoot) -> int:
        """Pages that the pool is to have: what is written to ``nr_hugepages`` changes this."""
        total = _number(root, f"{self.path}/nr_hugepages")
        # Borrowed beyond the size (nr_overcommit_hugepages) and gone by themselves.
        return max(0, total - _number(root, f"{self.path}/surplus_hugepages"))

    def resize(self, root: WritableRoot, pages: int) -> int:
        """Ask for another size; the one that has come of it."""
        root.write(f"{self.path}/nr_hugepages", b"%d" % pages)
        return self.size(root)


def _page_bytes(name: str) -> int:
    """Of ``hugepages-2048kB``; 0: it is none."""
    kib = name.removeprefix("hugepages-").removesuffix("kB")
    return int(kib) * 1024 if kib.isascii() and kib.isdecimal() else 0


def _pools_of(root: WritableRoot, size: str) -> list[_Pool]:
    """Each node's pool of one page size, or the machine's where the kernel knows no nodes.

    By node, because what is written for the machine is spread over all nodes: a pool that an
    admin has put on one of them would come back elsewhere.
    """
    page_bytes = _page_bytes(size)
    try:
        nodes = [name for name in root.listdir(_NODES) if name.removeprefix("node").isdecimal()]
    except Gone:
        nodes = []
    paths = [f"{_NODES}/{node}/hugepages/{size}" for node in sorted(nodes)]
    found = [_Pool(path, page_bytes) for path in paths if root.exists(f"{path}/nr_hugepages")]
    return found or [_Pool(f"{_POOLS}/{size}", page_bytes)]


class HugePages:
    """Lowers ``nr_hugepages`` and raises it again."""

    name = "hugepages"

    def __init__(
        self,
        root: WritableRoot,
        *,
        put_back_after_s: int,
        step_mib: int,
        keep_percent: float,
    ) -> None:
        self._root = root
        self._step_bytes = step_mib << 20
        self._growth = Growth(root, keep_percent, put_back_after_s)
        self._kept = Kept(root, self.name)
        # The pools that are smaller than they were, and how large each was.
        self._wanted: dict[_Pool, int] = {}

    @property
    def missing_pools(self) -> int:
        """How many pools are not yet what they were."""
        return len(self._wanted)

    def start(self) -> None:
        """Raises ReadError: this kernel has no huge pages."""
        self._root.listdir(_POOLS)
        # A worker that was killed in a storm had no time to put them back.
        self._wanted = dict(_parse(self._kept.open()))
        if self._wanted:
            self._growth.storm()

    def release(self, event: OomEvent) -> Answer:
        """All pages that nobody has or was promised. Raises ReadError: no pool could be changed."""
        freed_bytes, error = 0, None
        # The largest first: a page of it gives the most.
        sizes = sorted(filter(_page_bytes, self._root.listdir(_POOLS)), key=_page_bytes)
        for size in reversed(sizes):
            try:
                for freed in self._take_unused(size):
                    freed_bytes += freed
            except ReadError as failed:
                error = failed
        if error is not None and not freed_bytes:
            raise error
        return freed_bytes

    def _take_unused(self, size: str) -> Iterator[int]:
        """Pool by pool, how many bytes were freed."""
        whole = f"{_POOLS}/{size}"
        # Only the whole machine has a count of what is reserved.
        reserved = _number(self._root, f"{whole}/resv_hugepages")
        unused = _number(self._root, f"{whole}/free_hugepages") - reserved
        for pool in _pools_of(self._root, size):
            before = pool.size(self._root)
            pages = min(unused, pool.free(self._root), before)
            if pages <= 0:
                continue
            # Remembered first: we may die of what we do it against.
            self._wanted.setdefault(pool, before)
            self._remember()
            # Who takes one meanwhile keeps it: the kernel never frees what is in use.
            taken = max(0, before - pool.resize(self._root, before - pages))
            unused -= taken
            yield taken * pool.page_bytes

    def calm(self, now: float) -> float | None:
        """Put one step back, if there is room for it and it has been calm for long enough."""
        if not self._wanted:
            return None
        wait_s = self._growth.wait_s(now)
        if wait_s > 0:
            return wait_s
        room_bytes = self._growth.room_bytes()
        grown_bytes = self._put_back(min(self._step_bytes, room_bytes), room_bytes)
        if not self._wanted:
            return None
        return STEP_S if grown_bytes else RETRY_S

    def _put_back(self, step_bytes: int, room_bytes: int) -> int:
        """How many bytes have found their way back. A page larger than a step comes alone."""
        done_bytes = 0
        for pool, wanted in tuple(self._wanted.items()):
            left_bytes = step_bytes - done_bytes
            if not done_bytes and pool.page_bytes <= room_bytes:
                left_bytes = max(left_bytes, pool.page_bytes)
            try:
                before = after = pool.size(self._root)
                pages = min(wanted - before, left_bytes // pool.page_bytes)
                if pages > 0:
                    # Fewer than were asked for, where free memory is too scattered.
                    after = pool.resize(self._root, before + pages)
            except Gone:
                # Its node was taken out of the machine.
                before = after = wanted
            except ReadError:
                continue
            done_bytes += max(0, after - before) * pool.page_bytes
            if after >= wanted:
                del self._wanted[pool]
        self._remember()
        return done_bytes

    def _remember(self) -> None:
        self._kept.write([f"{pages} {pool.path}" for pool, pages in self._wanted.items()])

    def storm(self) -> None:
        """Put nothing back for a while."""
        self._growth.storm()

    def close(self) -> None:
        """Put back what there is room for now: nobody else will."""
        room_bytes = self._growth.room_bytes()
        self._put_back(room_bytes, room_bytes)
        self._kept.close()


def _parse(lines: list[str]) -> Iterator[tuple[_Pool, int]]:
    """The pools in :class:`Kept`; nothing that does not look like one is ever written to."""
    for line in lines:
        pages, _, path = line.partition(" ")
        page_bytes = _page_bytes(path.rpartition("/")[2])
        below = path.startswith((f"{_POOLS}/", f"{_NODES}/")) and ".." not in path
        if pages.isascii() and pages.isdecimal() and len(pages) < 12 and page_bytes and below:
            yield _Pool(path, page_bytes), int(pages)
