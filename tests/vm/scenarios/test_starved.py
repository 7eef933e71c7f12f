"""The guard has no more memory or descriptors than it holds: it kills all the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.vm.scenarios.guarded import Guarded

pytestmark = [pytest.mark.vm, pytest.mark.usefixtures("ballast")]


# Of 64 pages, one for each processor (MEMCG_CHARGE_BATCH): for the kernel's own objects, such as
# an open file.
BATCHES_BYTES = 2 * 64 * 4096


def of_group(guard: Guarded, name: str) -> str:
    """A file of the unit's control group."""
    return guard.machine.get(f"/sys/fs/cgroup{guard.show('ControlGroup')}/{name}").decode()


def limit(guard: Guarded, **properties: str) -> None:
    words = [f"{name}={value}" for name, value in properties.items()]
    guard.machine.run(["systemctl", "set-property", "--runtime", "oomd.service", *words])


@contextmanager
def no_more_memory(guard: Guarded) -> Iterator[int]:
    """Its control group may hold no more than it does in the calm, but for what the kernel charges
    in batches; the limit in KiB. Nor may it start a helper, whose memory would be the group's."""
    current_bytes = int(of_group(guard, "memory.current")) + BATCHES_BYTES
    tasks = of_group(guard, "pids.current").strip()
    before = {name: guard.show(name) for name in ("MemoryMax", "MemorySwapMax", "TasksMax")}
    limit(guard, MemoryMax=str(current_bytes), MemorySwapMax="0", TasksMax=tasks)
    try:
        yield current_bytes // 1024
    finally:
        limit(guard, **before)


def events(guard: Guarded) -> dict[str, int]:
    """What memory.events says."""
    lines = of_group(guard, "memory.events").splitlines()
    return {name: int(count) for name, _, count in (line.partition(" ") for line in lines)}


def test_a_kill_takes_no_memory(guard: Guarded, figure: Callable[[str], None]) -> None:
    before = events(guard)
    with no_more_memory(guard) as limit_kib:
        hog = guard.hog("--forever")
        guard.wait_killed(hog.pid)
        assert hog.died_of() == 9
        after = events(guard)
        guard.check_untouched()
    assert after["oom_kill"] == before["oom_kill"]
    # The kernel's own objects (a pidfd, an open file) are the group's too: where there is no page
    # for one, the guard gives up its reserve.
    refused = after["oom"] - before["oom"]
    figure(f"the group's limit was {limit_kib} KiB, {refused} requests were refused")
    # What it had to tell was kept until a helper could be started.
    guard.wait_said(rf"^decided at \w+: kill {hog.pid} ")


def test_a_kill_takes_no_descriptor(guard: Guarded) -> None:
    # With all that it opens at its start, whatever was given up before.
    guard.machine.run(["systemctl", "restart", "oomd"])
    pid = guard.main_pid = guard.show("MainPID")
    opened = [int(name) for name in guard.machine.run(["ls", f"/proc/{pid}/fd"]).stdout.split()]
    limit = max(opened) + 1
    # A few that were closed at its start are all that is left.
    assert limit - len(opened) <= 3
    asked = ["prlimit", "--pid", pid, "--nofile", "--raw", "--noheadings", "--output"]
    before = guard.machine.run([*asked, "SOFT,HARD"]).stdout.split()
    guard.machine.run(["prlimit", "--pid", pid, f"--nofile={limit}:{before[1]}"])
    try:
        hog = guard.hog("--forever")
        guard.wait_killed(hog.pid)
        assert hog.died_of() == 9
    finally:
        guard.machine.run(["prlimit", "--pid", pid, f"--nofile={':'.join(before)}"])
    guard.wait_said(rf"^decided at \w+: kill {hog.pid} ")
    guard.check_untouched()
