"""What the daemon has decided is kept in files, and each leads to the same decision again.

The records of all other scenarios are judged again when the machine ends: see conftest.py.
"""

import re
from collections.abc import Callable

import pytest

from tests.vm.scenarios.guarded import Guarded
from tests.vm.scenarios.kept_records import DECISIONS, check_all, fetch

pytestmark = pytest.mark.vm


def test_a_kill_is_kept_with_its_end(guard: Guarded, figure: Callable[[str], None]) -> None:
    hog = guard.hog("--forever")
    entry = guard.wait_said(rf"^decided at \w+: kill {hog.pid} ")
    recorded = fetch(guard.machine, entry)
    assert recorded.about.verdict == "kill"
    assert recorded.about.victims == (f"{hog.pid} (hog, chosen)",)
    assert re.match(rf"{hog.pid} \(hog\) (gone|reaped) after \d+ ms, ", recorded.about.settled)
    assert recorded.snapshot.tasks_seen > len(recorded.snapshot.tasks)
    path = entry["OOMD_RECORD"]
    figure(f"{len(guard.machine.get(path))} bytes, {len(recorded.snapshot.tasks)} candidates")
    # In the guest, too, with the command that its admin has.
    said = guard.machine.run(["oomd", "replay", path]).stdout
    assert "the same decision again, bit by bit: 7 steps" in said
    assert guard.machine.run(["stat", "-c", "%a", DECISIONS, path]).stdout.split() == ["700", "600"]
    guard.check_untouched()


def test_decisions_of_other_kinds_are_kept(guard: Guarded) -> None:
    parent = guard.hog("--children 2 --child-mib 30 --mib 100 --on-usr1 grow")
    children = guard.children_of(parent)
    guard.machine.run(["kill", "-USR1", guard.main_pid])
    entry = guard.wait_said(r"^decided at manual: kill ")
    recorded = fetch(guard.machine, entry)
    assert recorded.oc.manual
    assert recorded.relatives is not None and recorded.relatives.seen == 2
    (child,) = recorded.relatives.children
    assert child.pid in children
    assert recorded.about.victims == (f"{child.pid} (hog, child)",)

    # By hand, so that memory is not short while the kernel would panic.
    guard.configure('[panic]\npanic_on_oom = "defer"\n')
    guard.sysctl("vm.panic_on_oom", 2)
    since = guard.machine.journal_cursor()
    guard.machine.run(["kill", "-USR1", guard.main_pid])
    recorded = fetch(guard.machine, guard.wait_said(r"^decided at manual: panic", since))
    assert (recorded.about.verdict, recorded.sysctls.panic_on_oom) == ("panic", 2)
    assert parent.alive

    guard.sysctl("vm.panic_on_oom", 0)
    guard.configure('policy = "mainline"\n')
    since = guard.machine.journal_cursor()
    guard.machine.run(["kill", "-USR1", guard.main_pid])
    recorded = fetch(guard.machine, guard.wait_said(r"^decided at manual: kill", since))
    assert recorded.policy.name == "mainline"
    assert recorded.about.victims == (f"{parent.pid} (hog, chosen)",)
    assert parent.died_of() == 9
    for pid in children:
        guard.machine.run(["kill", "-9", str(pid)], check=False)
    guard.check_untouched()


def test_no_more_are_kept_than_are_wanted(guard: Guarded) -> None:
    # Not before the others have been judged: they are thrown away here.
    check_all(guard.machine)
    guard.configure("[records]\nkept = 2\n")
    for number in range(3):
        hog = guard.hog("--mib 60 --hold", name=f"hog{number}")
        guard.machine.run(["kill", "-USR1", guard.main_pid])
        fetch(guard.machine, guard.wait_said(rf"^decided at manual: kill {hog.pid} "))
    kept = check_all(guard.machine)
    assert [one.about.victims[0].split()[1] for one in kept] == ["(hog1,", "(hog2,"]
    guard.check_untouched()


def test_switched_off_nothing_is_kept(guard: Guarded) -> None:
    before = check_all(guard.machine)
    guard.configure("[records]\nkept = 0\n")
    hog = guard.hog("--mib 60 --hold")
    guard.machine.run(["kill", "-USR1", guard.main_pid])
    entry = guard.wait_said(rf"^decided at manual: kill {hog.pid} ")
    assert "OOMD_RECORD" not in entry
    guard.wait_said(rf"^{hog.pid} \(hog\) (gone|reaped) after")
    assert len(check_all(guard.machine)) == len(before)
    guard.check_untouched()
