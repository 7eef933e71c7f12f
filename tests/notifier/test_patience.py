"""What the programs of one user may cost together."""

from oomd.notifier.patience import Patience


def test_root_is_not_bounded() -> None:
    patience = Patience()
    patience.begin_chain(0.0)
    patience.took(0, 99.0, late=True)
    assert patience.why_not(0, 0.2) == ""


def test_a_late_one_is_the_last_of_its_user_until_it_is_calm() -> None:
    patience = Patience()
    patience.begin_chain(0.0)
    patience.took(1000, 0.05, late=True)
    for now in (1.0, 2.0):
        patience.begin_chain(now)
        assert patience.why_not(1000, 0.2) == (
            "a program of uid 1000 was left behind earlier in this storm"
        )
        assert patience.why_not(1001, 0.2) == ""
    patience.calm()
    patience.begin_chain(3.0)
    assert patience.why_not(1000, 0.2) == ""


def test_those_that_just_make_it_share_one_deadline_in_each_chain() -> None:
    patience = Patience()
    patience.begin_chain(0.0)
    asked = 0
    while not patience.why_not(1000, 0.2):
        patience.took(1000, 0.19, late=False)
        asked += 1
    assert asked == 2
    patience.begin_chain(1.0)
    assert patience.why_not(1000, 0.2) == ""


def test_what_is_run_by_hand_in_the_calm_is_not_counted() -> None:
    patience = Patience()
    patience.took(1000, 99.0, late=True)
    assert patience.why_not(1000, 0.2) == ""
    patience.begin_chain(0.0)
    assert patience.storm_since == 0.0
    patience.begin_chain(5.0)
    assert patience.storm_since == 0.0
