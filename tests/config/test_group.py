"""``control.group``: a name that is looked up by the helper, and never by the daemon."""

import grp
from pathlib import Path

import pytest

from oomd.config import ConfigError, from_lines, settings_from_mapping
from oomd.config_load import main


def emitted(path: Path, text: str, capfd: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """The group that the daemon is given, and what was said."""
    file = path / "oomd.toml"
    file.write_text(text)
    capfd.readouterr()
    assert main(["--emit", "--config", str(file)]) == 0
    out, err = capfd.readouterr()
    return from_lines(out).control.group, err


def test_the_helper_looks_it_up(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = grp.getgrall()[0]
    for given in (first.gr_name, str(first.gr_gid)):
        assert emitted(tmp_path, f'[control]\ngroup = "{given}"\n', capfd) == (
            str(first.gr_gid),
            "",
        )
    assert emitted(tmp_path, '[control]\ngroup = ""\n', capfd) == ("", "")


def test_one_that_is_not_there_is_said_if_somebody_wants_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(name: str) -> object:
        raise KeyError(name)

    monkeypatch.setattr(grp, "getgrnam", none)
    group, said = emitted(tmp_path, '[control]\ngroup = "watchers"\n', capfd)
    assert group == ""
    assert f"{tmp_path}/oomd.toml:2: control.group: there is no group watchers: " in said
    # The default's is made by packages, and need not be there.
    assert emitted(tmp_path, "", capfd) == ("", "")


@pytest.mark.parametrize("name", ["a b", "a:b", "a,b", "a\nb", "\x1b", "gröup", "x" * 65, 7, True])
def test_what_is_no_group(name: object) -> None:
    with pytest.raises(ConfigError):
        settings_from_mapping({"control": {"group": name}})
