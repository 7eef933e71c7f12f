"""What the unit closes, written through its doors."""

from pathlib import Path

import pytest

from oomd.effects import doors
from oomd.effects.kmsg import KmsgWriter
from oomd.effects.panic import panic
from oomd.proc.root import ReadError, WritableRoot

UNIT = Path(__file__).parents[2] / "systemd/oomd.service"


def tree(folder: Path, *files: str) -> WritableRoot:
    for file in files:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).touch()
    return WritableRoot(str(folder))


def test_a_closed_file_is_written_through_its_door(tmp_path: Path) -> None:
    root = tree(tmp_path, "run/oomd/doors/kmsg", "run/oomd/doors/sysrq-trigger")
    assert KmsgWriter(root).write(["Killed process 7 (a)"]) == 1
    said = panic(root, "no memory", "sysrq", lambda: 0)
    assert said == "panic by sysrq-trigger asked for, its words are in kmsg"
    # A file of a disk keeps what was written to it before.
    assert (tmp_path / "run/oomd/doors/kmsg").read_text().startswith("<0>no memory\n")
    assert (tmp_path / "run/oomd/doors/sysrq-trigger").read_bytes() == b"c"


def test_an_open_file_is_written_where_it_is(tmp_path: Path) -> None:
    root = tree(tmp_path, "dev/kmsg", "run/oomd/doors/kmsg")
    doors.write(root, doors.KMSG, b"words")
    assert (tmp_path / "dev/kmsg").read_bytes() == b"words"
    assert (tmp_path / "run/oomd/doors/kmsg").read_bytes() == b""


def test_the_error_is_that_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="^proc/sysrq-trigger: ENOENT$"):
        doors.write(tree(tmp_path), doors.SYSRQ_TRIGGER, b"c")


def test_the_unit_has_these_doors() -> None:
    (line,) = (one for one in UNIT.read_text().splitlines() if one.startswith("BindPaths="))
    bound = {tuple(one.removeprefix("-/").split(":/")) for one in line[10:].split()}
    assert bound == set(doors.DOORS.items())
