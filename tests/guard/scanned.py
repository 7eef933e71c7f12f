"""One machine, scanned by its scores and in full."""

from collections.abc import Mapping

import pytest

from oomd.decide import decide
from oomd.mm.constraint import case_of
from oomd.mm.policy import Policy
from oomd.mm_types import MemInfo, Snapshot, Sysctls, Task
from oomd.oom import Decision, Kill, NotifierChain, OomControl, Step
from oomd.scan import Scan, is_settled
from tests.guard.scored import ScoredRoot
from tests.mm.machine import BOTH, MEMINFO

__all__ = ["KEPT", "POLICIES", "Scanned"]

KEPT = 4
POLICIES = pytest.mark.parametrize("policy", BOTH, ids=lambda policy: str(policy.name))

# What a scan tells about itself, and what it tells of the others when it has not read them.
ABOUT_SCAN = {"tasks_read_in_full", "others_points_at_most", "runner_up_pid", "runner_up_points"}


class Scanned:
    """One machine, read both ways."""

    def __init__(
        self,
        tasks: tuple[Task, ...],
        oc: OomControl,
        policy: Policy,
        *,
        settings: Sysctls = Sysctls(),  # noqa: B008 - a frozen record
        meminfo: MemInfo = MEMINFO,
        scores: Mapping[int, int] | None = None,
    ) -> None:
        self.oc, self.policy, self.settings, self.meminfo = oc, policy, settings, meminfo
        self.case = case_of(oc, Snapshot((), meminfo), policy)
        self.root = ScoredRoot(tasks, self.case.totalpages, scores)
        self.scan = Scan(self.root, bounded=True)

    def take(self) -> Snapshot:
        self.root.reads.clear()
        return self.scan.take(self.case, self.meminfo, KEPT)

    def take_whole(self) -> Snapshot:
        return self.scan.take_whole(self.case, self.meminfo, KEPT)

    def decide(self, snapshot: Snapshot) -> Decision:
        decision, _ = decide(
            self.root, self.oc, snapshot, self.settings, self.policy, freed=NotifierChain()
        )
        return decision

    def agrees(self) -> Decision:
        """The decision, if it is the same both ways."""
        snapshot = self.take()
        bounded, whole = self.decide(snapshot), self.decide(self.take_whole())
        assert is_settled(bounded, snapshot, self.oc)
        assert bounded._replace(trace=()) == whole._replace(trace=())
        for ours, theirs in zip(bounded.trace, whole.trace, strict=True):
            assert (ours.name, ours.verdict) == (theirs.name, theirs.verdict)
            assert without(ours) == without(theirs)
        if isinstance(whole, Kill):
            compare_others(bounded.trace[4], whole.trace[4])
        return bounded


def without(step: Step) -> dict[str, object]:
    return {
        name: value
        for name, value in step.detail.items()
        if name not in ABOUT_SCAN and not name.startswith("without_rules")
    }


def compare_others(bounded: Step, whole: Step) -> None:
    """The next best is told if it is known; else how bad the others are at most, which is true."""
    if "others_points_at_most" in bounded.detail:
        runner_up, most = whole.detail.get("runner_up_points"), bounded.detail
        assert "runner_up_pid" not in bounded.detail
        assert runner_up is None or runner_up <= most["others_points_at_most"]  # type: ignore[operator]
    else:
        for name in ("runner_up_pid", "runner_up_points"):
            assert bounded.detail.get(name) == whole.detail.get(name)
    # Whom the kernel would have chosen is told likewise: only if it is known.
    if "without_rules_pid" in bounded.detail:
        assert bounded.detail.items() >= {
            item for item in whole.detail.items() if item[0].startswith("without_rules")
        }
