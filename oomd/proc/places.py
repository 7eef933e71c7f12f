"""Where processes are, for the rules that ask for it: read ahead, a few cgroups at a time.

From the cgroups' side: one file names all processes of a cgroup, and only those of cgroups that
a rule looks for are read. ``/proc/PID/cgroup`` of each process costs more, takes a lock that all
share, and is out of date as soon as systemd moves the process.
"""

import time

from oomd.lean import deque
from oomd.proc.cgroup import V1_MEMORY, cgroup_path
from oomd.proc.memcg import read_procs
from oomd.proc.root import ReadError, Root
from oomd.rules.book import OUTSIDE, Inside, Places, RuleBook
from oomd.typed import Final

__all__ = ["PlacesReader"]

# systemd's own tree, which names units; or else the one that has the memory.
_MOUNTS: Final = (
    ("sys/fs/cgroup", "cgroup.controllers"),
    ("sys/fs/cgroup/systemd", "cgroup.procs"),
    ("sys/fs/cgroup/unified", "cgroup.controllers"),
    (V1_MEMORY, "cgroup.procs"),
)

# In the calm it takes a hundredth of a processor at most: so much may be saved up, and less is
# not worth a beginning.
SHARE: Final = 100
SAVED_US: Final = 50_000
LEAST_US: Final = 1_000
# From the end of a pass to the beginning of the next.
PAUSE_MS: Final = 1_000
# A user may make cgroups without end below his own; what is kept of them is bounded.
CGROUPS_AT_MOST: Final = 20_000
PIDS_AT_MOST: Final = 65_536

# parse_boolean(), as systemd-oomd reads these attributes.
_TRUE: Final = frozenset((b"1", b"yes", b"y", b"true", b"t", b"on"))
_FOR_EVER: Final = 1 << 62


def _mount(root: Root) -> str:
    """The hierarchy that is looked through; empty: there is none."""
    there = [mount for mount, file in _MOUNTS if root.exists(f"{mount}/{file}")]
    for mount in there:
        try:
            if root.subdirs(mount):
                return mount
        except ReadError:
            continue
    return there[0] if there else ""


class PlacesReader:
    """Keeps ``book.places`` up to date. Never for long, and never when somebody is to die."""

    def __init__(self, root: Root, book: RuleBook, domain: str = "") -> None:
        """``domain`` is the cgroup that is judged in place of the machine."""
        self._root = root
        self._book = book
        self._mount = _mount(root)
        self._domain = cgroup_path(domain)
        self._waiting: deque[tuple[str, Inside]] = deque()
        self._bits: dict[int, int] = {}
        self._owner: int | None = None
        self._begin_ticks = 0
        self._cgroups = 0
        self._saved_us = 0
        self._looked_ms = 0
        self._next_ms = 0
        self.note = ""
        """What is worth knowing, once; the caller's to clear."""

    # --- one cgroup

    def _preference(self, folder: str) -> tuple[bool, bool]:
        """``user.oomd_avoid`` and ``user.oomd_omit``, if they count.

        As with systemd-oomd they do in a cgroup of root's, or of the owner of what is judged:
        nobody takes himself out of a choice among others.
        """
        root = self._root
        avoid, omit = (
            (root.xattr(folder, f"user.oomd_{name}") or b"").lower() in _TRUE
            for name in ("avoid", "omit")
        )
        if not (avoid or omit):
            return False, False
        owner = root.owner(folder)
        counts = owner is not None and owner in (0, self._owner)
        return avoid and counts, omit and counts

    def _read(self, path: str, above: Inside) -> None:
        """What is in it, and put those below it on the list. Raises ``ReadError``."""
        folder = self._mount + path
        inside = self._book.inside(above, path or "/")
        avoid, omit = self._preference(folder) if self._book.managed else (False, False)
        bits = self._book.bits_of(inside, avoid=avoid, omit=omit)
        self._cgroups += 1
        if bits:
            self._bits |= dict.fromkeys(read_procs(self._root, folder), bits)
        self._waiting.extend((f"{path}/{name}", inside) for name in self._root.subdirs(folder))

    # --- a pass

    def _now_ticks(self) -> int:
        if not self._root.live:
            # Of a tree nobody is born any more.
            return _FOR_EVER
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) * self._root.clock_ticks() // 10**9

    def _begin(self) -> None:
        self._bits, self._cgroups = {}, 0
        self._begin_ticks = self._now_ticks()
        self._owner = self._root.owner(self._mount + self._domain) if self._domain else 0
        self._waiting.append(("", OUTSIDE))

    def _end(self) -> None:
        if self._waiting:
            self._waiting.clear()
            self.note = (
                f"rules see no more than {CGROUPS_AT_MOST} cgroups and {PIDS_AT_MOST} processes in "
                "them, those nearest to the root; there are more"
            )
        self._book.places = Places(self._bits, self._begin_ticks)
        self._bits = {}

    def _go_on(self, budget_us: int) -> int:
        """Begin a pass, or go on with one, for about that long; how long it was, in us."""
        begin_ns = time.monotonic_ns()
        if not self._waiting:
            self._begin()
        spent_us, full = 0, False
        while self._waiting and not full and spent_us < budget_us:
            # Those near the root first: they are the admin's, and what is deep down a user's.
            path, above = self._waiting.popleft()
            try:
                self._read(path, above)
            except ReadError:
                # It is gone, or refused: then nobody in it is known.
                pass
            full = self._cgroups >= CGROUPS_AT_MOST or len(self._bits) >= PIDS_AT_MOST
            spent_us = (time.monotonic_ns() - begin_ns) // 1000
        if full or not self._waiting:
            self._end()
        return spent_us

    def look(self, now_ms: int) -> None:
        """A round of it, if it is time for one."""
        elapsed_ms, self._looked_ms = now_ms - (self._looked_ms or now_ms), now_ms
        self._saved_us = min(self._saved_us + elapsed_ms * 1000 // SHARE, SAVED_US)
        begun = bool(self._waiting)
        if not self._mount or self._saved_us < LEAST_US or not (begun or now_ms >= self._next_ms):
            return
        self._saved_us -= self._go_on(self._saved_us)
        if not self._waiting:
            self._next_ms = now_ms + PAUSE_MS

    def read_all(self, budget_us: int = _FOR_EVER) -> None:
        """A whole pass at once, or as much of it as can be had."""
        self._waiting.clear()
        if self._mount:
            self._go_on(budget_us)
