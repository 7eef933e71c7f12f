"""``out_of_memory()`` asked of a machine: what it has to know of the one it chooses is read."""

from oomd.mm.out_of_memory import out_of_memory
from oomd.mm.policy import Policy
from oomd.mm_types import Snapshot, Sysctls
from oomd.oom import Decision, Kill, NotifierChain, OomControl
from oomd.proc.relatives import in_vfork
from oomd.proc.root import Root
from oomd.typed import Final, NamedTuple

__all__ = ["Decided", "decide"]

# Each time one is passed over the tasks are gone through again.
VFORKING_AT_MOST: Final = 16


class Decided(NamedTuple):
    """A decision, and the question that it is the answer to."""

    decision: Decision
    oc: OomControl


def decide(
    root: Root,
    oc: OomControl,
    snapshot: Snapshot,
    sysctls: Sysctls,
    policy: Policy,
    *,
    freed: NotifierChain,
) -> Decided:
    """Decide, and again without the chosen one if mainline's ``oom_badness()`` would pass over it.

    Only then is it asked whether it is in vfork: that takes files of its parent's.
    """
    for _ in range(VFORKING_AT_MOST):
        decision = out_of_memory(oc, snapshot, sysctls, policy, freed=freed)
        if not isinstance(decision, Kill) or not policy.whole_process_dies:
            break
        # Step 4 does not ask for badness.
        if "oom_kill_allocating_task" in decision.message:
            break
        if not in_vfork(root, decision.chosen, snapshot.page_size_bytes):
            break
        oc = oc._replace(vforking=oc.vforking | {decision.chosen.ident})
    return Decided(decision, oc)
