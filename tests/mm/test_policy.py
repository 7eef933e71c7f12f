"""Which profile stands for which kernel."""

import pytest

from oomd.mm.policy import EL7, MAINLINE, POLICIES, Policy, policy_for


@pytest.mark.parametrize(
    ("name", "kernel", "expected"),
    [
        ("auto", "3.10.0-957.el7.x86_64", EL7),
        ("auto", "3.10.0-1160.119.1.el7.x86_64", EL7),
        ("auto", "4.18.0-553.8.1.el8_10.x86_64", MAINLINE),
        ("auto", "6.1.0-44-amd64", MAINLINE),
        ("auto", "30.1.0", MAINLINE),
        ("auto", "", MAINLINE),
        ("el7", "6.1.0-44-amd64", EL7),
        ("mainline", "3.10.0-957.el7.x86_64", MAINLINE),
    ],
)
def test_policy_for(name: str, kernel: str, expected: Policy) -> None:
    assert policy_for(name, kernel) is expected


def test_unknown_name() -> None:
    with pytest.raises(KeyError):
        policy_for("windows", "6.1.0")


def test_profiles_by_name() -> None:
    assert POLICIES == {"el7": EL7, "mainline": MAINLINE}
