"""One guarded machine for all scenarios that leave it alive; a fresh one for each panic."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.vm.image import Image
from tests.vm.installed import installed_image
from tests.vm.machine import Machine
from tests.vm.scenarios.guarded import Guarded
from tests.vm.scenarios.kept_records import check_all

FIGURES: list[str] = []

# Huge pages that nobody uses, 180 MiB: the hogs have less to fill, and it takes them half the time.
BALLAST_PAGES = 90


@pytest.fixture(scope="session")
def guarded_image() -> Image:
    """The image with this working tree installed by packaging/install."""
    return installed_image(Path(__file__).parents[3])


@pytest.fixture(scope="session")
def guarded_machine(
    guarded_image: Image, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Machine]:
    with Machine(guarded_image, log_dir=tmp_path_factory.mktemp("guarded")) as machine:
        machine.run(["systemctl", "is-active", "--wait", "oomd"], check=False)
        yield machine
        # Whatever was decided in all the scenarios is decided in the same way again.
        FIGURES.append(f"{len(check_all(machine))} records, each the same decision again")


@pytest.fixture(scope="module")
def ballast(guarded_machine: Machine) -> Iterator[None]:
    """Less memory, for scenarios that only want it to run out."""
    guarded_machine.run(["sysctl", "-w", f"vm.nr_hugepages={BALLAST_PAGES}"])
    yield
    guarded_machine.run(["sysctl", "-w", "vm.nr_hugepages=0"])


@pytest.fixture
def guard(guarded_machine: Machine) -> Iterator[Guarded]:
    """A scenario on the shared machine; what it started and set is gone afterwards."""
    scenario = Guarded(guarded_machine)
    yield scenario
    try:
        # Shown beside a test that has failed.
        print("what oomd.service said:", *scenario.said(), sep="\n")
        print("what the kernel said:", *scenario.kernel_said(), sep="\n")
    finally:
        scenario.close()


@pytest.fixture
def boot_guarded(guarded_image: Image, tmp_path: Path) -> Iterator[Callable[..., Guarded]]:
    """Boot a machine of its own, with this added to the kernel's command line."""
    machines: list[Machine] = []

    def boot(cmdline_extra: str = "", **hardware: Any) -> Guarded:
        log_dir = tmp_path / f"machine{len(machines)}"
        machine = Machine(guarded_image, log_dir=log_dir, cmdline_extra=cmdline_extra, **hardware)
        machines.append(machine)
        return Guarded(machine)

    yield boot
    for machine in machines:
        machine.close()


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Keep a measured figure for the end of the run."""

    def keep(text: str) -> None:
        FIGURES.append(f"{request.node.name}: {text}")

    return keep


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if FIGURES:
        terminalreporter.section("measured in the virtual machine")
        for line in FIGURES:
            terminalreporter.write_line(line)
