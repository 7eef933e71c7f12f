"""The harness itself: what the scenarios rely on, up to a kernel that really is out of memory."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.vm.conftest import Boot
from tests.vm.image import Image
from tests.vm.installed import tracked_files
from tests.vm.machine import CommandFailed, GuestError, GuestTimeout, Machine

pytestmark = pytest.mark.vm

TREE = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def machine(vm_image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """One boot for all tests but the last: none but the OOM test leaves a trace."""
    with Machine(vm_image, log_dir=tmp_path_factory.mktemp("machine")) as machine:
        yield machine


def test_a_command_runs_to_its_end(machine: Machine) -> None:
    result = machine.run(
        "echo out; echo err >&2; cat /proc/self/oom_score_adj; exit 3", check=False
    )
    assert result == (3, "out\n0\n", "err\n")
    assert machine.run(["cat", "/proc/self/oom_score_adj"], oom_score_adj=-500).stdout == "-500\n"
    assert machine.run("kill -9 $$", check=False).returncode == -9


def test_a_failing_command_says_what_it_said(machine: Machine) -> None:
    with pytest.raises(CommandFailed, match=r"'ls /nowhere' ended with 2: .*No such file"):
        machine.run("ls /nowhere")
    with pytest.raises(CommandFailed, match="no-such-command"):
        machine.run(["no-such-command"])


def test_a_command_past_its_time_is_killed_with_its_children(machine: Machine) -> None:
    with pytest.raises(GuestTimeout, match="killed after 1 s, it wrote: 'begun"):
        machine.run("sleep 7001 & echo begun; wait", timeout_s=1)
    assert machine.run(["pgrep", "-f", "sleep 7001"], check=False).stdout == ""


def test_files_make_the_round_trip(machine: Machine) -> None:
    # Longer than several pieces, and not a multiple of one.
    data = os.urandom(700_001)
    machine.put("/root/file", data, mode=0o750)
    assert machine.get("/root/file") == data
    assert machine.run(["stat", "-c", "%a", "/root/file"]).stdout == "750\n"
    machine.put("/root/file", "")
    assert machine.get("/root/file") == b""
    with pytest.raises(GuestError, match="FileNotFoundError: .*'/nowhere'"):
        machine.get("/nowhere")


def test_the_tree_goes_in_as_it_is(machine: Machine) -> None:
    machine.put_tree(TREE, "/root/tree")
    assert machine.get("/root/tree/tests/vm/test_harness.py") == Path(__file__).read_bytes()
    found = machine.run("cd /root/tree && find . -type f -printf '%P\\n'").stdout.splitlines()
    assert sorted(found) == tracked_files(TREE)


def test_a_process_in_the_background(machine: Machine) -> None:
    hog = machine.start("hog --mib 3 --name backgrounded --adj 300 --hold")
    assert hog.wait_line("^ready") == f"ready {hog.pid}"
    assert machine.get(f"/proc/{hog.pid}/comm") == b"backgrounded\n"
    assert machine.get(f"/proc/{hog.pid}/oom_score_adj") == b"300\n"
    with pytest.raises(GuestTimeout, match="silent after 1 s"):
        hog.wait_line("never said", timeout_s=1)
    assert hog.poll() is None
    hog.kill()
    assert hog.wait().returncode == -9
    assert hog.poll() == -9
    machine.wait_exit(hog.pid)


def test_hogs_relatives(machine: Machine) -> None:
    family = "--children 2 --child-mib 5 --share --exit-leader --mib 1"
    hog = machine.start(f"hog {family}")
    hog.wait_line("^ready")
    stat = machine.get(f"/proc/{hog.pid}/stat").decode()
    assert stat.rsplit(")", 1)[1].split()[0] == "Z", "its leader has not exited"
    hog.kill()
    lines = [line.split() for line in hog.wait().stdout.splitlines()]
    assert [word for word, _ in lines] == ["child", "child", "share", "ready"]
    machine.run(["kill", "-9", *(pid for word, pid in lines if word != "ready")])


def test_hogs_page_tables(machine: Machine) -> None:
    hog = machine.start("hog --pgtables --mib 8")
    hog.wait_line("^ready")
    status = machine.get(f"/proc/{hog.pid}/status").decode()
    kib = {line.split(":")[0]: line.split()[1] for line in status.splitlines() if " kB" in line}
    assert int(kib["VmPTE"]) >= 8 * 1024 > int(kib["VmRSS"])
    hog.kill()


def test_the_journal_is_waited_for(machine: Machine) -> None:
    since = machine.journal_cursor()
    machine.start("systemd-run --unit=speaker sh -c 'echo first; echo second'")
    entry = machine.wait_journal("^sec", since=since, unit="speaker.service")
    assert entry["MESSAGE"] == "second"
    assert entry["__MONOTONIC_TIMESTAMP"] > 0
    messages = machine.journal(since, unit="speaker.service")
    assert messages.index("first") < messages.index("second")
    assert any(message.startswith("Started speaker.service") for message in messages)
    assert machine.journal(machine.journal_cursor(), unit="speaker.service") == []
    with pytest.raises(GuestTimeout, match="the last new one is"):
        machine.wait_journal("third", since=since, unit="speaker.service", timeout_s=1)


def test_the_kernels_log_is_waited_for(machine: Machine) -> None:
    machine.run("echo '<4>before' > /dev/kmsg")
    since = machine.journal_cursor()
    assert machine.journal(since, kernel=True) == []
    machine.start("sh -c \"echo '<4>from userspace' > /dev/kmsg\"")
    entry = machine.wait_journal("from user", since=since, kernel=True)
    assert (entry["PRIORITY"], entry["SYSLOG_FACILITY"]) == (4, 1)
    assert "from userspace" in machine.journal(since, kernel=True)


def test_qemu_takes_commands(machine: Machine) -> None:
    assert machine.qmp("query-status")["running"] is True
    cpus = machine.qmp("query-cpus-fast")
    assert len(cpus) == 2


def test_the_agent_outlives_an_out_of_memory_kill(machine: Machine) -> None:
    before = machine.vmstat("oom_kill")
    since = machine.journal_cursor()
    hog = machine.start("hog --forever --name greedy")
    assert hog.wait().returncode == -9
    killed = machine.wait_journal(r"Killed process \d+ \(greedy\)", since=since, kernel=True)
    assert f"process {hog.pid} " in killed["MESSAGE"]
    assert machine.vmstat("oom_kill") == before + 1
    assert machine.run(["systemctl", "is-active", "vm-agent"]).stdout == "active\n"
    assert machine.run("true").returncode == 0


def test_a_panic_ends_the_machine(boot: Boot) -> None:
    cgroup_v1 = "systemd.unified_cgroup_hierarchy=0 systemd.legacy_systemd_cgroup_controller"
    machine = boot(memory_mib=384, cmdline_extra=f"psi=0 {cgroup_v1}")
    assert machine.run("test -e /proc/pressure/memory", check=False).returncode == 1
    assert machine.run(["stat", "-fc", "%T", "/sys/fs/cgroup"]).stdout == "tmpfs\n"
    machine.start("sh -c 'echo c > /proc/sysrq-trigger'")
    console = machine.wait_panic()
    assert "Kernel panic - not syncing: sysrq triggered crash" in console
    assert "Kernel panic" in machine.console()
    with pytest.raises(GuestError, match=r"^the machine has ended: .*Kernel panic - not"):
        machine.run("true")
