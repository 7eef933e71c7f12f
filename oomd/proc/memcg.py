"""A memory cgroup: its limits, its processes, and its memory as if it were a machine.

v1 (``/sys/fs/cgroup/memory``) and v2 (``/sys/fs/cgroup``); on a hybrid machine memory is v1's.
Membership is read from the cgroup's side: ``/proc/PID/cgroup`` takes a lock that all share.
"""

from oomd.mm_types import MemCgroup, MemInfo
from oomd.proc.cgroup import V1_MEMORY, cgroup_path, v2_mount
from oomd.proc.meminfo import read_meminfo
from oomd.proc.root import Gone, ReadError, Refused, Root, Unparsable
from oomd.proc.sysctl import parse_int, read_int
from oomd.typed import Final, NamedTuple

__all__ = [
    "BadCgroup",
    "parse_limit",
    "parse_memory_stat",
    "parse_oom_control",
    "parse_own_cgroup",
    "parse_procs",
    "read_memcg",
    "read_memcg_meminfo",
    "read_oom_groups",
    "read_procs",
]

_DEFAULT_SWAPPINESS: Final = 60

_OomGroups = tuple[tuple[str, frozenset[int]], ...]


class BadCgroup(ReadError):
    """No memory cgroup of that name can be judged."""


class _Place(NamedTuple):
    """A cgroup found."""

    version: int
    path: str
    folder: str


def _find(root: Root, name: str) -> _Place:
    """Raises ``BadCgroup``."""
    try:
        path = cgroup_path(name)
    except Unparsable as error:
        raise BadCgroup(name, error.why) from None
    if root.exists(f"{V1_MEMORY}/memory.limit_in_bytes"):
        place = _Place(1, path, V1_MEMORY + path)
        if root.exists(f"{place.folder}/memory.limit_in_bytes"):
            return place
        raise BadCgroup(path or "/", f"no such cgroup below /{V1_MEMORY}")
    mount = v2_mount(root)
    if mount is None:
        raise BadCgroup(path or "/", "this machine has no memory cgroups")
    place = _Place(2, path, mount + path)
    if root.exists(f"{place.folder}/memory.max"):
        return place
    if not path:
        raise BadCgroup("/", "the root cgroup has no limit: it is the whole machine")
    if root.exists(f"{place.folder}/cgroup.procs"):
        raise BadCgroup(path, "the memory controller is not enabled in this cgroup")
    raise BadCgroup(path, f"no such cgroup below /{mount}")


# --- limits


def parse_limit(data: bytes, page_size_bytes: int) -> int | None:
    """A limit in pages; None: no limit. Raises ``Unparsable``.

    "max" on v2. On v1 PAGE_COUNTER_MAX pages (9223372036854771712 bytes), and on plain 3.10
    RESOURCE_MAX, the greatest signed number.
    """
    if data.strip() == b"max":
        return None
    limit = parse_int(data, "limit")
    # Rounded down to a page of any size.
    return None if limit >= 2**63 - (1 << 20) else limit // page_size_bytes


def _limit(root: Root, path: str, page_size_bytes: int) -> int | None:
    return parse_limit(root.read_record(path), page_size_bytes)


def _optional_limit(root: Root, path: str, page_size_bytes: int) -> int | None:
    """The same for a file that is not there without swap accounting."""
    try:
        return _limit(root, path, page_size_bytes)
    except Gone:
        return None


def parse_oom_control(data: bytes) -> bool:
    """v1 ``memory.oom_control``: is the OOM killer switched off?"""
    return any(line.split() == [b"oom_kill_disable", b"1"] for line in data.splitlines())


# --- processes


def parse_procs(data: bytes) -> tuple[int, ...]:
    """``cgroup.procs``: pids in its order, which on v2 is the one in which they joined.

    Those of another pid namespace show as 0 and are left out.
    """
    # More than 9 digits is no pid (and int() balks at 4,300).
    pids = dict.fromkeys(int(word[:9]) for word in data.split() if word.isdigit())
    return tuple(pid for pid in pids if pid)


def parse_own_cgroup(data: bytes) -> str:
    """``/proc/PID/cgroup``: its place in cgroup v2, without slashes around it."""
    lines = data.splitlines()
    own = next((line[3:] for line in lines if line.startswith(b"0::/")), b"")
    return own.decode("utf-8", "surrogateescape").strip("/")


def read_procs(root: Root, folder: str) -> tuple[int, ...]:
    """Pids in one cgroup; none in one that is gone. Raises ``ReadError``."""
    try:
        return parse_procs(root.read(f"{folder}/cgroup.procs"))
    except Gone:
        return ()
    except Refused as error:
        # A threaded cgroup: its processes are listed in the domain above it.
        if error.why == "EOPNOTSUPP":
            return ()
        raise


class _Cgroup(NamedTuple):
    """One cgroup of a subtree, with the processes in it and below it."""

    path: str
    own: tuple[int, ...]
    pids: frozenset[int]


def _subtree(root: Root, place: _Place) -> list[_Cgroup]:
    """``place`` and everything below it, as ``for_each_mem_cgroup_tree()`` walks: each before what
    is below it, siblings in the order in which they were made. Raises ``ReadError``.

    A cgroup that is removed meanwhile is left out.
    """
    paths: list[str] = []
    parents: list[int] = []
    own: list[tuple[int, ...]] = []
    base = place.folder.removesuffix(place.path)
    waiting = [(place.path, -1)]
    while waiting:
        path, parent = waiting.pop()
        number = len(paths)
        paths.append(path)
        parents.append(parent)
        own.append(read_procs(root, base + path))
        try:
            names = root.subdirs(base + path)
        except Gone:
            continue
        waiting += [(f"{path}/{name}", number) for name in reversed(names)]
    # Grown in place: a new set for each child of a cgroup with thousands would be their square.
    pids = [set(one) for one in own]
    for number in range(len(paths) - 1, 0, -1):
        pids[parents[number]] |= pids[number]
    found = zip(paths, own, map(frozenset, pids), strict=True)
    return [_Cgroup(path or "/", mine, below) for path, mine, below in found]


def _oom_groups(root: Root, mount: str, cgroups: list[_Cgroup]) -> _OomGroups:
    groups = []
    for cgroup in cgroups:
        try:
            if read_int(root, f"{mount}{cgroup_path(cgroup.path)}/memory.oom.group") == 1:
                groups.append((cgroup.path, cgroup.pids))
        except Gone:
            # The root has none, nor has a cgroup without the controller, nor a kernel before 4.19.
            continue
    return tuple(groups)


def read_oom_groups(root: Root) -> _OomGroups:
    """v2: all cgroups with ``memory.oom.group`` = 1, each before those below it, with their pids.

    They die as a whole in a global OOM, too. Empty on v1. Raises ``ReadError``.
    """
    mount = v2_mount(root)
    if mount is None or root.exists(f"{V1_MEMORY}/memory.limit_in_bytes"):
        return ()
    return _oom_groups(root, mount, _subtree(root, _Place(2, "", mount)))


def read_oom_group(root: Root, pid: int, domain: str = "") -> frozenset[int]:
    """v2: the processes that die with this one, by ``memory.oom.group``; empty for none.

    ``mem_cgroup_get_oom_group()``: the highest such cgroup from ``domain`` (the machine, or the
    memcg that is judged) down to the process's own. After the kill only: ``/proc/PID/cgroup``
    takes a global lock before 6.8. Raises nothing: a victim that is gone has no group to tell.
    """
    mount = v2_mount(root)
    if mount is None:
        return frozenset()
    try:
        names = parse_own_cgroup(root.read_record(f"proc/{pid}/cgroup")).split("/")
        for depth in range(1, len(names) + 1):
            path = "/" + "/".join(names[:depth])
            if len(path) < len(domain.rstrip("/")):
                continue
            try:
                if read_int(root, f"{mount}{cgroup_path(path)}/memory.oom.group") != 1:
                    continue
            except Gone:
                continue
            return _subtree(root, _Place(2, path, f"{mount}{cgroup_path(path)}"))[0].pids
    except ReadError:
        pass
    return frozenset()


# --- the whole


def _limits_v1(root: Root, place: _Place, page_size_bytes: int) -> MemCgroup:
    folder = place.folder
    return MemCgroup(
        path=place.path or "/",
        version=1,
        usage_pages=read_int(root, f"{folder}/memory.usage_in_bytes") // page_size_bytes,
        limit_pages=_limit(root, f"{folder}/memory.limit_in_bytes", page_size_bytes),
        memsw_limit_pages=_optional_limit(
            root, f"{folder}/memory.memsw.limit_in_bytes", page_size_bytes
        ),
        swappiness=read_int(root, f"{folder}/memory.swappiness"),
        oom_kill_disable=parse_oom_control(root.read(f"{folder}/memory.oom_control")),
    )


def _limits_v2(root: Root, place: _Place, page_size_bytes: int) -> MemCgroup:
    folder = place.folder
    try:
        # A cgroup has no swappiness of its own on v2: mem_cgroup_swappiness().
        swappiness = read_int(root, "proc/sys/vm/swappiness")
    except ReadError:
        swappiness = _DEFAULT_SWAPPINESS
    return MemCgroup(
        path=place.path,
        version=2,
        usage_pages=read_int(root, f"{folder}/memory.current") // page_size_bytes,
        limit_pages=_limit(root, f"{folder}/memory.max", page_size_bytes),
        swap_limit_pages=_optional_limit(root, f"{folder}/memory.swap.max", page_size_bytes),
        swappiness=swappiness,
    )


def _limits(root: Root, place: _Place, page_size_bytes: int) -> MemCgroup:
    """The cgroup without its processes. Raises ``ReadError``."""
    read = _limits_v1 if place.version == 1 else _limits_v2
    return read(root, place, page_size_bytes)


def read_memcg(root: Root, path: str, page_size_bytes: int) -> MemCgroup:
    """The cgroup ``path`` (below the mount, as in ``/proc/PID/cgroup``) and all below it.

    Raises ``BadCgroup`` (a ``ReadError``, one line) if there is none of that name, ``ReadError``
    if it cannot be read.
    """
    place = _find(root, path)
    memcg = _limits(root, place, page_size_bytes)
    cgroups = _subtree(root, place)
    groups: _OomGroups = ()
    order: tuple[int, ...] = ()
    if place.version == 2:
        groups = _oom_groups(root, place.folder.removesuffix(place.path), cgroups)
        # v1 sorts them by number.
        order = tuple(dict.fromkeys(pid for cgroup in cgroups for pid in cgroup.own))
    return memcg._replace(pids=cgroups[0].pids, scan_order=order, oom_groups=groups)


# --- its memory


def parse_memory_stat(data: bytes) -> dict[bytes, int]:
    """``memory.stat``; of v1's the ``total_`` lines, which count the cgroups below, too."""
    fields = {}
    for line in data.splitlines():
        name, _, number = line.partition(b" ")
        if number.isdigit():
            fields[name] = int(number[:19])
    totals = {k.removeprefix(b"total_"): v for k, v in fields.items() if k.startswith(b"total_")}
    return totals or fields


def _swap(root: Root, place: _Place, memcg: MemCgroup, host: MemInfo) -> tuple[int, int]:
    """Swap that the cgroup may use, and what is left of it, in KiB; figures of ``memcg`` are KiB.

    The same bounds as its totalpages. Raises ``ReadError``.
    """
    limit = host.swap_total_kib
    used = 0
    if place.version == 2:
        if memcg.swap_limit_pages is not None:
            limit = min(limit, memcg.swap_limit_pages)
            used = read_int(root, f"{place.folder}/memory.swap.current") >> 10
    elif memcg.memsw_limit_pages is not None and memcg.limit_pages is not None:
        limit = min(limit, max(0, memcg.memsw_limit_pages - memcg.limit_pages))
        with_swap = read_int(root, f"{place.folder}/memory.memsw.usage_in_bytes") >> 10
        used = max(0, with_swap - memcg.usage_pages)
    return limit, min(host.swap_free_kib, max(0, limit - used))


def read_memcg_meminfo(root: Root, path: str) -> MemInfo:
    """What ``/proc/meminfo`` would say if the cgroup were a machine as large as its limit.

    Available is what is free below the limit, and what the kernel can drop to make room: file
    pages and reclaimable slab. Without a limit (or with one above it) the machine's RAM is the
    limit. Raises ``ReadError``.
    """
    place = _find(root, path)
    # Pages of 1 KiB, so that what are pages elsewhere are KiB here.
    memcg = _limits(root, place, 1024)
    host = read_meminfo(root)
    stat = parse_memory_stat(root.read(f"{place.folder}/memory.stat"))

    def kib(name: bytes) -> int:
        return stat.get(name, 0) >> 10

    total = min(host.mem_total_kib, memcg.limit_pages or host.mem_total_kib)
    free = max(0, total - memcg.usage_pages)
    dropped = kib(b"inactive_file") + kib(b"active_file") + kib(b"slab_reclaimable")
    swap_total, swap_free = _swap(root, place, memcg, host)
    v1 = place.version == 1
    return MemInfo(
        mem_total_kib=total,
        mem_free_kib=free,
        mem_available_kib=min(total, free + dropped),
        swap_total_kib=swap_total,
        swap_free_kib=swap_free,
        cached_kib=kib(b"cache" if v1 else b"file"),
        shmem_kib=kib(b"shmem"),
        slab_kib=kib(b"slab"),
        slab_reclaimable_kib=kib(b"slab_reclaimable"),
        anon_pages_kib=kib(b"rss" if v1 else b"anon"),
    )
