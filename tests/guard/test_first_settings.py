"""What a daemon starts with: the files, or, where there is no memory for that, what is at hand."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomd.config import to_lines
from oomd.first_settings import first_settings
from oomd.helpers import Helpers
from oomd.mm_types import MemInfo
from oomd.proc.root import WritableRoot
from oomd.settings import Settings
from oomd.settings_loader import ROOM_KIB, SettingsLoader
from oomd.signals import Signals
from tests.proc.formats import meminfo_text


class Start:
    """A daemon's start on a machine with so much memory."""

    def __init__(self, path: Path, available_kib: int) -> None:
        config = path / "oomd.toml"
        config.write_text("policy = 'mainline'\n")
        (path / "proc").mkdir()
        meminfo = MemInfo(16 << 20, mem_free_kib=available_kib, mem_available_kib=available_kib)
        (path / "proc/meminfo").write_text(meminfo_text(meminfo))
        self.kept = path / "run/oomd/settings"
        self.kept.parent.mkdir(parents=True)
        self.helpers = Helpers()
        self.loader = SettingsLoader(self.helpers, WritableRoot(str(path)), str(config))
        self.signals = Signals()
        self.said: list[str] = []

    def settings(self) -> Settings:
        return first_settings(
            self.loader, self.helpers, self.signals, lambda _, text: self.said.append(text)
        )


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    numbers = (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
    before = [(number, signal.getsignal(number)) for number in numbers]
    yield
    signal.set_wakeup_fd(-1)
    for number, handler in before:
        signal.signal(number, handler)


def test_with_room_the_files_are_read(tmp_path: Path) -> None:
    start = Start(tmp_path, ROOM_KIB)
    assert start.settings().policy == "mainline"
    assert not start.signals.hung_up
    assert start.said == []


@pytest.mark.parametrize("kept", [False, True])
def test_without_room_it_guards_at_once_and_reads_them_later(tmp_path: Path, kept: bool) -> None:
    start = Start(tmp_path, ROOM_KIB - 1)
    if kept:
        start.kept.write_text(to_lines(Settings(policy="mainline")))
    settings = start.settings()
    assert settings.policy == ("mainline" if kept else Settings().policy)
    assert start.signals.hung_up
    assert not start.loader.loading
    assert "too little memory to read the configuration" in start.said[0]
    assert start.said[1].endswith("last in force" if kept else "the defaults")


def test_memory_that_cannot_be_read_stands_in_nobodys_way(tmp_path: Path) -> None:
    start = Start(tmp_path, ROOM_KIB)
    (tmp_path / "proc/meminfo").unlink()
    assert start.settings().policy == "mainline"
