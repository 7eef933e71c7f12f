"""Rules held against a process: which one counts, and what is not known counts for nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.mm_types import Task
from oomd.oom import Ruling
from oomd.rules.book import MANAGED_AVOID, MANAGED_OMIT, OUTSIDE, Inside, Places, RuleBook
from oomd.rules.glob import Glob
from oomd.rules.rule import Rule
from tests.mm.machine import task
from tests.proc.hostile import HOSTILE_COMMS

UNIT = "/system.slice/db.service"


def globs(*patterns: str) -> tuple[Glob, ...]:
    return tuple(map(Glob, patterns))


def place(book: RuleBook, path: str) -> Inside:
    """As the reader walks down to a cgroup."""
    inside, so_far = book.inside(OUTSIDE, "/"), ""
    for part in path.strip("/").split("/"):
        so_far += f"/{part}"
        inside = book.inside(inside, so_far)
    return inside


def read(book: RuleBook, *where: tuple[Task, str], **preference: bool) -> RuleBook:
    """With these processes in these cgroups, read ahead after all of them had started."""
    bits = {one.pid: book.bits_of(place(book, path), **preference) for one, path in where}
    book.places = Places(bits, 10_000)
    return book


def test_the_first_that_matches_counts() -> None:
    book = RuleBook(
        [
            Rule("not this one", never=True, comms=globs("sshd")),
            Rule("first", 10, comms=globs("p*")),
            Rule("second", 20, comms=globs("p7")),
        ]
    )
    assert book.ruling(task(7)) == Ruling("first", 10)
    assert book.ruling(task(7, comm="x")) is None


def test_all_matchers_have_to_match() -> None:
    rule = Rule(
        "r", 5, False, globs("p*"), globs("/system.slice*"), globs("db.*"), ((5, 9), (0, 0))
    )
    good = task(7, uid=6)
    book = read(RuleBook([rule]), (good, UNIT))
    assert book.ruling(good) == Ruling("r", 5)
    for other in (good._replace(comm="q"), good._replace(uid=4), good._replace(uid=None)):
        assert book.ruling(other) is None
    for elsewhere in ("/user.slice/db.service", "/system.slice/web.service"):
        assert read(book, (good, elsewhere)).ruling(good) is None


@pytest.mark.parametrize(
    ("cgroups", "units", "path", "matches"),
    [
        ("/system.slice/db.service", "", UNIT, True),
        ("/system.slice/db.service", "", f"{UNIT}/worker", True),
        ("/system.slice", "", UNIT, True),
        ("/system.slice/*", "", "/system.slice", False),
        ("system.slice", "", UNIT, False),
        ("/", "", UNIT, True),
        ("", "db.service", UNIT, True),
        ("", "db.service", f"{UNIT}/worker", True),
        ("", "system.slice", UNIT, True),
        ("", "*", f"{UNIT}", True),
        ("", "worker", f"{UNIT}/worker", False),
        ("", "db", UNIT, False),
        ("", "*", "/docker/0123", False),
        ("", "app-firefox*.scope", "/user.slice/user@7.service/app-firefox-1.scope", True),
        # One by what is above, the other by what is below.
        ("/user.slice", "db.service", "/user.slice/user@7.service/db.service", True),
        ("/user.slice", "db.service", UNIT, False),
        (r"/a\x2db*", "", "/a-b", False),
        ("/evil*", "", "/evil\nname", True),
        ("/ev?l", "", "/ev\udcffl", True),
    ],
)
def test_in_it_or_below_it(cgroups: str, units: str, path: str, matches: bool) -> None:
    rule = Rule(
        "r", 1, cgroups=globs(cgroups) if cgroups else (), units=globs(units) if units else ()
    )
    process = task(7)
    assert (read(RuleBook([rule]), (process, path)).ruling(process) is not None) == matches


def test_who_was_born_since_is_judged_by_the_rest() -> None:
    by_unit, by_comm = (
        Rule("unit", never=True, units=globs("db.*")),
        Rule("comm", 7, comms=globs("p7")),
    )
    book = RuleBook([by_unit, by_comm])
    process = task(7)
    assert book.ruling(process) == Ruling("comm", 7, unread=True), "nothing was read ahead"
    read(book, (process, UNIT))
    assert book.ruling(process) == Ruling("unit", never=True)
    assert book.ruling(process._replace(starttime_ticks=10_000)) == Ruling("comm", 7, unread=True)
    assert book.ruling(task(8, starttime_ticks=10_000)) == Ruling("", unread=True)
    # A rule that comes first, or that could not match anyway, is not waited for.
    for others in ([by_comm, by_unit], [by_unit._replace(comms=globs("q")), by_comm]):
        assert RuleBook(others).ruling(process) == Ruling("comm", 7)


def test_a_preference_of_the_unit_comes_after_the_admins_own() -> None:
    rule = Rule("own", 0, comms=globs("p7"))
    book = RuleBook([rule], managed=True)
    read(book, (task(7), UNIT), (task(8), UNIT), omit=True)
    assert book.ruling(task(7)) == Ruling("own", 0)
    assert book.ruling(task(8)) == MANAGED_OMIT
    assert read(book, (task(8), UNIT), avoid=True).ruling(task(8)) == MANAGED_AVOID
    assert read(book, (task(8), UNIT), avoid=True, omit=True).ruling(task(8)) == MANAGED_OMIT
    assert read(book, (task(8), UNIT)).ruling(task(8)) is None
    unasked = RuleBook([rule])
    assert not unasked.needs_places
    assert read(unasked, (task(8), UNIT), omit=True).ruling(task(8)) is None


def test_to_whom_it_may_add_something() -> None:
    """What the bound of a scan needs: anybody, or those who are known to be in a cgroup."""
    anybody = Rule("a", 30, comms=globs("p1"))
    in_unit = Rule("u", 500, units=globs("db.*"), comms=globs("p7"))
    avoided = Rule("v", -9, units=globs("*"))
    book = read(RuleBook([in_unit, anybody, avoided]), (task(7), UNIT), (task(8), "/user.slice"))
    assert book.highest_adj == 30
    assert list(book.raised_pids) == [7]
    assert RuleBook([avoided]).highest_adj <= 0
    assert not [*RuleBook([avoided], managed=True).raised_pids]
    assert (RuleBook([]).highest_adj, [*RuleBook([]).raised_pids]) == (0, [])


def test_a_minimum_size_holds_for_the_preferred_too() -> None:
    book = RuleBook([Rule("r", 5, comms=globs("p7"))], min_size_pages=100)
    assert book.ruling(task(7, 99)) == Ruling("r", 5, small=True)
    assert book.ruling(task(8, 99)) == Ruling("", small=True)
    assert book.ruling(task(8, 40, swapents_pages=50, pgtables_pages=10)) is None
    assert RuleBook([], min_size_pages=100).ruling(task(8, 99)) == Ruling("", small=True)


@pytest.mark.parametrize("raw", HOSTILE_COMMS)
def test_a_hostile_name_is_a_name(raw: bytes) -> None:
    comm = raw.decode("utf-8", "surrogateescape")
    book = RuleBook([Rule("all", 1, comms=globs("*")), Rule("no", never=True, comms=globs("sshd"))])
    assert book.ruling(task(7, comm=comm)) == Ruling("all", 1)
    assert (
        RuleBook([Rule("no", never=True, comms=globs("sshd"))]).ruling(task(7, comm=comm)) is None
    )


_comms = st.text("ab", max_size=2)
_rules = st.tuples(
    st.text("xyz", min_size=1, max_size=2),
    st.integers(-3, 3),
    st.just(False),
    st.lists(st.sampled_from(globs("a*", "b", "?")), max_size=2).map(tuple),
    st.just(()),
    st.just(()),
    st.none() | st.just(((0, 1),)),
).map(Rule._make)


def plainly(rules: list[Rule], process: Task) -> Any:
    """The same in the words of the manual."""
    for rule in rules:
        named = not rule.comms or any(glob.matches(process.comm) for glob in rule.comms)
        if named and (rule.uids is None or process.uid in (0, 1)):
            return Ruling(rule.name, rule.adj)
    return None


@given(st.lists(_rules, max_size=4), st.lists(st.tuples(_comms, st.integers(0, 2)), max_size=8))
def test_what_is_remembered_is_no_other_answer(
    rules: list[Rule], asked: list[tuple[str, int]]
) -> None:
    book = RuleBook(rules)
    for comm, uid in asked * 2:
        process = task(9, comm=comm, uid=uid)
        assert book.ruling(process) == plainly(rules, process)


def test_remembers_a_bounded_number_of_names() -> None:
    book = RuleBook([Rule("all", 1, comms=globs("n*"))])
    for number in range(5_000):
        assert book.ruling(task(7, comm=f"n{number}", uid=number)) is not None
    assert max(len(book._of_comm), len(book._of_uid)) <= 256
