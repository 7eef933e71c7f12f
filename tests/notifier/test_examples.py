"""The examples that authors start from: each one runs, and really gives memory back."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from oomd.notifier import OomEvent
from oomd.notifier.load import load
from oomd.testing import Harness
from tests.notifier.listening import PATIENCE_S, Listening

TREE = Path(__file__).parents[2]
EXAMPLES = TREE / "packaging" / "examples"
MIB = 1 << 20


@pytest.fixture(scope="module")
def c_cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    compiler = shutil.which("cc")
    assert compiler, "cc is missing: ./tests/run installs it"
    program = tmp_path_factory.mktemp("c") / "cache"
    warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    source = str(EXAMPLES / "cache.c")
    subprocess.run([compiler, "-std=c99", "-O2", *warnings, "-o", program, source], check=True)
    return str(program)


@contextmanager
def running(command: list[str], socket: str) -> Iterator["subprocess.Popen[str]"]:
    environment: Mapping[str, str] = {
        **os.environ,
        "OOMD_NOTIFY_SOCKET": socket,
        "PYTHONPATH": str(TREE),
    }
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def rss_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@pytest.fixture(params=["C", "Python"])
def command(request: pytest.FixtureRequest, c_cache: str) -> list[str]:
    program = [c_cache] if request.param == "C" else [sys.executable, str(EXAMPLES / "cache.py")]
    return [*program, "example", "24", "3"]


def test_a_cache_gives_back_what_is_wanted(command: list[str], tmp_path: Path) -> None:
    with (
        Listening(tmp_path / "notify.sock") as daemon,
        running(command, daemon.path) as process,
    ):
        with daemon.accept() as talk:
            asked = talk.grant()
            assert (asked["op"], asked["api"]) == ("register", 1)
            assert (asked["name"], asked["priority"]) == ("example", 3)
            before_kib = rss_kib(process.pid)
            talk.ask(7, wanted_bytes=10 * MIB)
            answer = talk.hear()
            assert (answer["op"], answer["seq"], answer["bytes"]) == ("freed", 7, 10 * MIB)
            assert before_kib - rss_kib(process.pid) >= 9 * 1024
            # All that is left, and then nothing.
            talk.ask(8, wanted_bytes=1 << 50)
            assert talk.hear()["bytes"] == 14 * MIB
            talk.ask(9)
            assert talk.hear()["bytes"] == 0
        # The daemon hangs up: it is restarted.
        with daemon.accept() as talk:
            assert talk.grant()["name"] == "example"


def test_a_cache_at_the_real_worker(command: list[str]) -> None:
    with Harness() as oomd, running(command, oomd.socket) as process:
        oomd.wait_until_ready("example")
        before_kib = rss_kib(process.pid)
        released = oomd.release(10 * MIB, name="example")
        assert (released.fault, released.claimed_bytes) == ("", 10 * MIB)
        assert released.priority == 3
        assert released.mem_free_change_kib > 0
        assert before_kib - rss_kib(process.pid) >= 9 * 1024


def test_a_cache_stops_when_its_time_is_up(command: list[str], tmp_path: Path) -> None:
    with (
        Listening(tmp_path / "notify.sock") as daemon,
        running(command, daemon.path),
        daemon.accept() as talk,
    ):
        talk.grant()
        talk.ask(1, wanted_bytes=1 << 50, deadline_ms=0)
        assert talk.hear()["bytes"] == 0


@pytest.mark.parametrize("heard", [True, False])
def test_the_c_cache_that_is_refused_says_so_and_ends(
    c_cache: str, tmp_path: Path, heard: bool
) -> None:
    command = [c_cache, "example", "1"]
    with Listening(tmp_path / "notify.sock") as daemon, running(command, daemon.path) as process:
        with daemon.accept() as talk:
            talk.await_message()
            if heard:
                talk.hear()
            talk.say(op="refused", error="the name is taken")
        assert process.wait(PATIENCE_S) == 1


def test_the_drop_in_empties_its_folder_oldest_first(tmp_path: Path) -> None:
    folder = tmp_path / "thumbnails"
    folder.mkdir()
    now = time.time()
    for age, name in enumerate(("new", "older", "oldest")):
        (folder / name).write_bytes(b"x" * 100_000)
        os.utime(folder / name, (now - age, now - age))
    (folder / "link").symlink_to("/etc/passwd")
    entry = {"source": str(EXAMPLES / "tmpfs_cache.py"), "draft": True}
    table = {"folder": str(folder)}

    def call(wanted_bytes: int, **more: object) -> int:
        plugin = load(entry, {"tmpfs-cache": {**table, **more}})
        event = OomEvent(wanted_bytes, time.monotonic() + 60, "exhaustion", "CONSTRAINT_NONE")
        answer = plugin.release(event)
        assert isinstance(answer, int)
        return answer

    assert call(1, keep_files=9) == 0
    assert call(1, keep_files=2) >= 100_000
    assert sorted(os.listdir(folder)) == ["link", "new", "older"]
    assert call(1 << 30) >= 200_000
    assert os.listdir(folder) == ["link"]
