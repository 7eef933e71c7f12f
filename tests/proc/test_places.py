"""Where processes are, read ahead: from the cgroups' side, in rounds, and never without bound."""

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from oomd.oom import Ruling
from oomd.proc import places
from oomd.proc.places import PlacesReader
from oomd.proc.record import RecordingRoot, open_root
from oomd.proc.root import Root
from oomd.proc.task import read_task
from oomd.rules.book import MANAGED_AVOID, MANAGED_OMIT, RuleBook
from oomd.rules.glob import Glob
from oomd.rules.rule import Rule
from tests.mm.machine import task
from tests.roots import Cgroup, make_root

DB = Rule("db", never=True, units=(Glob("db.service"),))
USERS = Rule("users", 5, cgroups=(Glob("/user.slice"),))
UNIT = "/system.slice/db.service"
CGROUPS: list[Cgroup] = [
    {"path": "/init.scope", "pids": [1]},
    {"path": UNIT, "pids": [10, 11]},
    {"path": f"{UNIT}/worker", "pids": [12]},
    {"path": "/system.slice/web.service", "pids": [13]},
    {"path": "/user.slice/user-7.slice/user@7.service/db.service", "pids": [14]},
]


def read(root: Root, book: RuleBook, domain: str = "") -> dict[int, str]:
    """Whose rule is which, after a whole pass."""
    PlacesReader(root, book, domain).read_all()
    rulings = {pid: book.ruling(task(pid)) for pid in range(1, 20)}
    assert not any(one.unread for one in rulings.values() if one)
    return {pid: one.rule for pid, one in rulings.items() if one}


@pytest.mark.parametrize("version", [1, 2, "hybrid"])
def test_each_process_by_the_cgroup_that_it_is_in(tmp_path: Path, version: object) -> None:
    root = make_root(tmp_path, cgroups=CGROUPS, cgroup_version=version)  # type: ignore[arg-type]
    assert read(root, RuleBook([DB, USERS])) == {10: "db", 11: "db", 12: "db", 14: "db"}
    by_slice = {10: "db", 11: "db", 12: "db", 14: "users"}
    assert read(root, RuleBook([USERS, DB])) == by_slice


def test_systemds_own_tree_comes_before_that_of_the_memory(tmp_path: Path) -> None:
    files = {f"sys/fs/cgroup/systemd/{name}cgroup.procs": "10\n" for name in ("", "a/db.service/")}
    root = make_root(tmp_path, cgroups=CGROUPS[3:], cgroup_version=1, files=files)
    assert read(root, RuleBook([DB])) == {10: "db"}


def test_without_cgroups_nobody_is_in_one(tmp_path: Path) -> None:
    reader = PlacesReader(make_root(tmp_path), book := RuleBook([DB]))
    reader.read_all()
    reader.look(10_000_000)
    assert book.ruling(task(10)) == Ruling("", unread=True)


def test_hostile_names_and_a_torn_list(tmp_path: Path) -> None:
    root = make_root(tmp_path, cgroups=CGROUPS, cgroup_version=2)
    mount = os.fsencode(tmp_path / "sys/fs/cgroup")
    for name in (b"a\nb", b"\xff\xfe", b"\x1b[31m", b"db.service\n"):
        os.mkdir(mount + b"/" + name)
        (Path(os.fsdecode(mount + b"/" + name)) / "cgroup.procs").write_text("15\n99999999999999\n")
    (tmp_path / "sys/fs/cgroup/system.slice/web.service/cgroup.procs").write_bytes(b"\0\xff13")
    assert 15 not in read(root, RuleBook([DB]))
    for glob in ("/a?b", "/\udcff\udcfe", "/*[[]31m"):
        assert read(root, RuleBook([Rule("r", 1, cgroups=(Glob(glob),))])) == {15: "r"}


class Shrinking(Root):
    """A tree of which a cgroup vanishes as soon as its parent was listed."""

    def subdirs(self, rel: str) -> list[str]:
        found = super().subdirs(rel)
        return [*found, "gone.service"] if rel.endswith("system.slice") else found


def test_a_cgroup_that_vanishes_costs_nobody_else(tmp_path: Path) -> None:
    root = make_root(tmp_path, cgroups=CGROUPS, cgroup_version=2, opener=Shrinking)
    found = read(root, RuleBook([Rule("all", 1, cgroups=(Glob("*"),))]))
    assert found == dict.fromkeys([1, 10, 11, 12, 13, 14], "all")


# --- a unit's own preference


def mark(root: Root, path: str, names: dict[str, str], uid: int = 0) -> None:
    folder = Path(root.path) / "sys/fs/cgroup" / path.strip("/")
    for name, value in names.items():
        try:
            os.setxattr(folder, f"user.oomd_{name}", value.encode())
        except OSError as error:
            pytest.skip(f"no extended attributes here: {error}")
    if uid != os.geteuid():
        try:
            os.chown(folder, uid, -1)
        except PermissionError:
            pytest.skip("only root can give a folder away")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ({"omit": "1"}, MANAGED_OMIT),
        ({"avoid": "1"}, MANAGED_AVOID),
        ({"avoid": "yes", "omit": "True"}, MANAGED_OMIT),
        ({"avoid": "0", "omit": "no"}, None),
        ({"omit": "\x1b"}, None),
        ({"prefer": "1"}, None),
    ],
)
def test_a_preference_is_of_that_cgroup_alone(
    tmp_path: Path, names: dict[str, str], expected: Ruling | None
) -> None:
    root = make_root(tmp_path, cgroups=CGROUPS, cgroup_version=2)
    mark(root, UNIT, names)
    book = RuleBook([], managed=True)
    PlacesReader(root, book).read_all()
    assert [book.ruling(task(pid)) for pid in (10, 11, 12, 13)] == [expected, expected, None, None]


def test_nobody_takes_himself_out_of_a_choice_among_others(tmp_path: Path) -> None:
    """As with systemd-oomd: a cgroup of root's counts, or of the owner of what is judged."""
    root = make_root(tmp_path, cgroups=CGROUPS, cgroup_version=2)
    domain = "/user.slice/user-7.slice/user@7.service"
    mark(root, CGROUPS[4]["path"], {"omit": "1"}, uid=7)
    assert read(root, RuleBook([], managed=True)) == {}
    assert read(root, RuleBook([], managed=True), domain) == {}
    mark(root, domain, {}, uid=7)
    assert read(root, RuleBook([], managed=True), domain) == {14: MANAGED_OMIT.rule}
    mark(root, domain, {}, uid=8)
    assert read(root, RuleBook([], managed=True), domain) == {}


def test_a_recording_gives_the_same_answers_again(tmp_path: Path) -> None:
    source = make_root(tmp_path / "a", cgroups=CGROUPS, cgroup_version=2)
    mark(source, UNIT, {"omit": "1"})
    mark(source, CGROUPS[4]["path"], {"avoid": "1"}, uid=7)
    recording = RecordingRoot(source, str(tmp_path / "b"))
    book = RuleBook([USERS], managed=True)
    expected = {10: MANAGED_OMIT.rule, 11: MANAGED_OMIT.rule, 14: "users"}
    assert read(recording, book) == expected
    recording.finish()
    assert read(open_root(str(tmp_path / "b")), book) == expected


# --- in rounds


def passes(reader: PlacesReader, book: RuleBook, now_ms: int, step_ms: int, looks: int) -> int:
    """How often the places are new, in so many looks."""
    count = 0
    for number in range(looks):
        before = book.places
        reader.look(now_ms + number * step_ms)
        count += book.places is not before
    return count


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Each look at the clock takes so many microseconds of it."""
    now = [0]

    def set_cost(cost_us: int) -> None:
        def monotonic_ns() -> int:
            now[0] += cost_us * 1000
            return now[0]

        monkeypatch.setattr(time, "monotonic_ns", monotonic_ns)

    return set_cost


def test_takes_no_more_than_a_hundredth(tmp_path: Path, clock: Callable[[int], None]) -> None:
    root = make_root(tmp_path, cgroups=CGROUPS, cgroup_version=2)
    book = RuleBook([DB])
    reader = PlacesReader(root, book)
    # 10 cgroups with the slices between them, 4 ms each.
    clock(4_000)
    assert passes(reader, book, 1_000, 10, 10) == 0, "nothing was saved up yet"
    assert 1 <= passes(reader, book, 2_000, 10, 1_000) <= 3
    assert passes(reader, book, 100_000, 20_000, 5) == 5, "each look of a calm machine is a pass"


def test_a_quick_machine_is_not_gone_through_all_the_time(
    tmp_path: Path, clock: Callable[[int], None]
) -> None:
    root = make_root(tmp_path, cgroups=CGROUPS, cgroup_version=2)
    book = RuleBook([DB])
    clock(1)
    assert passes(PlacesReader(root, book), book, 5_000, 10, 1_000) in (9, 10)


def test_half_a_pass_changes_nothing(tmp_path: Path, clock: Callable[[int], None]) -> None:
    root = make_root(tmp_path, cgroups=CGROUPS, cgroup_version=2)
    book = RuleBook([DB])
    reader = PlacesReader(root, book)
    reader.read_all()
    whole = book.places
    clock(1_000)
    reader.read_all(4_000)
    assert book.places is whole
    clock(0)
    for now_ms in (1_000, 2_000):
        reader.look(now_ms)
    assert book.places is not whole
    assert book.places == whole


@pytest.mark.parametrize("name", ["CGROUPS_AT_MOST", "PIDS_AT_MOST"])
def test_what_is_kept_is_bounded_and_nearest_to_the_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(places, name, 3)
    deep: list[Cgroup] = [{"path": "/a" * depth, "pids": [depth]} for depth in range(1, 9)]
    root = make_root(tmp_path, cgroups=deep, cgroup_version=2)
    book = RuleBook([Rule("r", 1, cgroups=(Glob("/a*"),))])
    reader = PlacesReader(root, book)
    reader.read_all()
    assert sorted(book.places.bits) == [1, 2, 3][: 2 if name == "CGROUPS_AT_MOST" else 3]
    assert reader.note.startswith("rules see no more than ")


@pytest.mark.live
def test_who_is_born_afterwards_is_not_taken_for_another() -> None:
    root = Root()
    book = RuleBook([Rule("all", 1, cgroups=(Glob("*"),))])
    reader = PlacesReader(root, book)
    # The start times have the resolution of a tick.
    time.sleep(0.05)
    reader.read_all()
    own = read_task(root, os.getpid(), root.page_size_bytes())
    assert own is not None
    if os.getpid() not in book.places.bits:
        pytest.skip("this process is in no cgroup that can be seen from here")
    assert book.ruling(own) == Ruling("all", 1)
    with subprocess.Popen(["sleep", "60"]) as born:
        try:
            child = read_task(root, born.pid, root.page_size_bytes())
            assert child is not None
            # As if its pid had been another's when the places were read.
            book.places = book.places._replace(bits={born.pid: 1})
            assert book.ruling(child) == Ruling("", unread=True)
        finally:
            born.kill()
