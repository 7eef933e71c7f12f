"""Where the kernel would panic: with its words, or not, as the settings say."""

from collections.abc import Callable

import pytest

from tests.vm.machine import GuestError
from tests.vm.scenarios.guarded import Guarded

pytestmark = pytest.mark.vm

Boot = Callable[[str], Guarded]

# Everybody, down to the last helper: then nothing is killable.
EXEMPT_ALL = "for adj in /proc/[0-9]*/oom_score_adj; do echo -1000 > $adj 2>/dev/null; done; true"


def test_panic_on_oom_panics(boot_guarded: Boot) -> None:
    guard = boot_guarded("")
    guard.sysctl("vm.panic_on_oom", 1)
    guard.machine.start("hog --forever")
    console = guard.machine.wait_panic()
    assert "Out of memory: system-wide panic_on_oom is enabled" in console
    assert "Kernel panic - not syncing: sysrq triggered crash" in console


def test_panic_on_oom_can_reboot(boot_guarded: Boot) -> None:
    guard = boot_guarded("")
    guard.configure('[panic]\npanic_on_oom = "reboot"\n')
    guard.sysctl("vm.panic_on_oom", 1)
    guard.machine.start("hog --forever")
    # QEMU is told to end where a machine would start anew.
    with pytest.raises(GuestError, match="ended without a panic"):
        guard.machine.wait_panic()
    assert "Out of memory: system-wide panic_on_oom is enabled" in guard.machine.console()


def test_panic_on_oom_can_be_left_to_the_kernel(guard: Guarded) -> None:
    guard.configure('[panic]\npanic_on_oom = "defer"\n')
    guard.sysctl("vm.panic_on_oom", 1)
    hog = guard.hog("--hold --mib " + str(guard.to_limit_mib() + 8))
    guard.wait_said("Out of memory: system-wide panic_on_oom is enabled")
    assert hog.alive
    assert guard.killed_pids() == []
    hog.process.kill()
    hog.died_of()
    guard.check_untouched()


def test_nothing_killable_panics_if_asked_to(boot_guarded: Boot) -> None:
    guard = boot_guarded("")
    guard.configure('[panic]\nnone_killable = "sysrq"\n')
    guard.machine.run(EXEMPT_ALL, oom_score_adj=-1000)
    guard.machine.start("hog --forever", oom_score_adj=-1000)
    console = guard.machine.wait_panic()
    assert "Out of memory and no killable processes..." in console
    assert "Kernel panic - not syncing: sysrq triggered crash" in console


def test_nothing_killable_is_left_to_the_kernel(boot_guarded: Boot) -> None:
    guard = boot_guarded("")
    guard.machine.run(EXEMPT_ALL, oom_score_adj=-1000)
    over = f"--hold --mib {guard.to_limit_mib() + 8}"
    hog = guard.hog(over, oom_score_adj=-1000)
    guard.wait_said(r"Out of memory and no killable processes\.\.\.")
    assert hog.alive
    assert guard.killed_pids() == []
    # Before anything that is killable is started again.
    hog.process.kill()
    hog.died_of()
    guard.check_untouched()
