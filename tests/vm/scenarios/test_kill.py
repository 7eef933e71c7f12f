"""The right one dies: plain exhaustion, swap, children, sharers, exited leaders, scores."""

import re
from collections.abc import Callable
from contextlib import nullcontext

import pytest

from tests.vm.scenarios.guarded import Guarded

pytestmark = pytest.mark.vm

Keep = Callable[[str], None]
ANYBODY = r"\d+"

TRACE = (
    r"step 1 oom_notify_list",
    r"step 2 task_will_free_mem",
    r"step 3 check_panic_on_oom",
    r"step 4 oom_kill_allocating_task",
    r"step 5 select_bad_process",
    r"step 6 no_killable_process",
    r"step 7 oom_kill_process",
)


def killed(line: str) -> int:
    """Whom a line of the kernel's log names."""
    found = re.search(r"Killed process (\d+) ", line)
    assert found
    return int(found[1])


def keep_latency(guard: Guarded, figure: Keep, pid: int) -> None:
    entry = guard.wait_said(rf"^decided at \w+: kill {pid} ")
    settled = guard.wait_said(rf"^{pid} .* came back of")
    milliseconds = entry["OOMD_SIGNAL_AFTER_MS"]
    scan_us = entry["OOMD_SCAN_USEC"]
    figure(f"threshold to SIGKILL {milliseconds} ms, of which the scan {int(scan_us) / 1000} ms")
    figure(settled["MESSAGE"])


def test_a_hog_without_swap_dies_alone(guard: Guarded, figure: Keep) -> None:
    hog = guard.hog("--forever")
    line = guard.wait_killed(hog.pid)
    assert re.fullmatch(
        rf"Killed process {hog.pid} \(hog\) total-vm:\d+kB, anon-rss:\d+kB, file-rss:\d+kB, "
        r"shmem-rss:\d+kB",
        line,
    )
    assert hog.died_of() == 9
    keep_latency(guard, figure, hog.pid)
    assert guard.killed_pids() == [hog.pid]
    kernel = guard.machine.journal(guard.since, kernel=True)
    assert any("invoked oom-killer: gfp_mask=" in one for one in kernel)
    assert any(
        re.fullmatch(
            rf"Out of memory: Kill process {hog.pid} \(hog\) score \d+ or sacrifice child", one
        )
        for one in kernel
    )
    for step in TRACE:
        guard.wait_said(f"^{step}: ")
    guard.check_untouched()


def test_the_journal_has_fields(guard: Guarded) -> None:
    hog = guard.hog("--forever")
    entry = guard.wait_said(rf"^decided at \w+: kill {hog.pid} ")
    assert entry["OOMD_VICTIM_PID"] == str(hog.pid)
    assert entry["OOMD_VICTIM_COMM"] == "hog"
    assert entry["OOMD_VERDICT"] == "kill"
    assert entry["OOMD_TRIGGER"] in ("exhaustion", "stall")
    assert entry["OOMD_POLICY"] == "el7"
    assert int(entry["OOMD_POINTS"]) > 0
    guard.check_untouched()


def test_a_hog_that_thrashes_zram_dies_alone(guard: Guarded, figure: Keep) -> None:
    with guard.zram_swap(256):
        hog = guard.hog("--forever --random")
        guard.wait_killed(hog.pid)
        assert hog.died_of() == 9
        keep_latency(guard, figure, hog.pid)
        assert guard.killed_pids() == [hog.pid]
        guard.check_untouched()


def test_el7_sacrifices_a_child(guard: Guarded) -> None:
    parent = guard.hog("--children 2 --child-mib 30 --mib 100 --on-usr1 grow")
    children = guard.children_of(parent)
    assert len(children) == 2
    parent.process.kill(10)
    assert killed(guard.wait_killed(ANYBODY)) in children
    chosen = [
        one
        for one in guard.machine.journal(guard.since, kernel=True)
        if "or sacrifice child" in one
    ]
    assert f"Kill process {parent.pid} " in chosen[0]
    # It grows on, so that the other child and then the parent follow.
    guard.wait_killed(parent.pid)
    assert sorted(guard.killed_pids()) == sorted([*children, parent.pid])
    guard.check_untouched()


def test_mainline_sacrifices_no_child(guard: Guarded) -> None:
    guard.configure('policy = "mainline"\n')
    parent = guard.hog("--children 2 --child-mib 30 --mib 100 --on-usr1 grow")
    children = guard.children_of(parent)
    parent.process.kill(10)
    line = guard.wait_killed(parent.pid)
    assert line.startswith(f"Out of memory: Killed process {parent.pid} (hog) total-vm:")
    assert re.search(r"UID:0 pgtables:\d+kB oom_score_adj:0$", line)
    parent.died_of()
    assert all(guard.lives(child) for child in children)
    assert guard.killed_pids() == [parent.pid]
    for child in children:
        guard.machine.run(["kill", "-9", str(child)])
    guard.check_untouched()


def test_who_shares_the_victims_memory_dies_with_it(guard: Guarded, figure: Keep) -> None:
    hog = guard.hog("--share --on-usr1 grow")
    sharer = int(hog.process.wait_line(r"^share \d+$").split()[1])
    hog.process.kill(10)
    # Which of the two is met with the larger figures is a matter of chance: they have one mm.
    assert hog.died_of() == 9
    guard.machine.wait_exit(sharer)
    guard.wait_said(rf"^({hog.pid}|{sharer}) \(hog\) (gone|reaped) after")
    decisions = [one for one in guard.said() if "or sacrifice child" in one]
    figure(f"both dead after {len(decisions)} decision(s)")
    assert guard.killed_pids()
    assert set(guard.killed_pids()) <= {hog.pid, sharer}
    guard.check_untouched()


def test_mainline_kills_an_oom_group_as_a_whole(guard: Guarded) -> None:
    guard.configure('policy = "mainline"\n')
    cgroup = "/sys/fs/cgroup/grouped"
    guard.machine.run(
        f"mkdir -p {cgroup}; echo +memory > /sys/fs/cgroup/cgroup.subtree_control; "
        f"echo 1 > {cgroup}/memory.oom.group"
    )
    hog = guard.hog("--on-usr1 grow")
    member = guard.hog("--mib 5 --hold", name="member")
    exempt = guard.hog("--mib 5 --hold", name="exempt", oom_score_adj=-1000)
    for one in (hog, member, exempt):
        guard.machine.run(f"echo {one.pid} > {cgroup}/cgroup.procs")
    hog.process.kill(10)
    assert hog.died_of() == 9
    assert member.died_of() == 9
    assert exempt.alive
    guard.wait_said(rf"^decided at \w+: kill {hog.pid} \(hog, chosen\), {member.pid} ")
    assert set(guard.killed_pids()) == {hog.pid, member.pid}
    guard.check_untouched()


def test_a_hog_whose_leader_has_exited_is_found(guard: Guarded) -> None:
    hog = guard.hog("--exit-leader --forever")
    # The kernel names the thread whose memory it found, not the dead leader.
    assert killed(guard.wait_killed(ANYBODY)) > hog.pid
    assert hog.died_of() == 9
    guard.check_untouched()


def test_minus_1000_lives_and_a_small_plus_1000_dies(guard: Guarded) -> None:
    small = guard.hog("--mib 40 --hold", name="small", oom_score_adj=1000)
    # Over the limit by less than the small one gives back.
    big = guard.hog(
        "--hold --mib " + str(guard.to_limit_mib() + 15), name="big", oom_score_adj=-1000
    )
    guard.wait_killed(small.pid)
    assert small.died_of() == 9
    assert big.alive
    assert guard.killed_pids() == [small.pid]
    guard.check_untouched()


@pytest.mark.parametrize(("policy", "root_dies"), [("el7", False), ("mainline", True)])
def test_the_root_discount_decides(guard: Guarded, policy: str, root_dies: bool) -> None:
    guard.configure(f'policy = "{policy}"\n')
    roots = guard.hog("--mib 121 --hold", name="roots")
    users = guard.hog("--mib 120 --hold --uid 1000", name="users")
    filler = "--hold --mib " + str(guard.to_limit_mib() + 15)
    guard.hog(filler, name="filler", oom_score_adj=-1000)
    victim, survivor = (roots, users) if root_dies else (users, roots)
    guard.wait_killed(victim.pid)
    assert victim.died_of() == 9
    assert survivor.alive
    assert guard.killed_pids() == [victim.pid]
    guard.check_untouched()


@pytest.mark.parametrize("swap_mib", [0, 160])
def test_the_allocating_task_dies_for_its_own_request(guard: Guarded, swap_mib: int) -> None:
    guard.sysctl("vm.oom_kill_allocating_task", 1)
    with guard.zram_swap(swap_mib) if swap_mib else nullcontext():
        # By far the worst, but it takes nothing.
        idle = guard.hog(f"--hold --mib {guard.to_limit_mib() * 2 // 3}", name="idle")
        # Slow enough that whoever is sought can be found before memory is used up.
        allocator = guard.hog("--forever --random --rate 20", name="allocator")
        assert killed(guard.wait_killed(ANYBODY)) == allocator.pid
        assert allocator.died_of() == 9
        guard.wait_said(
            rf"step 4 oom_kill_allocating_task: kill current \(.*, pid {allocator.pid}, seen "
            r"(PF_MEMALLOC, \d+ ms ago|not reclaiming; took most of late: \d+ pages)\)"
        )
        guard.wait_said(r"Out of memory \(oom_kill_allocating_task\): Kill process")
        assert idle.alive
        assert guard.killed_pids() == [allocator.pid]
        guard.check_untouched()
