"""Whose a plugin's file may be: what others than root could have written is never run."""

import os
from pathlib import Path

import pytest

from oomd.notifier.load import PluginError, load
from tests.notifier.plugin_files import GOOD, Write, load_file, refusal, writer


@pytest.fixture
def write(tmp_path: Path) -> Write:
    return writer(tmp_path)


def test_a_file_that_others_can_write(write: Write) -> None:
    for mode in (0o646, 0o664):
        path = write(GOOD)
        path.chmod(mode)
        assert refusal(path) == f"can be written by others: chmod go-w {path}"


def test_a_folder_that_others_can_write(write: Write) -> None:
    path = write(GOOD)
    # Not even with the sticky bit: others may not take our file away, but add one of theirs.
    path.parent.chmod(0o1777)
    said = refusal(path)
    assert said == f"folder {path.parent} can be written by others: chmod go-w {path.parent}"


def test_a_folder_further_up_that_others_can_write(write: Write, tmp_path: Path) -> None:
    path = write(GOOD)
    tmp_path.chmod(0o777)
    assert refusal(path).startswith(f"folder {tmp_path} can be written by others")
    tmp_path.chmod(0o1777)
    assert load_file(path).name == "mine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_file_of_somebody_else(write: Write) -> None:
    path = write(GOOD)
    os.chown(path, 12345, 0)
    assert refusal(path) == f"{path} belongs to uid 12345: chown root {path}"
    os.chown(path, 0, 0)
    os.chown(path.parent, 12345, 0)
    assert refusal(path) == f"{path.parent} belongs to uid 12345: chown root {path.parent}"


def test_a_link(write: Write) -> None:
    path = write(GOOD)
    link = path.with_name("link.py")
    link.symlink_to(path)
    assert refusal(link) == "is a symbolic link: put the file itself there"


def test_a_link_among_the_folders_is_followed_and_judged(write: Write, tmp_path: Path) -> None:
    path = write(GOOD)
    (tmp_path / "etc").symlink_to(path.parent)
    linked = tmp_path / "etc" / path.name
    assert load_file(linked).name == "mine"
    path.parent.chmod(0o777)
    assert refusal(linked).startswith(f"folder {path.parent} can be written by others")


def test_what_is_no_file(write: Write) -> None:
    path = write(GOOD)
    pipe = path.with_name("pipe.py")
    os.mkfifo(pipe, 0o644)
    assert refusal(pipe) == "is not a regular file"
    folder = path.with_name("folder.py")
    folder.mkdir(0o755)
    assert refusal(folder) == "is not a regular file"
    assert refusal(path.with_name("gone.py")) == "cannot be read: No such file or directory"
    assert refusal(path.parent / "gone" / "x.py") == "cannot be read: No such file or directory"


def test_a_file_without_end(write: Write) -> None:
    path = write(GOOD)
    os.truncate(path, 1 << 30)
    assert refusal(path) == "is longer than 1024 KiB"


def test_no_byte_code_is_left_or_believed(write: Write) -> None:
    path = write(GOOD)
    load_file(path)
    assert os.listdir(path.parent) == [path.name]


def test_a_draft_is_its_authors_affair(write: Write) -> None:
    path = write(GOOD)
    path.chmod(0o666)
    path.parent.chmod(0o777)
    entry = {"source": str(path), "draft": True}
    plugin = load({**entry, "table": {"keep_mib": 3}}, {"mine": {"keep_mib": 4}})
    assert plugin.options["keep_mib"] == 3
    # The plan is JSON: only true is true.
    with pytest.raises(PluginError):
        load({**entry, "draft": "yes"}, {})
