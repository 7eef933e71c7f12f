"""The unit: reload, restart, watchdog, a manual trigger, cgroup v1."""

from collections.abc import Callable

import pytest

from tests.vm.scenarios.guarded import CONFIG, Guarded

pytestmark = pytest.mark.vm


def test_a_broken_config_keeps_the_old_settings(guard: Guarded) -> None:
    guard.configure('policy = "mainline"\n')
    guard.machine.put(CONFIG, "[exhaustion]\navailable_percnt = 5\n")
    cursor = guard.machine.journal_cursor()
    guard.machine.run(["systemctl", "reload", "oomd"], check=False)
    said = guard.wait_said(r"50-scenario\.toml:2: ", cursor)
    assert "available_percnt" in said["MESSAGE"]
    guard.wait_said("the settings from before stay in force", cursor)
    hog = guard.hog("--forever")
    line = guard.wait_killed(hog.pid)
    assert "oom_score_adj:0" in line, "not mainline's words: the old policy was lost"
    guard.check_untouched()


def test_a_killed_daemon_is_back_on_guard(guard: Guarded) -> None:
    guard.configure('policy = "mainline"\n')
    guard.machine.put(CONFIG, "policy = 7\n")
    cursor = guard.machine.journal_cursor()
    guard.machine.run(["kill", "-9", guard.main_pid])
    guard.wait_said("guarding with the settings that were last in force", cursor)
    guard.wait_said("^guarding$", cursor)
    guard.machine.run("until systemctl -q is-active oomd; do sleep 0.1; done")
    assert guard.show("MainPID") != guard.main_pid
    guard.main_pid = guard.show("MainPID")
    hog = guard.hog("--forever")
    assert "oom_score_adj:0" in guard.wait_killed(hog.pid)
    guard.check_untouched()


def test_the_watchdog_is_fed(guard: Guarded) -> None:
    assert guard.show("WatchdogUSec") not in ("0", "infinity")
    before = guard.show("WatchdogTimestampMonotonic")
    # Any wake-up feeds it once a quarter of its time has passed.
    guard.machine.run(
        "until [ $(systemctl show -P WatchdogTimestampMonotonic oomd) != "
        f"{before} ]; do sleep 0.5; done",
        timeout_s=120,
    )
    guard.check_untouched()


def test_sigusr1_decides_at_once(guard: Guarded) -> None:
    hog = guard.hog("--mib 100 --hold")
    guard.machine.run(["kill", "-USR1", guard.main_pid])
    guard.wait_killed(hog.pid)
    entry = guard.wait_said(rf"^decided at \w+: kill {hog.pid} ")
    assert entry["OOMD_TRIGGER"] == "manual"
    assert guard.killed_pids() == [hog.pid]
    guard.check_untouched()


def test_watching_says_what_it_would_do_and_does_nothing(guard: Guarded) -> None:
    guard.machine.run(["systemctl", "stop", "oomd"])
    watching = guard.machine.start("oomd --dry-run --watch", oom_score_adj=-1000)
    guard.machine.run(
        f"until grep -q -a oomd /proc/{watching.pid}/cmdline && "
        f"grep -q SigCgt:.*[1-9a-f] /proc/{watching.pid}/status; do sleep 0.1; done"
    )
    hog = guard.hog(f"--hold --mib {guard.to_limit_mib() + 8}")
    line = watching.wait_line(r"^\w+ crossed: would ", 180)
    assert f"would kill {hog.pid} (hog, chosen)" in line
    assert hog.alive
    watching.kill(15)
    assert watching.wait(60).returncode == 0
    hog.process.kill()
    hog.died_of()
    guard.machine.run(["systemctl", "start", "oomd"])
    guard.main_pid = guard.show("MainPID")
    assert guard.killed_pids() == []
    guard.check_untouched()


def test_a_watched_cgroup_is_judged_by_itself(guard: Guarded) -> None:
    cgroup = "/sys/fs/cgroup/watched"
    guard.machine.run(
        f"mkdir -p {cgroup}; echo +memory > /sys/fs/cgroup/cgroup.subtree_control; "
        f"echo 150M > {cgroup}/memory.max"
    )
    guard.configure('[watch]\ncgroup = "/watched"\n')
    outside = guard.hog("--mib 160 --hold", name="outside")
    inside = guard.hog("--mib 20 --on-usr1 grow --rate 40", name="inside")
    guard.machine.run(f"echo {inside.pid} > {cgroup}/cgroup.procs")
    inside.process.kill(10)
    guard.wait_killed(inside.pid)
    assert inside.died_of() == 9
    guard.wait_said("^Memory cgroup out of memory: Kill process")
    assert outside.alive
    assert guard.killed_pids() == [inside.pid]
    events = guard.machine.get(f"{cgroup}/memory.events").decode()
    assert "oom_kill 0" in events, "the kernel's killer was first"
    guard.check_untouched()


def test_on_cgroup_v1_and_without_psi_a_frozen_victim_is_thawed(
    boot_guarded: Callable[[str], Guarded],
) -> None:
    guard = boot_guarded(
        "psi=0 systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller"
    )
    log = guard.machine.run(["journalctl", "-u", "oomd", "-o", "cat"]).stdout
    assert "no PSI" in log and "cgroup v1" in log
    cgroup = "/sys/fs/cgroup/freezer/frozen"
    guard.machine.run(["mkdir", "-p", cgroup])
    frozen = guard.hog("--mib 200 --hold", name="frozen")
    guard.machine.run(
        f"echo {frozen.pid} > {cgroup}/cgroup.procs; echo FROZEN > {cgroup}/freezer.state"
    )
    guard.machine.run(f"until grep -q FROZEN {cgroup}/freezer.state; do sleep 0.1; done")
    over = "--hold --mib " + str(guard.to_limit_mib() + 10)
    guard.hog(over, name="filler", oom_score_adj=-1000)
    guard.wait_killed(frozen.pid)
    assert frozen.died_of() == 9
    guard.wait_said("thawed freezer cgroup /frozen")
    assert guard.killed_pids() == [frozen.pid]
    guard.check_untouched()
