"""The seam to the file system: what an errno becomes, and what is a fact."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oomd.proc.root import Gone, ReadError, Refused, Root, WritableRoot
from tests.roots import make_root


def test_read_is_the_whole_file(tmp_path: Path) -> None:
    data = os.urandom(200_000)
    (tmp_path / "big").write_bytes(data)
    (tmp_path / "edge").write_bytes(data[:8192])
    root = Root(str(tmp_path))
    assert root.read("big") == root.read_record("big") == data
    assert root.read("edge") == root.read_record("edge") == data[:8192]


def test_too_long_is_refused_and_never_cut(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"12345")
    root = Root(str(tmp_path))
    assert root.read("file", limit=5) == b"12345"
    with pytest.raises(Refused, match="^file: EFBIG$"):
        root.read("file", limit=4)


@pytest.mark.parametrize(
    ("rel", "error", "why"),
    [
        ("absent", Gone, "ENOENT"),
        ("file/below", Gone, "ENOTDIR"),
        ("loop", Refused, "ELOOP"),
        (".", Refused, "EISDIR"),
        ("nul\0", Refused, "EINVAL"),
        ("stray\ud800", Refused, "EINVAL"),
        ("long" * 100, Refused, "ENAMETOOLONG"),
    ],
)
def test_errors_by_name(tmp_path: Path, rel: str, error: type[ReadError], why: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    root = Root(str(tmp_path))
    for read in (root.read, root.read_record):
        with pytest.raises(error) as caught:
            read(rel)
        assert (caught.value.path, caught.value.why) == (rel, why)
        assert str(caught.value).isprintable()


def test_every_method_has_the_same_errors(tmp_path: Path) -> None:
    root = WritableRoot(str(tmp_path))
    for ask in (root.listdir, root.subdirs, root.readlink, root.read):
        with pytest.raises(Gone):
            ask("absent")
    with pytest.raises(Gone):
        root.write("absent", b"1")
    with pytest.raises(Gone):
        root.pids()
    with pytest.raises(Gone):
        list(root.iter_pids())
    assert not root.exists("absent")
    assert not root.exists("nul\0")


@pytest.mark.live
def test_a_process_that_ends_while_its_file_is_read() -> None:
    """ESRCH, not ENOENT: the file was opened before."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.read(fd, 10)
    os.close(fd)
    with pytest.raises(Gone):
        Root().read_record(f"proc/{pid}/stat")


def test_names_are_in_order(tmp_path: Path) -> None:
    root = make_root(tmp_path, [{"pid": pid} for pid in (100, 20, 3)])
    assert [name for name in root.listdir("proc") if name.isdigit()] == ["3", "20", "100"]
    assert root.pids() == list(root.iter_pids()) == [3, 20, 100]


def test_only_processes_are_pids(tmp_path: Path) -> None:
    for name in ("7", "0", "self", "७", "7a", "-7"):
        (tmp_path / "proc" / name).mkdir(parents=True)
    assert Root(str(tmp_path)).pids() == [7]


def test_subdirs_are_directories(tmp_path: Path) -> None:
    (tmp_path / "dir").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to("dir")
    assert Root(str(tmp_path)).subdirs("") == ["dir"]


def test_write_is_one_call_and_creates_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    root = WritableRoot(str(tmp_path))
    root.write("file", b"AFTER!")
    assert root.read("file") == b"AFTER!"
    assert not hasattr(Root("/"), "write")


@pytest.mark.live
def test_facts_of_the_live_machine() -> None:
    root = Root()
    assert root.live
    assert root.page_size_bytes() == os.sysconf("SC_PAGE_SIZE")
    assert root.kernel_release() == os.uname().release
    assert root.user_ns_inode(os.getpid()) == os.stat("/proc/self/ns/user").st_ino
    assert os.getpid() in root.pids()
    pids = list(root.iter_pids())
    assert pids == sorted(pids)


def test_facts_are_never_this_machine_s_for_another_tree(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    assert not root.live
    assert (root.page_size_bytes(), root.clock_ticks(), root.kernel_release()) == (4096, 100, "")
    assert root.user_ns_inode(os.getpid()) is None
    assert root.same_mm(os.getpid(), os.getpid()) is None


def test_reading_imports_little() -> None:
    """The sentinel keeps its memory locked: these would cost it a megabyte or more."""
    heavy = ["ctypes", "dataclasses", "json", "pathlib", "shutil", "subprocess", "tempfile"]
    rooms = ["allocating", "memcg", "meminfo", "nodes", "pressure", "probe", "relatives", "root"]
    rooms += ["snapshot", "sysctl", "task", "vmstat"]
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
        f"for room in {rooms}: __import__('oomd.proc.' + room)\n"
        f"print([name for name in {heavy} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"
