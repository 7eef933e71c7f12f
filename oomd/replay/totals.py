"""``totalpages`` of a report: what it shows of it, and between which bounds the rest lies.

``constrained_alloc()`` works with figures of which a report prints most. What it does not print
(the host's swap in a memcg's report, the pages that an old kernel's node spans) leaves a range,
which the kernel's own score narrows.
"""

from typing import NamedTuple

from oomd.mm.policy import Policy
from oomd.oom import Constraint
from oomd.replay.kernel_report import KernelReport

__all__ = ["BEYOND_ALL_PAGES", "Total", "constraint_of", "nodes_in", "page_kib_of", "total_of"]

# 2**50 KiB and more is what a limit of "max" looks like, in each of its spellings.
_NO_LIMIT_KIB = 1 << 50
# More pages than any machine has: what holds here and at the lower bound holds between them.
BEYOND_ALL_PAGES = 1 << 42


class Total(NamedTuple):
    """Between which bounds ``totalpages`` lies."""

    low_pages: int
    high_pages: int
    missing: str = ""
    """What the report does not show; empty: nothing, the bounds are one."""

    @property
    def pages(self) -> int | None:
        """Where it is exact."""
        return self.low_pages if self.low_pages == self.high_pages else None


def nodes_in(text: str) -> set[int]:
    """The nodes of a list such as ``0-1,3``; empty for ``(null)`` and for nonsense."""
    nodes: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        last = last or first
        # MAX_NUMNODES is 1024.
        if first.isdecimal() and last.isdecimal() and max(len(first), len(last)) <= 4:
            nodes.update(range(int(first), min(int(last), 1023) + 1))
    return nodes


def constraint_of(report: KernelReport) -> Constraint:
    """The constraint that the report names, or shows by what it prints."""
    if report.of_memcg or report.message.startswith("Memory cgroup"):
        return Constraint.MEMCG
    if report.constraint:
        known = {one.value: one for one in Constraint}
        return known.get(report.constraint, Constraint.NONE)
    # Before 5.0 nobody names it. The nodes that current may use, where not all are.
    first = report.invoked
    policy_nodes = nodes_in(first.nodemask) if first is not None else set()
    if policy_nodes and report.memory_nodes - policy_nodes:
        return Constraint.MEMORY_POLICY
    allowed = nodes_in(report.mems_allowed)
    if allowed and report.memory_nodes - allowed:
        return Constraint.CPUSET
    return Constraint.NONE


def page_kib_of(report: KernelReport) -> int:
    """KiB in a page: by the victim, whose size is there in both; by the free lists; or 4."""
    row = report.victim_row()
    if row is not None and row.total_vm_pages and report.killed_total_vm_kib:
        kib, rest = divmod(report.killed_total_vm_kib, row.total_vm_pages)
        if not rest and kib in (4, 8, 16, 64, 256):
            return kib
    return report.page_kib or 4


def _machine(report: KernelReport, page_kib: int) -> Total:
    ram, reserved, swap_kib = report.ram_pages, report.reserved_pages, report.swap_total_kib
    if ram is None or reserved is None or swap_kib is None:
        return Total(1, BEYOND_ALL_PAGES, "how much RAM and swap there is")
    pages = max(ram - reserved + swap_kib // page_kib, 1)
    return Total(pages, pages)


def _memcg(report: KernelReport, page_kib: int) -> Total:
    memory, both, swap = (report.limits.get(name) for name in ("memory", "memory+swap", "swap"))
    if memory is None:
        return Total(1, BEYOND_ALL_PAGES, "the limit of the memory cgroup")
    limit, high, swapped_kib = memory.limit_kib // page_kib, BEYOND_ALL_PAGES, 0
    if swap is not None:
        swapped_kib = swap.usage_kib
        if swap.limit_kib < _NO_LIMIT_KIB:
            high = limit + swap.limit_kib // page_kib
    elif both is not None:
        swapped_kib = max(both.usage_kib - memory.usage_kib, 0)
        if both.limit_kib < _NO_LIMIT_KIB:
            high = both.limit_kib // page_kib
    # The host has as much swap at least as this memory cgroup has in it.
    low = max(min(limit + swapped_kib // page_kib, high), 1)
    high = max(high, low)
    return Total(low, high, "the host's swap" if low != high else "")


def _nodes(report: KernelReport, nodes: set[int], spanned: bool, page_kib: int) -> Total:
    swap_kib = report.swap_total_kib
    kib = [report.present_kib.get(nid) for nid in nodes]
    if swap_kib is None or not nodes or None in kib:
        return Total(1, BEYOND_ALL_PAGES, "the pages of the nodes that may be used")
    pages = max(sum(one for one in kib if one is not None) // page_kib + swap_kib // page_kib, 1)
    if spanned:
        return Total(pages, BEYOND_ALL_PAGES, "the pages that its nodes span, holes included")
    return Total(pages, pages)


def total_of(report: KernelReport, policy: Policy) -> Total:
    """``constrained_alloc()``'s figure, as far as it can be had."""
    page_kib = page_kib_of(report)
    constraint = constraint_of(report)
    if constraint is Constraint.MEMCG:
        return _memcg(report, page_kib)
    if constraint is Constraint.NONE:
        return _machine(report, page_kib)
    text = report.mems_allowed
    if constraint is Constraint.MEMORY_POLICY:
        first = report.invoked
        text = report.nodemask or (first.nodemask if first is not None else "")
    return _nodes(report, nodes_in(text), policy.spanned_pages, page_kib)
