"""No input makes a parser raise what it does not declare, or give back more than it was given."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.mutate import inputs
from tests.fuzz.target import FOUND, SEEDS, Target, check, found, seeds
from tests.fuzz.targets import TARGETS

EACH = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())


@EACH
def test_good_samples_are_good(target: Target) -> None:
    for sample in seeds(target):
        assert not isinstance(check(target, sample), target.errors) or target.name == "client"


@EACH
def test_what_was_found_stays_mended(target: Target) -> None:
    for data in found(target):
        check(target, data)


def test_every_sample_has_a_target() -> None:
    for folder in (SEEDS, FOUND):
        assert {path.name for path in folder.iterdir()} <= set(TARGETS)


@EACH
def test_mutated_samples(target: Target) -> None:
    # The same inputs each time: what is new is looked for with python -m tests.fuzz.
    @settings(
        max_examples=target.examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        check(target, data.draw(inputs(target)))

    hold()
