"""``constrained_alloc()``: how much memory the OOM is about, in pages."""

from oomd.mm.oom_badness import Case
from oomd.mm.policy import Policy
from oomd.mm_types import MemCgroup, Snapshot
from oomd.oom import Constraint, OomControl
from oomd.typed import NamedTuple

__all__ = ["Allocation", "case_of", "constrained_alloc"]


class Allocation(NamedTuple):
    """What ``constrained_alloc()`` returns, and from what."""

    constraint: Constraint
    totalpages: int
    source: str
    """One phrase for the trace."""


def _pages(kib: int, page_size_bytes: int) -> int:
    return kib * 1024 // page_size_bytes


def _memcg_pages(memcg: MemCgroup, machine_pages: int, swap_pages: int) -> tuple[int, str]:
    """``mem_cgroup_get_limit()`` of v1, ``mem_cgroup_get_max()`` of v2; at least 1."""
    if memcg.limit_pages is None:
        # Unlike the kernel: a memcg without a limit never runs out by itself.
        return machine_pages, "the machine's total: this memory cgroup has no limit"
    limit = memcg.limit_pages
    if memcg.swappiness == 0:
        return max(limit, 1), "the limit; swappiness is 0, so no swap"
    if memcg.version == 1:
        total = limit + swap_pages
        if memcg.memsw_limit_pages is not None:
            total = min(total, memcg.memsw_limit_pages)
        return max(total, 1), "min(limit + host swap, memory+swap limit)"
    swap = swap_pages
    if memcg.swap_limit_pages is not None:
        swap = min(swap, memcg.swap_limit_pages)
    return max(limit + swap, 1), "memory.max + min(memory.swap.max, host swap)"


def constrained_alloc(oc: OomControl, snapshot: Snapshot, policy: Policy) -> Allocation:
    """The constraint in force and its ``totalpages``.

    A cpuset or mempolicy that covers every node with memory is no constraint. Where the nodes
    are not observable the machine's total stands in, and the source says so.
    """
    page = snapshot.page_size_bytes
    swap_pages = _pages(snapshot.meminfo.swap_total_kib, page)
    machine_pages = max(_pages(snapshot.meminfo.mem_total_kib, page) + swap_pages, 1)
    if oc.constraint is Constraint.MEMCG:
        if snapshot.memcg is None:
            return Allocation(oc.constraint, machine_pages, "the memory cgroup is gone")
        return Allocation(oc.constraint, *_memcg_pages(snapshot.memcg, machine_pages, swap_pages))
    whole = Allocation(Constraint.NONE, machine_pages, "RAM + swap")
    if oc.nodemask is None or oc.constraint is Constraint.NONE:
        return whole
    if not snapshot.nodes:
        return Allocation(oc.constraint, machine_pages, "RAM + swap: nodes are not observable")
    allowed = [node for node in snapshot.nodes if oc.nodemask >> node.nid & 1]
    # N_MEMORY: a node with processors and no memory is in zoneinfo too.
    if all(node in allowed for node in snapshot.nodes if node.present_pages):
        return whole
    if policy.spanned_pages:
        ram, word = sum(node.spanned_pages for node in allowed), "spanned"
    else:
        ram, word = sum(node.present_pages for node in allowed), "present"
    return Allocation(oc.constraint, max(ram + swap_pages, 1), f"{word} pages of its nodes + swap")


def case_of(oc: OomControl, snapshot: Snapshot, policy: Policy) -> Case:
    """The question with its constraint worked out: what every task is held against.

    Of the snapshot only its memory, nodes and memcg count, so it may be had before the scan.
    """
    constraint, totalpages, _ = constrained_alloc(oc, snapshot, policy)
    nodemask = None if constraint is Constraint.NONE else oc.nodemask
    memcg = snapshot.memcg if constraint is Constraint.MEMCG else None
    # moom_callback() runs in a kernel worker: whoever is allocating has not asked for this.
    current = None if oc.manual else oc.current
    oc = oc._replace(constraint=constraint, nodemask=nodemask, current=current)
    return Case(oc, policy, totalpages, memcg)
