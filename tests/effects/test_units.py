"""The mark on a unit's control group: a fake tree with real extended attributes."""

import os
from pathlib import Path

import pytest

from oomd.effects.units import TAKEN_BACK_MS, UnitMarks, Whose
from oomd.mm_types import Task
from oomd.proc.root import WritableRoot
from oomd.proc.task import read_task
from tests.roots import make_root

UNIT = "/system.slice/db.service"
NOW_MS = 7_000


class Tree:
    """Process 5 in a control group of ``db.service``, on a machine with cgroup v2."""

    def __init__(self, folder: Path, cgroup: str = UNIT, *, unified: bool = True) -> None:
        files = {"proc/5/cgroup": f"0::{cgroup}\n", "proc/6/cgroup": f"0::{cgroup}\n"}
        make_root(folder, [{"pid": 5}, {"pid": 6}], files=files)
        self.root = WritableRoot(str(folder))
        self._cgroups = folder / "sys/fs/cgroup"
        self._cgroups.mkdir(parents=True, exist_ok=True)
        if unified:
            (self._cgroups / "cgroup.controllers").touch()
        self.folder(cgroup.removesuffix(" (deleted)")).mkdir(parents=True, exist_ok=True)
        self.marks = UnitMarks(self.root)

    def folder(self, cgroup: str) -> Path:
        return self._cgroups / cgroup.strip("/")

    def task(self, pid: int = 5) -> Task:
        task = read_task(self.root, pid, 4096)
        assert task is not None
        return task

    def kill(self, now_ms: int = NOW_MS, *, mark: bool = True) -> tuple[Whose, str]:
        return self.marks.killed(self.task(), now_ms, mark=mark)

    def value(self, name: str, cgroup: str = UNIT) -> str | None:
        try:
            return os.getxattr(self.folder(cgroup), f"user.oomd_{name}").decode()
        except OSError:
            return None

    def values(self, cgroup: str = UNIT) -> tuple[str | None, str | None]:
        return self.value("kill", cgroup), self.value("ooms", cgroup)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    try:
        os.setxattr(tmp_path, "user.test", b"1")
    except OSError as error:
        pytest.skip(f"no extended attributes in {tmp_path}: {error.strerror}")
    return tmp_path


def test_the_units_own_group_is_marked_and_named(folder: Path) -> None:
    tree = Tree(folder, f"{UNIT}/payload/inner")
    whose, why = tree.kill()
    assert (whose, why) == (Whose(f"{UNIT}/payload/inner", "db.service"), "")
    assert tree.values() == ("1", str(NOW_MS))
    assert tree.values(f"{UNIT}/payload") == tree.values("/system.slice") == (None, None)


def test_each_kill_counts_and_each_mark_is_higher(folder: Path) -> None:
    tree = Tree(folder)
    tree.kill()
    tree.kill()
    assert tree.values() == ("2", str(NOW_MS + 1))
    # Made anew with the unit, whose last number systemd has not forgotten.
    for name in ("kill", "ooms"):
        os.removexattr(tree.folder(UNIT), f"user.oomd_{name}")
    tree.kill(NOW_MS + 50)
    assert tree.values() == ("1", str(NOW_MS + 50))


def test_beside_systemd_oomd_its_numbers_go_on(folder: Path) -> None:
    tree = Tree(folder)
    os.setxattr(tree.folder(UNIT), "user.oomd_kill", b"3")
    os.setxattr(tree.folder(UNIT), "user.oomd_ooms", b"90000")
    tree.kill()
    assert tree.values() == ("4", "90001")


@pytest.mark.parametrize("nonsense", [b"", b"x", b"-1", b"9" * 30, b"\xff\n"])
def test_what_a_user_writes_there_is_no_number(folder: Path, nonsense: bytes) -> None:
    tree = Tree(folder)
    os.setxattr(tree.folder(UNIT), "user.oomd_kill", nonsense)
    os.setxattr(tree.folder(UNIT), "user.oomd_ooms", nonsense)
    assert tree.kill()[1] == ""
    assert tree.values() == ("1", str(NOW_MS))


def test_a_mark_that_nobody_looked_at_is_taken_back(folder: Path) -> None:
    tree = Tree(folder)
    tree.kill()
    tree.marks.take_back(NOW_MS + TAKEN_BACK_MS - 1)
    assert tree.value("ooms") == str(NOW_MS)
    tree.marks.take_back(NOW_MS + TAKEN_BACK_MS)
    assert tree.values() == ("1", None)
    # Once.
    os.setxattr(tree.folder(UNIT), "user.oomd_ooms", b"5")
    tree.marks.take_back(NOW_MS + 10 * TAKEN_BACK_MS)
    assert tree.value("ooms") == "5"


def test_after_two_kills_what_was_there_before_both_is_put_back(folder: Path) -> None:
    tree = Tree(folder)
    os.setxattr(tree.folder(UNIT), "user.oomd_ooms", b"4")
    tree.kill()
    tree.kill(NOW_MS + 3000)
    tree.marks.take_back(NOW_MS + TAKEN_BACK_MS)
    assert tree.value("ooms") == str(NOW_MS + 3000)
    tree.marks.take_back(NOW_MS + 3000 + TAKEN_BACK_MS)
    assert tree.value("ooms") == "4"


def test_a_unit_that_has_gone_needs_nothing(folder: Path) -> None:
    tree = Tree(folder)
    tree.kill()
    tree.folder(UNIT).rmdir()
    tree.marks.take_back(NOW_MS + TAKEN_BACK_MS)
    assert tree.kill() == (Whose(UNIT, "db.service"), "")


def test_what_died_with_the_victim_is_marked_too(folder: Path) -> None:
    tree = Tree(folder)
    tree.kill()
    assert tree.marks.companions([tree.task(6)], NOW_MS) == ""
    assert tree.values() == ("2", str(NOW_MS + 1))


@pytest.mark.parametrize(
    ("cgroup", "marked"),
    [
        ("/user.slice/user-7.slice/user@7.service/app.slice/a.scope", True),
        ("/user.slice/user-7.slice", False),
        ("/custom/group", False),
        ("/", False),
    ],
)
def test_only_units_are_marked(folder: Path, cgroup: str, marked: bool) -> None:
    tree = Tree(folder, cgroup)
    tree.kill()
    assert (tree.value("kill", cgroup) is not None) == marked
    # Never what a unit's manager runs in: systemd would end all of the user's.
    assert tree.value("kill", "/user.slice/user-7.slice/user@7.service") is None


def test_a_group_that_was_removed_is_not_the_one_above_it(folder: Path) -> None:
    above = "/user.slice/user-7.slice/user@7.service"
    tree = Tree(folder, f"{above}/a.service (deleted)")
    assert tree.kill()[0].unit == "a.service"
    assert tree.values(above) == tree.values(f"{above}/a.service") == (None, None)


def test_a_link_is_not_followed(folder: Path) -> None:
    tree = Tree(folder)
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    tree.folder(UNIT).rmdir()
    tree.folder(UNIT).symlink_to(elsewhere)
    tree.kill()
    assert os.listxattr(elsewhere) == []


def test_the_pid_may_be_another_process_by_now(folder: Path) -> None:
    tree = Tree(folder)
    older = tree.task()._replace(starttime_ticks=tree.task().starttime_ticks + 1)
    assert tree.marks.killed(older, NOW_MS, mark=True) == (Whose("", ""), "")
    assert tree.values() == (None, None)


@pytest.mark.parametrize(("unified", "mark"), [(False, True), (True, False)])
def test_where_nobody_looks_or_it_is_not_wanted_it_is_only_named(
    folder: Path, unified: bool, mark: bool
) -> None:
    tree = Tree(folder, unified=unified)
    assert tree.kill(mark=mark) == (Whose(UNIT, "db.service"), "")
    assert tree.values() == (None, None)


def test_an_error_is_said_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(folder)

    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    expected = "systemd cannot be told whose process was killed: "
    assert tree.kill()[1].startswith(f"{expected}user.oomd_ooms of {UNIT}: ")
    assert tree.kill()[1] == ""


def test_a_hostile_name_is_fit_to_be_shown(folder: Path) -> None:
    tree = Tree(folder, "/a\x1b[31m.service")
    whose, why = tree.kill()
    assert whose == Whose("/a\\x1b[31m.service", "a\\x1b[31m.service")
    assert why == ""


def test_a_storm_marks_a_bounded_number_of_units(folder: Path) -> None:
    tree = Tree(folder)
    for number in range(100):
        (folder / "proc/5/cgroup").write_text(f"0::/{number}.service\n")
        tree.folder(f"/{number}.service").mkdir()
        tree.kill()
    marked = [n for n in range(100) if tree.value("kill", f"/{n}.service")]
    assert marked == list(range(64))
    tree.marks.take_back(NOW_MS + TAKEN_BACK_MS)
    tree.kill()
    assert tree.value("kill", "/99.service") == "1"
