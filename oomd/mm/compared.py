"""What the admin's rules have changed in step 5: for the trace, which names the rule."""

from oomd.mm.oom_badness import Case, ruling_of, without_rules
from oomd.mm.select_bad_process import Selection, select_bad_process
from oomd.mm_types import Snapshot, Task
from oomd.oom import Value

__all__ = ["compared"]

UNREAD = "not read ahead: rules that ask for one did not count"


def _ruling(prefix: str, task: Task, case: Case) -> dict[str, Value]:
    ruling = ruling_of(task, case)
    if ruling is None:
        return {}
    detail: dict[str, Value] = {}
    if ruling.rule:
        detail[f"{prefix}rule"] = ruling.rule
        detail[f"{prefix}rule_adj"] = "never" if ruling.never else ruling.adj
    if ruling.small:
        detail[f"{prefix}size"] = "smaller than kill.min_size_mib"
    if ruling.unread:
        detail[f"{prefix}cgroup"] = UNREAD
    return detail


def compared(found: Selection, case: Case, snapshot: Snapshot) -> dict[str, Value]:
    """The rule of the chosen one, and whom the kernel alone would have chosen."""
    if found.abort is not None:
        return {}
    detail = {} if found.chosen is None else _ruling("", found.chosen, case)
    kernels = select_bad_process(snapshot.tasks, without_rules(case))
    bound = snapshot.upper_bound_pages
    if kernels.chosen is None:
        return detail
    if not kernels.origin and bound is not None and kernels.points <= bound:
        # It may be another, who was not read in full.
        return detail
    detail |= {
        "without_rules_pid": kernels.chosen.pid,
        "without_rules_points": kernels.points,
    }
    if found.chosen is None or found.chosen.ident != kernels.chosen.ident:
        detail |= _ruling("without_rules_", kernels.chosen, case)
    return detail
