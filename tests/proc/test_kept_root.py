"""Files that stay open: the same answers, no new descriptors, and no trust in what has gone."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomd.proc.kept_root import _KEPT, KeptRoot, kept_root
from oomd.proc.meminfo import read_meminfo
from oomd.proc.pcp import read_pcp_kib
from oomd.proc.pressure import read_pressure
from oomd.proc.root import VALUE_BYTES, Gone, Refused, Root
from oomd.proc.sysctl import read_sysctls
from tests.effects.children import open_fds
from tests.roots import make_root


@pytest.fixture
def kept() -> Iterator[KeptRoot]:
    root = KeptRoot()
    yield root
    root.close()


def look(root: Root) -> None:
    """What the guard reads in each look of a storm."""
    assert read_meminfo(root).mem_total_kib == read_meminfo(Root()).mem_total_kib
    read_pressure(root)
    read_pcp_kib(root, root.page_size_bytes())
    assert read_sysctls(root) == read_sysctls(Root())


@pytest.mark.live
def test_a_second_look_opens_nothing(kept: KeptRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    before = open_fds()
    look(kept)
    held = open_fds()
    assert held - before
    assert len(held - before) == len(kept._fds)
    # Nothing may be opened from here on.
    monkeypatch.setattr(Root, "open", lambda *_: pytest.fail("a file was opened"))
    for rel in tuple(kept._fds):
        kept.read(rel)
    assert open_fds() == held
    kept.close()
    assert open_fds() == before


@pytest.mark.live
def test_a_file_of_many_reads_is_whole(kept: KeptRoot) -> None:
    # Figures change between two looks, names and lines do not.
    def names(data: bytes) -> list[bytes]:
        return [line.split()[0] for line in data.splitlines()]

    for rel in ("proc/zoneinfo", "proc/vmstat", "proc/self/maps"):
        assert names(kept.read(rel))[:200] == names(Root().read(rel))[:200]
        assert len(names(kept.read(rel))) == len(names(kept.read(rel)))
    with pytest.raises(Refused, match="EFBIG"):
        kept.read("proc/zoneinfo", limit=100)


def test_what_changes_is_seen(tmp_path: Path) -> None:
    kept = KeptRoot(str(tmp_path))
    for text in ("1\n", "2\n", "3" * 20_000):
        (tmp_path / "file").write_text(text)
        assert kept.read("file") == kept.read_record("file") == text.encode()
        assert kept.read_value("file") == text[:VALUE_BYTES].encode()
    kept.close()


@pytest.mark.live
def test_a_process_that_has_ended_is_gone_and_let_go_of(kept: KeptRoot) -> None:
    before = open_fds()
    with subprocess.Popen(["sleep", "infinity"]) as child:
        rel = f"proc/{child.pid}/oom_score"
        assert kept.read_record(rel)
        assert len(open_fds() - before) == 1
        child.kill()
        child.wait()
        with pytest.raises(Gone):
            kept.read_record(rel)
    assert open_fds() == before


def test_more_files_than_are_kept_are_read_all_the_same(tmp_path: Path) -> None:
    kept = KeptRoot(str(tmp_path))
    before = open_fds()
    for number in range(_KEPT + 5):
        (tmp_path / str(number)).write_text(str(number))
        assert kept.read(str(number)) == str(number).encode()
    assert len(open_fds() - before) == _KEPT
    with pytest.raises(Gone):
        kept.read("none")
    kept.close()
    assert open_fds() == before


def test_a_tree_is_read_anew_each_time(tmp_path: Path) -> None:
    root = make_root(tmp_path, [{"pid": 1}])
    assert kept_root(root) is root
    assert isinstance(kept_root(Root()), KeptRoot)
    assert os.path.isabs(kept_root(Root()).path)
