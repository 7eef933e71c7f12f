"""Which policy a report's kernel had: a profile, as it was at that kernel's time.

The profiles are two ends of a history. What changed between them is data here, so that a report of
4.14 is not held against rules that came with 5.9. Distributions take changes into older kernels;
what a report shows itself (``or sacrifice child``) goes before its version.
"""

import re
from typing import Any, NamedTuple

from oomd.mm.policy import EL7, MAINLINE, POLICIES, Policy
from oomd.replay.kernel_report import KernelReport

__all__ = ["Profile", "profile_of"]

# Until this release mainline did otherwise; the change's subject stands beside it.
_UNTIL: tuple[tuple[tuple[int, int], dict[str, Any]], ...] = (
    # "mm, oom: remove 3% bonus for CAP_SYS_ADMIN processes"
    ((4, 17), {"root_discount": True}),
    # "mm, oom: introduce memory.oom.group"
    ((4, 19), {"oom_group": False}),
    # "mm: memcontrol: use CSS_TASK_ITER_PROCS at mem_cgroup_scan_tasks()"
    ((5, 3), {"last_of_equals": False}),
    # "mm, oom: consider present pages for the node size"
    ((5, 4), {"spanned_pages": True}),
    # "mm, oom: make the calculation of oom badness more accurate"
    ((5, 9), {"floor_points": 1}),
)
# Since 5.3 a memcg's table is printed in the order of its scan.
_SCAN_ORDER = (5, 3)


class Profile(NamedTuple):
    """What a report is judged by."""

    policy: Policy
    release: tuple[int, int] | None
    """The kernel's, where it is known."""
    asked_for: bool
    """Another one than the kernel's own may have been asked for."""
    order_is_shown: bool
    """The table's order is the scan's: a tie is decided by it."""


def _release(kernel: str) -> tuple[int, int] | None:
    found = re.match(r"(\d{1,9})\.(\d{1,9})", kernel)
    return (int(found[1]), int(found[2])) if found else None


def _is_el7(report: KernelReport, release: tuple[int, int] | None) -> bool:
    if release is not None:
        return release < (4, 0)
    # No line that names the kernel: its table does, by the columns of its time.
    if report.table.columns:
        return "nr_ptes" in report.table.columns and "nr_pmds" not in report.table.columns
    return report.score is not None


def _as_of(report: KernelReport, release: tuple[int, int] | None) -> Policy:
    """Mainline as that kernel had it."""
    changes: dict[str, Any] = {"child_sacrifice": report.score is not None}
    for until, before in _UNTIL:
        if release is not None and release < until:
            changes |= before
    return MAINLINE._replace(**changes)


def profile_of(report: KernelReport, asked: str = "") -> Profile:
    """The report's own policy, or the profile that is asked for, as it is."""
    release = _release(report.kernel)
    own = EL7 if _is_el7(report, release) else _as_of(report, release)
    memcg = report.of_memcg
    # RHEL 8 is 4.18 with much of 5.x in it.
    sure = release is not None and release >= _SCAN_ORDER
    order_is_shown = sure if own is not EL7 or memcg else True
    if memcg and own is EL7:
        order_is_shown = False
    policy = POLICIES[asked] if asked else own
    return Profile(policy, release, bool(asked) and policy != own, order_is_shown)
