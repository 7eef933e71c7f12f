"""Machines for the tests. One that fails to build or to boot fails its tests: none is skipped."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.vm.image import Image, build_image
from tests.vm.machine import Machine

Boot = Callable[..., Machine]


@pytest.fixture(scope="session")
def vm_image(request: pytest.FixtureRequest) -> Image:
    """The image, from the cache or built now; what takes long is said on the terminal."""
    capture: Any = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        return build_image()


@pytest.fixture
def boot(vm_image: Image, tmp_path: Path) -> Iterator[Boot]:
    """Boots a machine that ends with the test; takes the arguments of `Machine`."""
    with ExitStack() as machines:
        count = 0

        def boot_one(**arguments: Any) -> Machine:
            nonlocal count
            count += 1
            machine = Machine(vm_image, log_dir=tmp_path / f"machine{count}", **arguments)
            return machines.enter_context(machine)

        yield boot_one
