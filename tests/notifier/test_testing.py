"""oomd.testing, the harness for authors: a plugin in its real isolation, asked for real."""

import mmap
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from oomd.client import OomClient
from oomd.notifier import OomEvent, oom_notifier
from oomd.testing import Harness, HarnessError, PluginRefused, draft_entry

MIB = 1 << 20

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(body: str) -> Path:
        path = tmp_path / "mine.py"
        head = "import os, sys, time\nfrom oomd.notifier import NOTIFY_STOP, oom_notifier\n"
        path.write_text(f'{head}@oom_notifier("mine", priority=4)\n{textwrap.dedent(body)}')
        return path

    return write


@oom_notifier("in-this-file", priority=2)
def in_this_file(event: OomEvent, *, factor: int = 1) -> int:
    """A plugin that the tests hand over as a function."""
    return event.wanted_bytes * factor


def test_what_was_claimed_and_what_was_measured(tmp_path: Path, write: Write) -> None:
    folder = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else tmp_path
    held = folder / f"oomd-test-{os.getpid()}"
    held.write_bytes(b"x" * (48 * MIB))
    path = write("""
        def release(event, *, path: str) -> int:
            freed = os.stat(path).st_size
            os.unlink(path)
            return freed
    """)
    try:
        with Harness(path, options={"path": str(held)}) as oomd:
            released = oomd.release(wanted_bytes=48 * MIB)
        assert not held.exists()
    finally:
        held.unlink(missing_ok=True)
    assert (released.name, released.priority) == ("mine", 4)
    assert released.claimed_bytes == 48 * MIB
    assert released.fault == ""
    assert released.in_time
    assert released.verdict == "claims 48.0 MiB"
    # Others use memory meanwhile, so no exact figure; but this much does not come by itself.
    assert released.mem_free_change_kib > 16 * 1024


def test_a_function_of_the_tests_own() -> None:
    with Harness(in_this_file, options={"factor": 3}) as oomd:
        assert oomd.release(wanted_bytes=7).claimed_bytes == 21


def test_an_importable_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write) -> None:
    module = f"oomd_test_{os.getpid()}"
    write("def release(event): return 9\n").rename(tmp_path / f"{module}.py")
    monkeypatch.syspath_prepend(str(tmp_path))
    with Harness(f"{module}:release") as oomd:
        assert oomd.release().claimed_bytes == 9


def test_the_event_and_the_deadline(write: Write) -> None:
    path = write("""
        def release(event):
            left = event.deadline - time.monotonic()
            assert 0 < left <= 5.0, left
            assert event[2:] == ("stall", "CONSTRAINT_NONE"), event
            return event.wanted_bytes
    """)
    with Harness(path, deadline_ms=5000) as oomd:
        released = oomd.release(1234, reason="stall")
    assert (released.fault, released.claimed_bytes) == ("", 1234)
    assert released.deadline_ms == 5000


def test_one_that_hangs_is_left_behind_and_started_anew(write: Write) -> None:
    path = write("""
        def release(event, *, marks: str):
            if os.path.exists(marks):
                return 5
            open(marks, "w").close()
            time.sleep(1000)
    """)
    with Harness(path, options={"marks": str(path.with_suffix(".hung"))}) as oomd:
        late = oomd.release()
        assert not late.in_time
        assert late.fault.startswith("left behind: no answer within")
        assert late.claimed_bytes == 0
        again = oomd.release()
    assert again.claimed_bytes == 5


# The end of its connection can be seen a moment before how it has ended.
ENDED = ("its process was killed by SIGKILL", "its process has closed its connection to oomd")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("def release(event): raise ValueError('a bug')", "failed: line 4: ValueError: a bug"),
        ("def release(event): return None", "failed: release() returned None (no return?)"),
        ("def release(event): return True", "failed: release() returned a bool"),
        ("def release(event): return 1 << 62", "claims 4611686018427387904 bytes, more than this"),
        ("def release(event): sys.exit(3)", "failed: line 4: SystemExit: 3"),
        ("def release(event): os.kill(os.getpid(), 9)", ENDED),
        (
            "def release(event): os.closerange(0, 99); return 1",
            "its process has closed its connection",
        ),
        (
            "def release(event):\n    more = []\n    while True: more.append(bytes(1 << 20))",
            "failed: line 6: MemoryError",
        ),
    ],
)
def test_a_fault_is_told(write: Write, body: str, fault: str | tuple[str, ...]) -> None:
    with Harness(write(body), deadline_ms=5000) as oomd:
        released = oomd.release()
    assert released.fault.startswith(fault)
    assert released.claimed_bytes == 0
    assert released.in_time


def test_three_faults_and_it_is_quarantined(write: Write) -> None:
    with Harness(write("def release(event): raise ValueError('no')")) as oomd:
        for _ in range(3):
            assert oomd.release().fault
        with pytest.raises(PluginRefused, match=r"mine: quarantined \(3 faults\)"):
            oomd.release()


@pytest.mark.parametrize(
    ("body", "options", "why"),
    [
        ("def release(): return 0", {}, "mine: takes no event"),
        ("def release(event): return 0", {"keep": 1}, "mine: option keep is unknown"),
        ("def release(event): return 0\n1 / 0", {}, "cannot be imported: line 5: ZeroDivisionErro"),
        ("def release(event): return 0", {"enabled": False}, "switched off"),
    ],
)
def test_one_that_does_not_load(
    write: Write, body: str, options: dict[str, object], why: str
) -> None:
    with pytest.raises(PluginRefused) as caught, Harness(write(body), options=options):
        pass
    assert why in str(caught.value)


def test_what_is_no_plugin() -> None:
    with pytest.raises(HarnessError, match="is not decorated with @oom_notifier"):
        draft_entry(lambda event: 0)
    with pytest.raises(HarnessError, match="no-such-plugin is not an installed entry point"):
        draft_entry("no-such-plugin")

    @oom_notifier("hidden")
    def hidden(event: OomEvent) -> int:
        return 0

    with pytest.raises(HarnessError, match="is inside a function: move it to the top"):
        draft_entry(hidden)


def test_nothing_is_left_running(write: Write) -> None:
    with Harness(write("def release(event): return os.getpid()")) as oomd:
        host = oomd.release().claimed_bytes
        assert Path(f"/proc/{host}").exists()
        folder = Path(oomd.socket).parent
    assert not folder.exists()
    # A zombie that nobody has collected yet may still be there.
    stat = Path(f"/proc/{host}/stat")
    assert not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


# --- programs that use the socket


def test_a_python_client() -> None:
    held = [mmap.mmap(-1, 32 * MIB)]
    held[0].write(b"x" * (32 * MIB))

    def shrink(event: object) -> int:
        held.pop().close()
        return 32 * MIB

    with Harness() as oomd:
        client = OomClient("in-a-thread", priority=6, path=oomd.socket)
        client.run_in_thread(shrink)
        oomd.wait_until_ready("in-a-thread")
        released = oomd.release(name="in-a-thread")
        client.close()
    assert (released.fault, released.claimed_bytes) == ("", 32 * MIB)
    assert released.priority == 6
    assert released.mem_available_change_kib > 8 * 1024


def test_the_whole_chain_in_its_order(write: Write) -> None:
    with Harness(write("def release(event): return NOTIFY_STOP(3)")) as oomd:
        for priority in (5, 3):
            client = OomClient(f"client-{priority}", priority=priority, path=oomd.socket)
            client.run_in_thread(lambda event: 1)
            oomd.wait_until_ready(f"client-{priority}")
        results = oomd.chain()
        assert [one.name for one in results] == ["client-5", "mine", "client-3"]
        assert [one.claimed_bytes for one in results] == [1, 3, 0]
        assert results[2].verdict == "not called: mine ended the chain"


# What an author without root's powers gets, whose shell may have a limit of its own.
AS_AUTHOR = """
import os, resource, sys, tempfile
sys.path.insert(0, sys.argv[1])
from oomd.testing import Harness
if len(sys.argv) > 2:
    resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]) << 20,) * 2)
if os.geteuid() == 0:
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "mine.py")
    with open(path, "w") as file:
        file.write("import resource\\n"
            "from oomd.notifier import oom_notifier\\n"
            "@oom_notifier('mine')\\n"
            "def release(event):\\n"
            "    return resource.getrlimit(resource.RLIMIT_DATA)[0]\\n")
    with Harness(path, memory_mib=512, deadline_ms=10_000) as oomd:
        released = oomd.release()
    print(released.claimed_bytes >> 20, released.fault)
"""


@pytest.mark.parametrize(("shell_mib", "expected_mib"), [(None, 512), (300, 300), (200, 200)])
def test_an_author_without_root_may_give_it_more_memory_than_the_worker_has(
    shell_mib: int | None, expected_mib: int
) -> None:
    words = [] if shell_mib is None else [str(shell_mib)]
    ran = subprocess.run(
        [sys.executable, "-I", "-c", AS_AUTHOR, str(Path(__file__).parents[2]), *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.stdout.split() == [str(expected_mib)], ran.stderr
