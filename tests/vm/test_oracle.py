"""The kernel as oracle: what oomd predicts, and what the kernel then does, words included."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.compare import compare, first_report
from tests.oracle.population import populations
from tests.oracle.run import play, started
from tests.oracle.table import disagreements
from tests.oracle.words import killed_line, rewritten, rewritten_table, table_lines
from tests.vm.image import Image
from tests.vm.installed import installed_image
from tests.vm.machine import Machine

pytestmark = pytest.mark.vm

TREE = Path(__file__).parents[2]
SEED, POPULATIONS = 7, 20

# Everybody, down to the last helper: then nothing is killable.
EXEMPT_ALL = "for adj in /proc/[0-9]*/oom_score_adj; do echo -1000 > $adj 2>/dev/null; done; true"
MEMCG = "/sys/fs/cgroup/full"
JOIN_MEMCG = (
    f"echo +memory > /sys/fs/cgroup/cgroup.subtree_control; mkdir {MEMCG}; "
    f"echo 24M > {MEMCG}/memory.max; echo 0 > {MEMCG}/memory.swap.max; true"
)


@pytest.fixture(scope="module")
def image() -> Image:
    return installed_image(TREE)


@pytest.fixture(scope="module")
def machine(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with started(image, tmp_path_factory.mktemp("oracle")) as machine:
        yield machine


@pytest.fixture
def unguarded(image: Image, tmp_path: Path) -> Iterator[Machine]:
    """A machine of the test's own, to be lost, where the kernel alone kills."""
    with Machine(image, log_dir=tmp_path) as machine:
        machine.run(["systemctl", "stop", "oomd"])
        yield machine


def decision(machine: Machine, *arguments: str) -> dict[str, Any]:
    """What the audit says that mainline would do."""
    command = ["oomd", "--dry-run", "--json", "--policy", "mainline", *arguments]
    found: dict[str, Any] = json.loads(machine.run(command, check=False).stdout)["decision"]
    return found


def test_the_kernel_kills_whom_oomd_says(machine: Machine) -> None:
    asked = [replace(one, el7_too=False) for one in populations(SEED, POPULATIONS)]
    results = list(play(machine, asked))
    # Where a busy host has cost the kernel's answer, it is asked once more.
    lost = {one.number for one in map(compare, results) if one.cause == "harness"}
    again = {
        one["population"]["number"]: one
        for one in play(machine, [one for one in asked if one.number in lost])
    }
    results = [again.get(one["population"]["number"], one) for one in results]
    verdicts = [compare(result) for result in results]
    unlike = "\n".join(disagreements(verdicts))
    assert len(verdicts) == POPULATIONS
    assert not [one for one in verdicts if one.cause in ("policy", "harness")], unlike
    assert sum(one.victim_equal for one in verdicts) >= 0.9 * POPULATIONS, unlike
    # Before a node's OOM the kernel takes file pages from everybody: nobody's figures stay.
    still = [one for one in verdicts if one.scene in ("sysrq", "memcg")]
    rows = sum(one.rows for one in still)
    assert rows >= 5 * len(still)
    assert sum(one.points_equal for one in still) >= 0.95 * rows, unlike
    # Each of its lines, as oomd would have written it; /dev/kmsg has its own way to escape a comm.
    lines = [line for one in results if (line := killed_line(one["kmsg"])) and "\\" not in line]
    assert len(lines) >= 0.75 * POPULATIONS
    assert [rewritten(line) for line in lines] == lines
    for one in results:
        report, reports = first_report(one["kmsg"])
        if report is not None and reports == 1:
            pairs = zip(rewritten_table(report.table.rows), table_lines(one["kmsg"]), strict=True)
            assert all(ours == theirs for ours, theirs in pairs if "\\" not in theirs)


def test_a_manual_oom_does_not_panic(machine: Machine) -> None:
    machine.run(["sysctl", "-w", "vm.panic_on_oom=1"])
    hog = machine.start("hog --mib 60 --name big")
    hog.wait_line("^ready")
    asked = decision(machine, "--manual")
    since = machine.journal_cursor()
    machine.run("echo f > /proc/sysrq-trigger")
    machine.wait_journal(rf"Killed process {hog.pid} \(big\)", since=since, kernel=True)
    machine.run(["sysctl", "-w", "vm.panic_on_oom=0"])
    assert (asked["verdict"], asked["chosen"]["pid"]) == ("kill", hog.pid)
    assert hog.wait().returncode == -9


def test_the_allocating_task_dies_for_its_own_request(machine: Machine) -> None:
    machine.run(["sysctl", "-w", "vm.oom_kill_allocating_task=1"])
    idle = machine.start("hog --mib 200 --name idle")
    idle.wait_line("^ready")
    since = machine.journal_cursor()
    allocator = machine.start("hog --name allocator --on-usr1 grow")
    allocator.wait_line("^ready")
    asked = decision(machine, "--current", str(allocator.pid))
    allocator.kill(10)
    entry = machine.wait_journal("Killed process", since=since, kernel=True)
    machine.run(["sysctl", "-w", "vm.oom_kill_allocating_task=0"])
    assert allocator.wait().returncode == -9
    assert idle.poll() is None
    idle.kill()
    assert asked["chosen"]["pid"] == allocator.pid
    words = f"{asked['message']}: Killed process {allocator.pid} (allocator) "
    assert entry["MESSAGE"].startswith(words)
    assert rewritten(entry["MESSAGE"]) == entry["MESSAGE"]


def test_a_memcg_ignores_the_sysctls_that_are_not_about_it(machine: Machine) -> None:
    machine.run(JOIN_MEMCG)
    machine.run(["sysctl", "-w", "vm.panic_on_oom=1", "vm.oom_kill_allocating_task=1"])
    idle = machine.start(f"hog --cgroup {MEMCG} --mib 15 --name idle")
    idle.wait_line("^ready")
    allocator = machine.start(f"hog --cgroup {MEMCG} --name small --on-usr1 grow --grow-mib 12")
    allocator.wait_line("^ready")
    asked = decision(machine, "--memcg", "/full", "--current", str(allocator.pid))
    cursor = machine.journal_cursor()
    allocator.kill(10)
    assert idle.wait().returncode == -9
    machine.run(["sysctl", "-w", "vm.panic_on_oom=0", "vm.oom_kill_allocating_task=0"])
    # Now and then the kernel asks again before what the first one held is uncharged.
    first = machine.wait_journal(r"Killed process \d+ ", since=cursor, kernel=True)
    assert f"Killed process {idle.pid} (idle)" in str(first["MESSAGE"])
    allocator.kill()
    allocator.wait()
    assert (asked["verdict"], asked["chosen"]["pid"]) == ("kill", idle.pid)


def system_wide(machine: Machine) -> dict[str, Any]:
    machine.run(["sysctl", "-w", "vm.panic_on_oom=1"])
    asked = decision(machine)
    machine.start("hog --forever")
    return asked


def compulsory(machine: Machine) -> dict[str, Any]:
    machine.run(JOIN_MEMCG)
    machine.run(["sysctl", "-w", "vm.panic_on_oom=2"])
    asked = decision(machine, "--memcg", "/full")
    machine.start(f"hog --cgroup {MEMCG} --forever")
    return asked


def deadlocked(machine: Machine) -> dict[str, Any]:
    machine.run(EXEMPT_ALL, oom_score_adj=-1000)
    command = "oomd --dry-run --json --policy mainline"
    asked = machine.run(command, check=False, oom_score_adj=-1000).stdout
    machine.start("hog --forever", oom_score_adj=-1000)
    found: dict[str, Any] = json.loads(asked)["decision"]
    return found


@pytest.mark.parametrize("provoke", [system_wide, compulsory, deadlocked], ids=lambda f: f.__name__)
def test_the_kernel_panics_in_the_words_that_oomd_says(
    unguarded: Machine, provoke: Callable[[Machine], dict[str, Any]]
) -> None:
    asked = provoke(unguarded)
    console = unguarded.wait_panic()
    assert asked["verdict"] == "panic"
    assert f"Kernel panic - not syncing: {asked['message']}\n" in console
