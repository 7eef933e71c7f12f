"""The plugin's own tests: in oomd's real isolation, without root and without a daemon."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomd.testing import Harness, PluginRefused

PLUGIN = Path(__file__).with_name("oomd_tmpfs_sweep.py")
MIB = 1 << 20


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in a tmpfs with four files of 4 MiB, ``0`` the youngest, a minute apart."""
    folder = Path(f"/dev/shm/oomd-tmpfs-sweep-{os.getpid()}")
    folder.mkdir()
    try:
        now = time.time()
        for age in range(4):
            file = folder / str(age)
            file.write_bytes(b"x" * (4 * MIB))
            os.utime(file, (now - 60 * age, now - 60 * age))
        yield folder
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def left(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_deletes_the_oldest_until_it_is_enough(folder: Path) -> None:
    with Harness(PLUGIN, options={"folders": [str(folder), "/dev/shm/none"]}) as oomd:
        released = oomd.release(wanted_bytes=6 * MIB)
        assert (released.fault, released.claimed_bytes) == ("", 8 * MIB)
        assert released.in_time
        assert left(folder) == ["0", "1"]
        assert oomd.release(wanted_bytes=1 << 40).claimed_bytes == 8 * MIB
        assert oomd.release(wanted_bytes=1 << 40).claimed_bytes == 0


@pytest.mark.parametrize(
    ("options", "stays"),
    [
        ({"keep_mib": 9}, ["0", "1", "2"]),
        ({"keep_mib": 99}, ["0", "1", "2", "3"]),
        ({"min_age_s": 90.0}, ["0", "1"]),
        ({"pattern": "[13]"}, ["0", "2"]),
    ],
)
def test_what_stays(folder: Path, options: dict[str, object], stays: list[str]) -> None:
    with Harness(PLUGIN, options={"folders": [str(folder)], **options}) as oomd:
        oomd.release(wanted_bytes=1 << 40)
    assert left(folder) == stays


def test_the_last_word_ends_the_chain(folder: Path) -> None:
    with Harness(PLUGIN, options={"folders": [str(folder)], "last_word": True}) as oomd:
        assert oomd.release(MIB).verdict == "claims 4.0 MiB, and ends the chain"
        assert oomd.release(1 << 40).verdict == "claims 12.0 MiB"


def test_a_wrong_option_is_named() -> None:
    options = {"folders": ["/dev/shm/none"], "keep": 1}
    with pytest.raises(PluginRefused, match="option keep is unknown, did you mean keep_mib"):
        with Harness(PLUGIN, options=options):
            pass
