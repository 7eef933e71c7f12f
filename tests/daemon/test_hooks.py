"""A daemon that warns: the whole way, from the look to the program that its worker runs."""

import signal
import time
from pathlib import Path

import pytest

from tests.daemon.sentinel import SAFE, argv, sentinel

pytestmark = pytest.mark.live

PATIENCE_S = 60

# Memory is always short of so much.
HOOKS = """
[hooks]
warn = "{program}"
available_percent = 100
available_max_mib = 16777216
swap_free_percent = 100
"""


def wait_for(path: Path) -> str:
    end = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < end, "nobody was told"
        time.sleep(0.02)
    return path.read_text()


def test_it_warns_once_and_goes_on(tmp_path: Path) -> None:
    told, program, config = tmp_path / "told", tmp_path / "warn", tmp_path / "oomd.toml"
    # There whole, or not at all.
    program.write_text(f'#!/bin/sh\necho "$OOMD_EVENT" >> {told}.new\ncp {told}.new {told}\n')
    program.chmod(0o755)
    config.write_text(SAFE + HOOKS.format(program=program))
    with sentinel(argv(config), tmp_path) as daemon:
        daemon.wait_for_log("memory is getting short: MemAvailable ")
        assert wait_for(told) == "warn\n"
        daemon.wait_for_log(f"hook warn: {program} has ended after ")
        # Who was warned stays warned.
        daemon.send(signal.SIGHUP)
        daemon.wait_for_log("reloaded: ")
        assert daemon.stop() == 0
    assert daemon.log.count("memory is getting short") == 1
    assert told.read_text() == "warn\n"


def test_where_nobody_is_to_be_told_nothing_of_it_is_there(config: Path, tmp_path: Path) -> None:
    with sentinel(argv(config), tmp_path) as daemon:
        daemon.wait_for("READY=1")
        children = Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text()
        assert children.split() == []
        assert daemon.stop() == 0
