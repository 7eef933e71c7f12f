"""Each built-in releaser frees real memory, under the rules of oomd.service; devices are seen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.vm.image import Image
from tests.vm.machine import Machine
from tests.vm.scenarios.sandbox import UNIT, Sandbox

pytestmark = pytest.mark.vm
Figure = Callable[[str], None]
PATIENCE_S = 180.0


@pytest.fixture(scope="module")
def sandbox(guarded_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A machine of its own, with slots for memory."""
    with Machine(
        guarded_image,
        log_dir=tmp_path_factory.mktemp("releasers"),
        memory_slots=2,
        max_memory_mib=1024,
    ) as machine:
        yield Sandbox(machine)


@pytest.fixture
def machine(sandbox: Sandbox) -> Machine:
    return sandbox.machine


@contextmanager
def zram_swap(machine: Machine, mib: int) -> Iterator[None]:
    machine.run("modprobe zram num_devices=1")
    machine.run(
        f"echo {mib}M > /sys/block/zram0/disksize && mkswap /dev/zram0 && swapon /dev/zram0"
    )
    try:
        yield
    finally:
        machine.run("swapoff /dev/zram0; echo 1 > /sys/block/zram0/reset")


def test_drop_caches(sandbox: Sandbox, figure: Figure) -> None:
    sandbox.machine.run(
        "dd if=/dev/zero of=/var/tmp/cached bs=1M count=64 status=none conv=fsync; "
        "cat /var/tmp/cached > /dev/null"
    )
    done = sandbox.release("drop_caches", {})
    assert done.claimed_mib >= 48
    assert abs(done.change_mib("MemFree") - done.claimed_mib) < 8, "the claim is not what it did"
    # It counted as available before.
    assert done.change_mib("MemAvailable") < done.claimed_mib / 2
    figure(
        f"claimed {done.claimed_mib:.0f} MiB, MemFree {done.change_mib('MemFree'):+.0f} MiB,"
        f" MemAvailable {done.change_mib('MemAvailable'):+.0f} MiB, {done.released['took_ms']} ms"
    )
    sandbox.machine.run("rm /var/tmp/cached")


def test_memory_reclaim_asks_the_marked_cgroup_and_no_other(
    sandbox: Sandbox, machine: Machine, figure: Figure
) -> None:
    hogs = {}
    for name in ("marked", "other"):
        group = f"/sys/fs/cgroup/{name}"
        machine.run(f"mkdir -p {group}; echo +memory > /sys/fs/cgroup/cgroup.subtree_control")
        command = f"echo $$ > {group}/cgroup.procs; exec hog --mib 64 --hold"
        hogs[name] = machine.start(["/bin/sh", "-c", command])
        hogs[name].wait_line(r"^ready", PATIENCE_S)

    def current_mib(name: str) -> float:
        return int(machine.get(f"/sys/fs/cgroup/{name}/memory.current")) / (1 << 20)

    # Through Python: the guest has no setfattr.
    mark = "import os; os.setxattr('/sys/fs/cgroup/marked', 'user.oomd_reclaim', b'1')"
    machine.run(["python3", "-c", mark])
    with zram_swap(machine, 200):
        before = {name: current_mib(name) for name in hogs}
        done = sandbox.release("memory_reclaim", {}, wanted_mib=32)
        after = {name: current_mib(name) for name in hogs}
        assert done.claimed_mib >= 32
        assert before["marked"] - after["marked"] >= 31
        assert after["other"] > before["other"] - 2
        # The hog's pages are easily squeezed.
        assert done.change_mib("MemFree") > 16
        figure(
            f"claimed {done.claimed_mib:.0f} MiB, MemFree {done.change_mib('MemFree'):+.0f} MiB,"
            f" {done.released['took_ms']} ms"
        )
        for hog in hogs.values():
            hog.kill()
            hog.wait(PATIENCE_S)
    machine.run("rmdir /sys/fs/cgroup/marked /sys/fs/cgroup/other")


def test_hugepages_are_taken_and_put_back(
    sandbox: Sandbox, machine: Machine, figure: Figure
) -> None:
    machine.run("echo 20 > /proc/sys/vm/nr_hugepages")
    # Five are mapped, and two of them touched: three are promised.
    holder = machine.start(["python3", "-u", "-c", HUGE_HOLDER])
    holder.wait_line("^ready", PATIENCE_S)
    options = {"put_back_after_s": 1, "step_mib": 8}
    done = sandbox.release("hugepages", options)
    assert done.started["meminfo"]["HugePages_Total"] == 20
    assert done.claimed_mib == 30
    after = done.released["meminfo"]
    assert (after["HugePages_Total"], after["HugePages_Free"], after["HugePages_Rsvd"]) == (5, 3, 3)
    assert done.change_mib("MemFree") > 24
    # In steps, and all of it.
    assert done.calm["steps"] >= 4
    assert done.calm["meminfo"]["HugePages_Total"] == 20
    figure(f"claimed 30 MiB, MemFree {done.change_mib('MemFree'):+.0f} MiB, and put back")
    holder.kill()
    holder.wait(PATIENCE_S)
    machine.run("echo 0 > /proc/sys/vm/nr_hugepages")


HUGE_HOLDER = """
import mmap, signal
flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x40000  # MAP_HUGETLB
pages = mmap.mmap(-1, 5 * (2 << 20), flags=flags)
pages[0] = pages[2 << 20] = 1
print("ready")
signal.pause()
"""


def test_compact_makes_a_torn_zram_denser(
    sandbox: Sandbox, machine: Machine, figure: Figure
) -> None:
    machine.run("modprobe zram num_devices=1; echo 64M > /sys/block/zram0/disksize")
    machine.run(["python3", "-c", TEAR_ZRAM])

    def used_mib() -> float:
        return int(machine.get("/sys/block/zram0/mm_stat").split()[2]) / (1 << 20)

    before_mib = used_mib()
    done = sandbox.release("compact", {"memory": True})
    shrunk_mib = before_mib - used_mib()
    assert shrunk_mib >= 4
    assert abs(done.claimed_mib - shrunk_mib) < 0.1
    figure(f"zram's pool {before_mib:.1f} MiB, {shrunk_mib:.1f} MiB less")
    machine.run("echo 1 > /sys/block/zram0/reset")


# Pages that take about half a page each, then three of four are discarded: the pool's pages stay,
# each with a hole or three.
TEAR_ZRAM = """
import fcntl, os, struct
BLKDISCARD = 0x1277
page = 4096
with open("/dev/zram0", "r+b", buffering=0) as disk:
    for number in range(12 * 1024):
        disk.write(os.urandom(1500) + bytes(page - 1500))
    os.fsync(disk.fileno())
    for number in range(12 * 1024):
        if number % 4:
            fcntl.ioctl(disk.fileno(), BLKDISCARD, struct.pack("QQ", number * page, page))
"""


def test_the_balloon_gives_all_back_and_inflates_again(sandbox: Sandbox, figure: Figure) -> None:
    options = {"size_mib": 96, "reinflate_after_s": 1, "keep_percent": 20.0}
    done = sandbox.release("balloon", options)
    assert done.started["meminfo"]["Mlocked"] >= 96 * 1024
    assert done.claimed_mib == 96
    assert done.change_mib("MemAvailable") > 88
    assert done.change_mib("Mlocked") < -88
    # Slowly: 16 MiB at most each time.
    assert done.calm["steps"] >= 6
    assert done.calm["meminfo"]["Mlocked"] >= 96 * 1024
    figure(
        f"claimed 96 MiB, MemAvailable {done.change_mib('MemAvailable'):+.0f} MiB,"
        f" {done.released['took_ms']} ms, inflated again in {done.calm['steps']} steps"
    )


def test_drm_needs_debugfs_and_has_nothing_to_drop_here(sandbox: Sandbox, machine: Machine) -> None:
    # The guest's kernel has no graphics drivers at all.
    machine.run("umount /sys/kernel/debug", check=False)
    with pytest.raises(AssertionError, match="systemctl start sys-kernel-debug.mount"):
        sandbox.release("drm", {})
    machine.run("mount -t debugfs debugfs /sys/kernel/debug")
    done = sandbox.release("drm", {})
    machine.run("umount /sys/kernel/debug")
    assert done.started["cards"] == []
    assert done.claimed_mib == 0


def test_a_command_frees_what_it_says(sandbox: Sandbox, machine: Machine, figure: Figure) -> None:
    machine.run("mkdir -p /run/cache; head -c 32M /dev/urandom > /run/cache/data")
    program = "/usr/local/bin/drop-the-cache"
    machine.put(program, "#!/bin/sh\nrm /run/cache/data && echo dropped && echo 32 MiB\n", 0o755)
    # The unit lets nobody write there, a command of the admin's as little as oomd itself.
    with pytest.raises(AssertionError, match="drop-the-cache: ended with status 1"):
        sandbox.release("command.cache", {"argv": [program]})
    rules = ["ReadWritePaths=/run/cache"]
    done = sandbox.release("command.cache", {"argv": [program]}, rules=rules)
    assert done.claimed_mib == 32
    assert done.change_mib("MemAvailable") > 28
    figure(f"claimed 32 MiB, MemAvailable {done.change_mib('MemAvailable'):+.0f} MiB")


def test_devices_come_and_go(sandbox: Sandbox, machine: Machine, figure: Figure) -> None:
    # What an earlier scenario may have loaded.
    machine.run("modprobe -r zram")
    cursor = sandbox.start("devices", wait=False)

    def wait_seen(pattern: str) -> dict[str, Any]:
        return machine.wait_journal(pattern, since=cursor, unit=UNIT, timeout_s=PATIENCE_S)

    present = wait_seen("^present ")["MESSAGE"]
    assert "memory blocks" in present
    total_kib = machine.get("/proc/meminfo").split()[1]
    machine.qmp("object-add", **{"qom_type": "memory-backend-ram", "id": "more", "size": 256 << 20})
    machine.qmp("device_add", driver="pc-dimm", id="dimm", memdev="more")
    # Debian leaves that to the admin: the block is there now, and its memory is not.
    online = "for state in /sys/devices/system/memory/memory*/state; do"
    machine.run(f"udevadm settle; {online} echo online > $state; done")
    wait_seen("^woken .*memory block.* online")
    assert machine.get("/proc/meminfo").split()[1] > total_kib
    with zram_swap(machine, 64):
        wait_seen("^woken .*zram0 added")
        wait_seen("^woken .*swap /dev/zram0 added")
    wait_seen("^woken .*swap /dev/zram0 removed")
    machine.run("modprobe -r zram")
    wait_seen("^woken .*zram0 removed")
    woken = [line for line in machine.journal(cursor, unit=UNIT) if line.startswith("woken ")]
    # The unit hears the kernel, who tells of every device: of those of others nobody hears.
    machine.run("udevadm trigger --action=change --subsystem-match=tty && udevadm settle")
    more = [one for one in machine.journal(cursor, unit=UNIT) if one.startswith("woken ")]
    assert {*more[len(woken) :]} <= {'woken {"lines": []}'}
    sandbox.stop()
    figure("; ".join(woken))
