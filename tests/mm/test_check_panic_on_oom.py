"""``check_panic_on_oom()``: the setting against every constraint, manual or not."""

import pytest

from oomd.mm.policy import EL7, Policy
from oomd.mm_types import Sysctls
from oomd.oom import Constraint, Kill, OomControl, Panic
from tests.mm.machine import BOTH, NODES, judge, memcg_of, task

HOG = task(200, 300_000)
BOX = memcg_of((HOG,))
WORD = {1: "system-wide", 2: "compulsory"}


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize("constraint", list(Constraint))
@pytest.mark.parametrize("setting", [0, 1, 2])
@pytest.mark.parametrize("manual", [False, True])
def test_setting(policy: Policy, constraint: Constraint, setting: int, manual: bool) -> None:
    nodemask = 1 if constraint in (Constraint.CPUSET, Constraint.MEMORY_POLICY) else None
    oc = OomControl(constraint=constraint, nodemask=nodemask, manual=manual)
    decision = judge(
        policy, HOG, oc=oc, sysctls=Sysctls(panic_on_oom=setting), nodes=NODES, memcg=BOX
    )
    # 1 is for a machine that is out of memory, 2 for any shortage. Only el7 panics by sysrq.
    asked_for = setting == 2 or (setting == 1 and constraint is Constraint.NONE)
    if asked_for and (policy is EL7 or not manual):
        assert isinstance(decision, Panic)
        assert decision.step == 3
        assert decision.message == f"Out of memory: {WORD[setting]} panic_on_oom is enabled"
        assert decision.constraint is constraint
    else:
        assert isinstance(decision, Kill)


@pytest.mark.parametrize("policy", BOTH, ids=lambda policy: policy.name)
@pytest.mark.parametrize("constraint", [Constraint.CPUSET, Constraint.MEMORY_POLICY])
def test_nodemask_of_every_node_is_no_constraint(policy: Policy, constraint: Constraint) -> None:
    oc = OomControl(constraint=constraint, nodemask=0b11)
    decision = judge(policy, HOG, oc=oc, sysctls=Sysctls(panic_on_oom=1), nodes=NODES)
    assert isinstance(decision, Panic)
    assert decision.constraint is Constraint.NONE


def test_unreadable_setting_is_the_default_and_the_trace_says_so() -> None:
    sysctls = Sysctls(not_observable=("panic_on_oom",))
    step = judge(EL7, HOG, sysctls=sysctls).trace[2]
    assert step.verdict == "vm.panic_on_oom is 0: no panic"
    assert "not observable" in str(step.detail["note"])
