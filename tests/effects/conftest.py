"""Fixtures of this room."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oomd.proc.root import WritableRoot
from tests.effects.children import OwnChildren


@pytest.fixture
def children() -> Iterator[OwnChildren]:
    own = OwnChildren()
    yield own
    own.end()


@pytest.fixture
def fake_tree(tmp_path: Path) -> Callable[[dict[str, bytes]], WritableRoot]:
    """A tree of plain files; what is not in it cannot be written."""

    def make(files: dict[str, bytes]) -> WritableRoot:
        for rel, data in files.items():
            path = tmp_path / rel
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return WritableRoot(str(tmp_path))

    return make
