"""Fixtures of this room."""

from collections.abc import Iterator

import pytest

from tests.effects.children import OwnChildren


@pytest.fixture
def children() -> Iterator[OwnChildren]:
    own = OwnChildren()
    yield own
    own.end()
