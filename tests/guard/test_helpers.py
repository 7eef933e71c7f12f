"""Helpers: ordinary processes, bounded, collected without a wait."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oomd.helpers import HELPER_KIB, Helpers
from tests.audit.machines import AMPLE
from tests.effects.children import open_fds
from tests.guard.fake_act import Guarded
from tests.guard.helping import collect_one

TREE = Path(__file__).resolve().parents[2]


def test_it_runs_a_module_of_ours_and_its_exit_code_is_collected_once(tmp_path: Path) -> None:
    config = tmp_path / "oomd.toml"
    config.write_text("log.top = 3\n")
    before = open_fds()
    helpers = Helpers()
    read_fd, write_fd = os.pipe()
    pid = helpers.start("oomd.config_load", "--emit", "--config", str(config), stdout=write_fd)
    os.close(write_fd)
    with os.fdopen(read_fd) as out:
        assert "3" in out.read()
    assert collect_one(helpers, pid) == 0
    assert helpers.collect() == ()
    assert open_fds() == before


def test_a_failure_and_a_signal_are_exit_codes_too(capfd: pytest.CaptureFixture[str]) -> None:
    helpers = Helpers()
    pid = helpers.start("oomd.config_load", "--emit", "--config", "/nowhere/oomd.toml")
    assert collect_one(helpers, pid) == 2
    # Its stderr is ours.
    assert capfd.readouterr().err.startswith("/nowhere/oomd.toml: cannot be read")
    read_fd, write_fd = os.pipe()
    pid = helpers.start("json.tool", stdin=read_fd)
    os.close(read_fd)
    os.kill(pid, signal.SIGKILL)
    assert collect_one(helpers, pid) == -signal.SIGKILL
    os.close(write_fd)


def test_one_that_somebody_else_has_collected_counts_as_failed() -> None:
    helpers = Helpers()
    pid = helpers.start("json.tool")
    os.waitpid(pid, 0)
    assert helpers.collect() == ((pid, 1),)
    assert helpers.collect() == ()


def test_one_that_takes_too_long_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("oomd.helpers.DEADLINE_S", 0.0)
    helpers = Helpers()
    read_fd, write_fd = os.pipe()
    pid = helpers.start("json.tool", stdin=read_fd)
    assert helpers.collect() == ()
    assert collect_one(helpers, pid) == -signal.SIGKILL
    os.close(read_fd)
    os.close(write_fd)


def test_stdin_is_empty_and_stdout_is_our_stderr_if_nothing_else_is_given(
    capfd: pytest.CaptureFixture[str],
) -> None:
    helpers = Helpers()
    pid = helpers.start("json.tool", "--json-lines")
    assert collect_one(helpers, pid) == 0
    pid = helpers.start("oomd.config_load", "--sample")
    assert collect_one(helpers, pid) == 0
    assert capfd.readouterr().err.startswith("# oomd's settings.")


# What a helper finds itself to be, started by somebody who is exempt and ahead of others.
SHOW = """
import os, resource, sys
with open("/proc/self/oom_score_adj") as adj: print(adj.read().strip())
print(os.getpriority(os.PRIO_PROCESS, 0), *resource.getrlimit(resource.RLIMIT_DATA))
print(os.getpgrp() == os.getpid(), sys.flags.isolated, os.getcwd() in sys.path)
print(sorted(os.listdir("/proc/self/fd"), key=int)[:3])
"""
START = """
import os, sys
sys.path.insert(0, sys.argv[1])
import oomd.helpers
with open("/proc/self/oom_score_adj", "w") as adj: adj.write("600")
# As the installed package would be found: from its own folder.
oomd.helpers._BOOTSTRAP = sys.argv[2]
helpers = oomd.helpers.Helpers()
pid = helpers.start("shows_itself", stdout=1)
os.waitpid(pid, 0)
"""


def test_a_helper_is_an_ordinary_process_with_a_bound(tmp_path: Path) -> None:
    (tmp_path / "shows_itself.py").write_text(SHOW)
    package = tmp_path / "package"
    package.mkdir()
    bootstrap = shutil.copy(TREE / "oomd" / "bootstrap.py", package)
    ran = subprocess.run(
        [sys.executable, "-c", START, str(TREE), bootstrap],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ran.stdout.splitlines() == [
        "0",
        "19 268435456 268435456",
        "True 1 False",
        "['0', '1', '2']",
    ]


def test_a_helper_has_room_where_it_would_not_cross_a_threshold(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path)
    limit_kib = guarded.watch.look(0).limit_kib
    for spare_kib in (HELPER_KIB, HELPER_KIB - 1, 0):
        guarded.memory(AMPLE._replace(mem_available_kib=limit_kib + spare_kib))
        guarded.turn()
        assert guarded.guard.roomy is (spare_kib >= HELPER_KIB)
    # Nobody knows when there will be: what was decided is told all the same.
    (tmp_path / "proc/meminfo").unlink()
    guarded.turn()
    assert guarded.guard.blind and guarded.guard.roomy
