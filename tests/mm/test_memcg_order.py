"""Of equals in a memory cgroup mainline takes the one that its scan meets last: not by fork."""

import pytest

from oomd.mm.candidates import Candidates
from oomd.mm.constraint import case_of
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm.select_bad_process import select_bad_process
from oomd.mm_types import MemCgroup, MemInfo, Snapshot, Task
from oomd.oom import Constraint, OomControl

EQUALS = tuple(Task(pid, starttime_ticks=pid, rss_pages=100) for pid in (11, 12, 13))


def chosen(policy: Policy, scan_order: tuple[int, ...], *, streamed: bool) -> int:
    memcg = MemCgroup("/a", 2, 0, 1000, pids=frozenset({11, 12, 13}), scan_order=scan_order)
    snapshot = Snapshot(EQUALS, MemInfo(4000, 0, 0), memcg=memcg)
    case = case_of(OomControl(constraint=Constraint.MEMCG), snapshot, policy)
    tasks = EQUALS
    if streamed:
        candidates = Candidates(case, kept=2)
        for task in EQUALS:
            candidates.add(task)
        tasks = candidates.tasks()
    found = select_bad_process(tasks, case).chosen
    assert found is not None
    return found.pid


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("policy", "order", "pid"),
    [
        (MAINLINE, (11, 12, 13), 13),
        (MAINLINE, (13, 12, 11), 11),
        (MAINLINE, (12, 13, 11), 11),
        # Not observable: by fork. Joined since the cgroup was read: last.
        (MAINLINE, (), 13),
        (MAINLINE, (13, 11), 12),
        # el7's cgroups are v1, which lists them by number: the newest is met first, and stays.
        (EL7, (), 13),
        (EL7, (13, 12, 11), 13),
    ],
)
def test_who_is_met_last(
    policy: Policy, order: tuple[int, ...], pid: int, *, streamed: bool
) -> None:
    assert chosen(policy, order, streamed=streamed) == pid
