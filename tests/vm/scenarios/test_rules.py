"""Rules on top of the kernel's, with real units: systemd names them, and oomd has read ahead."""

import pytest

from tests.vm.scenarios.guarded import Guarded

pytestmark = pytest.mark.vm

RULES = """
[kill]
managed_oom_preference = true

[[rules]]
name = "keep it"
unit = "kept*.scope"
never = true

[[rules]]
name = "first of all"
unit = "first.scope"
prefer = 500
"""


def test_by_unit_and_by_what_the_unit_has_said_itself(guard: Guarded) -> None:
    scope = "systemd-run --quiet --scope"
    kept = guard.hog("--mib 120 --hold", under=f"{scope} --unit=kept-1")
    omitted = guard.hog("--mib 100 --hold", under=f"{scope} -p ManagedOOMPreference=omit")
    plain = guard.hog("--mib 60 --hold")
    first = guard.hog("--mib 16 --hold", under=f"{scope} --unit=first")
    # Whatever is born after that is read in the calm.
    guard.configure(RULES)
    for hog, rule in ((first, "first of all"), (plain, None)):
        guard.machine.run(["kill", "-USR1", guard.main_pid])
        guard.wait_killed(hog.pid)
        hog.died_of()
        entry = guard.wait_said(rf"^decided at \w+: kill {hog.pid} ")
        assert entry.get("OOMD_RULE") == rule
        assert entry["OOMD_WITHOUT_RULES_PID"] == str(kept.pid)
        assert entry["OOMD_WITHOUT_RULES_RULE"] == "keep it"
    assert guard.killed_pids() == [first.pid, plain.pid]
    assert kept.alive
    assert omitted.alive
    guard.check_untouched()
