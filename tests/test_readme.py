"""What README names is there."""

import re
from pathlib import Path

import pytest

TREE = Path(__file__).parents[1]
README = (TREE / "README.md").read_text()


NAMED = re.findall(r"(?<![/\w.])(?:tests|packaging|systemd|oomd)/[\w./-]*\w", README)


@pytest.mark.parametrize("path", sorted(set(NAMED)))
def test_the_file_is_there(path: str) -> None:
    found = TREE / path
    assert found.exists() or found.with_suffix(".py").exists(), f"README names {path}"
