"""``Scan`` on this machine, against reading everybody in full."""

import subprocess
import sys
from pathlib import Path

import pytest

from oomd.decide import decide
from oomd.mm.constraint import case_of
from oomd.mm.oom_badness import points_of
from oomd.mm.policy import Policy
from oomd.mm.select_bad_process import dying
from oomd.mm_types import Snapshot, Sysctls, Task
from oomd.oom import Kill, NotifierChain, OomControl
from oomd.proc.meminfo import read_meminfo
from oomd.proc.root import Root
from oomd.scan import Scan, is_settled
from tests.effects.children import OwnChildren, allocate_mib
from tests.mm.machine import BOTH

pytestmark = pytest.mark.live

POLICIES = pytest.mark.parametrize("policy", BOTH, ids=lambda policy: str(policy.name))
KEPT = 10

# Others come, grow and go between two looks. What is wrong in a scan stays so.
LOOKS = 20

MADE_UP = """
import sys
from oomd.proc.root import Root
from oomd.scan import Scan
print(Root().mounted_over("proc/meminfo"), Scan(Root()).bounded)
"""


class Machine:
    """This one, at one moment."""

    def __init__(self, policy: Policy, oc: OomControl) -> None:
        self.root, self.policy, self.oc = Root(), policy, oc
        self.meminfo = read_meminfo(self.root)
        memory = Snapshot((), self.meminfo, self.root.page_size_bytes())
        self.case = case_of(oc, memory, policy)

    def worst(self, snapshot: Snapshot) -> Task:
        # Not as the sysctls of this machine are: one of them may ask for a panic.
        decision, oc = decide(
            self.root, self.oc, snapshot, Sysctls(), self.policy, freed=NotifierChain()
        )
        assert isinstance(decision, Kill)
        assert is_settled(decision, snapshot, oc)
        return decision.chosen


def total_mib() -> int:
    meminfo = read_meminfo(Root())
    return (meminfo.mem_total_kib + meminfo.swap_total_kib) >> 10


@POLICIES
def test_the_worst_of_this_machine(children: OwnChildren, policy: Policy) -> None:
    hog = children.start_ready(allocate_mib(64))
    # Raising is allowed to everybody.
    Path(f"/proc/{hog.pid}/oom_score_adj").write_text("1000", encoding="ascii")
    scan = Scan(Root())
    assert scan.bounded, "meminfo of this machine is made up"
    told = ""
    for _ in range(LOOKS):
        # By hand: nobody is waited for who happens to be dying.
        machine = Machine(policy, OomControl(manual=True))
        snapshot = scan.take(machine.case, machine.meminfo, KEPT)
        assert scan.bounded, scan.note
        whole = scan.take_whole(machine.case, machine.meminfo, KEPT)
        worst = machine.worst(snapshot)
        held = next((one for one in snapshot.tasks if one.pid == hog.pid), None)
        read = snapshot.tasks_read
        if read is not None and held is not None and worst.ident == machine.worst(whole).ident:
            assert held.oom_score_adj == 1000
            assert points_of(worst, machine.case) >= points_of(held, machine.case)
            assert read < snapshot.tasks_seen
            assert abs(snapshot.tasks_seen - whole.tasks_seen) < whole.tasks_seen // 2
            return
        told = f"{snapshot} against {whole}"
    pytest.fail(told)


def test_a_large_one_that_is_dying_is_found(children: OwnChildren) -> None:
    mib = 3 * total_mib() // 1000 + 8
    child = children.start_stuck_dying(mib)
    scan = Scan(Root())
    machine = Machine(BOTH[0], OomControl())
    for _ in range(LOOKS):
        snapshot = scan.take(machine.case, machine.meminfo, KEPT)
        if snapshot.tasks_read is not None:
            break
    assert [bool(dying(one, machine.case)) for one in snapshot.tasks if one.pid == child.pid] == [
        True
    ]


def test_a_meminfo_that_is_made_up_is_noticed(tmp_path: Path) -> None:
    """As in a container: its totals are not those that the kernel's scores are made of."""
    made_up = tmp_path / "meminfo"
    made_up.write_bytes(Path("/proc/meminfo").read_bytes())
    # In a mount namespace of its own, which ends with it.
    script = f"mount --bind {made_up} /proc/meminfo && exec {sys.executable} -c '{MADE_UP}'"
    command = ["unshare", "--mount", "sh", "-c", script]
    tree = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=tree, check=True, capture_output=True, text=True)
    assert done.stdout == "True False\n"
    assert not Root().mounted_over("proc/meminfo")
