"""Other guards of memory, told by their names; our own command is none."""

from pathlib import Path

import pytest

from oomd.proc.rivals import RIVALS, running_rivals
from oomd.proc.root import Root


def process(path: Path, pid: int, comm: bytes, exe: str = "") -> None:
    folder = path / f"proc/{pid}"
    folder.mkdir(parents=True)
    (folder / "comm").write_bytes(comm + b"\n")
    if exe:
        (folder / "exe").symlink_to(exe)


def rivals(path: Path, own_pid: int = 0) -> tuple[str, ...]:
    return running_rivals(Root(str(path)), own_pid)


@pytest.mark.parametrize("comm", sorted(set(RIVALS) - {b"oomd"}))
def test_each_is_known_by_its_name(tmp_path: Path, comm: bytes) -> None:
    # The kernel cuts it.
    assert len(comm) <= 15
    process(tmp_path, 7, comm)
    assert rivals(tmp_path) == (RIVALS[comm],)


def test_names_are_told_once_and_in_order(tmp_path: Path) -> None:
    for pid, comm in enumerate((b"nohang", b"earlyoom", b"nohang", b"bash", b"earlyoomd"), 7):
        process(tmp_path, pid, comm)
    assert rivals(tmp_path) == ("earlyoom", "nohang")


@pytest.mark.parametrize(
    ("exe", "named"),
    [
        ("/usr/bin/oomd", True),
        ("/usr/bin/python3.11", False),
        ("/opt/oomd/current/bin/python", False),
        # Not observable: taken for ours.
        ("", False),
    ],
)
def test_metas_oomd_is_told_from_ours_by_what_it_runs(
    tmp_path: Path, exe: str, named: bool
) -> None:
    process(tmp_path, 7, b"oomd", exe)
    assert rivals(tmp_path) == (("oomd (Meta's)",) if named else ())


def test_own_pid_is_not_counted(tmp_path: Path) -> None:
    process(tmp_path, 7, b"earlyoom")
    assert rivals(tmp_path, own_pid=7) == ()


def test_what_cannot_be_read_is_no_rival(tmp_path: Path) -> None:
    assert rivals(tmp_path) == ()
    (tmp_path / "proc/9").mkdir(parents=True)
    assert rivals(tmp_path) == ()
