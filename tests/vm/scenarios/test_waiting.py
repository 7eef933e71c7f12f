"""Somebody is dying already, or cannot die: who is waited for, for how long, and what then."""

import pytest

from tests.vm.scenarios.guarded import Guarded

pytestmark = pytest.mark.vm

# So far is the threshold crossed for as long as somebody is waited for. With 10 MiB, a third of it
# slab, the kernel killed whoever took them.
OVER_MIB = 5


def test_an_exiting_hog_is_waited_for(guard: Guarded) -> None:
    guard.configure("[kill]\nvictim_timeout_ms = 60000\n")
    with guard.small_file_system():
        dying = guard.hog("--mib 150 --write /mnt/file", name="dying")
        guard.machine.run(["fsfreeze", "-f", "/mnt"])
        guard.machine.run(f"until grep -q '^State:.D' /proc/{dying.pid}/status; do sleep 0.1; done")
        dying.process.kill()
        filler = guard.hog("--hold --mib " + str(guard.to_limit_mib() + OVER_MIB), name="filler")
        guard.wait_said(rf"waiting for {dying.pid} \(dying\): SIGKILL is pending")
        guard.machine.run(["fsfreeze", "-u", "/mnt"])
        assert dying.died_of() == 9
        guard.wait_said(rf"^{dying.pid} \(dying\) (gone|reaped) after")
        assert filler.alive
        assert guard.killed_pids() == []
        guard.check_untouched()


def stuck_victim(guard: Guarded, settings: str) -> tuple[int, int]:
    """A victim that cannot die while its file system is frozen, and who would be next."""
    guard.configure(settings)
    stuck = guard.hog("--mib 150 --write /mnt/file", name="stuck")
    following = guard.hog("--mib 60 --hold", name="next")
    guard.machine.run(["fsfreeze", "-f", "/mnt"])
    guard.machine.run(f"until grep -q '^State:.D' /proc/{stuck.pid}/status; do sleep 0.1; done")
    over = "--hold --mib " + str(guard.to_limit_mib() + OVER_MIB)
    guard.hog(over, name="filler", oom_score_adj=-1000)
    guard.wait_killed(stuck.pid)
    return stuck.pid, following.pid


def test_a_stuck_victim_is_passed_over(guard: Guarded) -> None:
    with guard.small_file_system():
        stuck, following = stuck_victim(
            guard, "[kill]\nvictim_timeout_ms = 2000\nprocess_mrelease = false\n"
        )
        guard.wait_said(rf"^{stuck} \(stuck\) passed over after")
        guard.wait_killed(following)
        assert guard.lives(stuck)
        guard.machine.run(["fsfreeze", "-u", "/mnt"])
        guard.machine.wait_exit(stuck)
        assert guard.killed_pids() == [stuck, following]
        guard.check_untouched()


def test_a_stuck_victims_memory_is_reaped(guard: Guarded) -> None:
    with guard.small_file_system():
        stuck, following = stuck_victim(guard, "[kill]\nvictim_timeout_ms = 60000\n")
        guard.wait_said(rf"^{stuck} \(stuck\) reaped after")
        assert guard.lives(stuck)
        assert guard.lives(following)
        guard.machine.run(["fsfreeze", "-u", "/mnt"])
        guard.machine.wait_exit(stuck)
        assert guard.killed_pids() == [stuck]
        guard.check_untouched()


def test_a_frozen_victim_dies(guard: Guarded) -> None:
    cgroup = "/sys/fs/cgroup/frozen"
    guard.machine.run(["mkdir", "-p", cgroup])
    frozen = guard.hog("--mib 200 --hold", name="frozen")
    guard.machine.run(f"echo {frozen.pid} > {cgroup}/cgroup.procs; echo 1 > {cgroup}/cgroup.freeze")
    guard.machine.run(f"until grep -q 'frozen 1' {cgroup}/cgroup.events; do sleep 0.1; done")
    over = "--hold --mib " + str(guard.to_limit_mib() + OVER_MIB)
    guard.hog(over, name="filler", oom_score_adj=-1000)
    guard.wait_killed(frozen.pid)
    assert frozen.died_of() == 9
    assert guard.killed_pids() == [frozen.pid]
    guard.machine.run(["rmdir", cgroup])
    guard.check_untouched()
