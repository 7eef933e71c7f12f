"""Loading the settings through the real helper: good, broken, and what is remembered."""

import os
import signal
from pathlib import Path

import pytest

from oomd.config import to_lines
from oomd.helpers import Helpers
from oomd.proc.root import WritableRoot
from oomd.settings import Settings
from oomd.settings_loader import SettingsLoader
from tests.effects.children import open_fds
from tests.guard.helping import collect_one, wait_readable


class Loading:
    """A loader for one file, and a tree that has a /run/oomd."""

    def __init__(self, path: Path) -> None:
        self.config = path / "oomd.toml"
        self.config.write_text("")
        self.kept = path / "run/oomd/settings"
        self.kept.parent.mkdir(parents=True)
        self.helpers = Helpers()
        self.loader = SettingsLoader(self.helpers, WritableRoot(str(path)), str(self.config))

    def pid(self) -> int:
        (pid,) = self.helpers._running
        return pid

    def end(self, *, read: bool = True) -> Settings | str | None:
        """Wait for the helper as the daemon would."""
        while read and self.loader.fd >= 0:
            wait_readable(self.loader.fd)
            self.loader.read()
        pid = self.pid()
        return self.loader.ended(pid, collect_one(self.helpers, pid))

    def load(self, text: str) -> Settings | str | None:
        self.config.write_text(text)
        self.loader.begin()
        return self.end()


@pytest.fixture
def loading(tmp_path: Path) -> Loading:
    return Loading(tmp_path)


def test_what_the_file_says_is_loaded_and_remembered(loading: Loading) -> None:
    before = open_fds()
    assert loading.loader.last_good() is None
    assert not loading.loader.loading
    settings = loading.load("policy = 'mainline'\n[watch]\ncgroup = '/süd'\n")
    assert isinstance(settings, Settings)
    assert (settings.policy, settings.watch.cgroup) == ("mainline", "/süd")
    assert not loading.loader.loading
    assert loading.loader.fd == -1
    assert loading.loader.last_good() == settings
    assert open_fds() == before


def test_the_notifiers_are_remembered_and_nobody_else_may_read_them(loading: Loading) -> None:
    settings = loading.load("[notifiers.command.mine]\nargv = ['/bin/x', 'secret']\n")
    assert isinstance(settings, Settings)
    assert '"argv":["/bin/x","secret"]' in settings.notifiers.plan
    assert loading.loader.last_good() == settings
    assert loading.kept.stat().st_mode & 0o077 == 0


def test_a_plan_of_any_length_comes_through_the_helpers_pipe(loading: Loading) -> None:
    # A pipe holds 64 KiB.
    settings = loading.load(f"[notifiers.command.mine]\nargv = ['/bin/x', '{'y' * 200_000}']\n")
    assert isinstance(settings, Settings)
    assert len(settings.notifiers.plan) > 200_000
    assert loading.loader.last_good() == settings


def test_a_broken_file_leaves_what_is_remembered(
    loading: Loading, capfd: pytest.CaptureFixture[str]
) -> None:
    good = loading.load("log.top = 3\n")
    capfd.readouterr()
    why = loading.load("\n\nlog.top = 'all'\n")
    assert why == "the configuration is not usable (the line above says where)"
    # The line above.
    assert capfd.readouterr().err.startswith(f"{loading.config}:3: log.top: ")
    assert loading.loader.last_good() == good
    # And the next one is loaded.
    again = loading.load("log.top = 4\n")
    assert isinstance(again, Settings)
    assert again.log.top == 4


def test_a_helper_that_dies_has_not_loaded_anything(loading: Loading) -> None:
    before = open_fds()
    # Held up by a FIFO in place of the file? It would be refused. So: killed at once.
    loading.loader.begin()
    assert loading.loader.loading
    os.kill(loading.pid(), signal.SIGKILL)
    # Not read before it ended: what is left is read then.
    why = loading.end(read=False)
    assert isinstance(why, str)
    assert loading.loader.fd == -1
    assert not loading.loader.loading
    assert loading.loader.last_good() is None
    assert open_fds() == before


def test_what_another_helper_did_is_nothing_to_the_loader(loading: Loading) -> None:
    other = loading.helpers.start("oomd.config_load", "--emit", "--config", str(loading.config))
    assert loading.loader.ended(other, collect_one(loading.helpers, other)) is None
    assert loading.loader.ended(12345, 0) is None


def test_without_a_run_directory_nothing_is_remembered_and_nothing_fails(
    loading: Loading,
) -> None:
    loading.kept.parent.rmdir()
    assert isinstance(loading.load("log.top = 3\n"), Settings)
    assert loading.loader.last_good() is None


@pytest.mark.parametrize("kept", [b"", b"policy", b"\xff", b"nonsense = 1\n", b"log.top = 3\n"])
def test_what_is_remembered_is_checked_as_a_configuration_is(loading: Loading, kept: bytes) -> None:
    loading.kept.write_bytes(kept)
    assert loading.loader.last_good() is None


def test_a_remembered_value_that_is_impossible_is_not_taken(loading: Loading) -> None:
    text = to_lines(Settings())
    loading.kept.write_text(text)
    assert loading.loader.last_good() == Settings()
    loading.kept.write_text(text.replace("el7", "el6"))
    assert "el6" in loading.kept.read_text()
    assert loading.loader.last_good() is None
