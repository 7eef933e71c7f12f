"""The README shows what replay prints, to the letter."""

import re

import pytest

from oomd.cli import main
from tests.audit.commands import TREE


def test_the_readmes_example_is_what_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    readme = (TREE / "README.md").read_text()
    block = re.search(r"<!-- replay:begin -->\n```\n\$ oomd (.*)\n((?s:.*?))```\n", readme)
    assert block is not None
    monkeypatch.chdir(TREE)
    assert main(block[1].split()) == 0
    assert block[2] == capsys.readouterr().out
