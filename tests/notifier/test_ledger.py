"""Faults outlive connections, and are forgotten in the end."""

from oomd.notifier.ledger import ENTRIES, MEMORY_S, Ledger
from oomd.wire import FAULTS


def test_faults_add_up_and_the_third_is_a_ban() -> None:
    ledger = Ledger()
    assert [ledger.add(0, "x", now) for now in (0.0, 1.0, 2.0)] == [1, 2, FAULTS]
    assert ledger.banned(0, "x", 3.0)
    assert not ledger.banned(0, "y", 3.0)
    assert not ledger.banned(1000, "x", 3.0)


def test_all_is_forgotten_after_a_while_without_another() -> None:
    ledger = Ledger()
    ledger.add(0, "x", 0.0, at_once=True)
    assert ledger.banned(0, "x", MEMORY_S - 1)
    assert not ledger.banned(0, "x", MEMORY_S)
    assert ledger.add(0, "x", MEMORY_S) == 1


def test_whoever_spoils_one_name_after_the_other_is_banned_as_a_user() -> None:
    ledger = Ledger()
    for name in ("a", "b", "c"):
        for uid in (0, 1000):
            ledger.add(uid, name, 0.0, at_once=True)
    assert ledger.banned(1000, "d", 1.0)
    # Root's programs have nothing to do with each other.
    assert not ledger.banned(0, "d", 1.0)
    assert not ledger.banned(1001, "d", 1.0)


def test_it_does_not_grow_with_the_names_that_people_think_of() -> None:
    ledger = Ledger()
    for number in range(ENTRIES * 3):
        ledger.add(1000, f"n{number}", float(number))
    assert len(ledger) == ENTRIES
    assert ledger.faults(1000, f"n{ENTRIES * 3 - 1}", ENTRIES * 3.0) == 1
