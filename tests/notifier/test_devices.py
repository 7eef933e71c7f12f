"""Devices: events in words, swap on a tree, and a real monitor that hears of nothing."""

import select
import sys
from pathlib import Path

import pytest

from oomd.notifier.devices import Devices, parse_swaps, summary
from oomd.proc.root import Root, WritableRoot

SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (("memory", "memory40", "online"), "memory block 40 online"),
        (("memory", "memory40", "offline"), "memory block 40 offline"),
        (("memory", "memory40", "add"), ""),
        (("drm", "card0", "add"), "graphics card card0 added"),
        (("drm", "card12", "remove"), "graphics card card12 removed"),
        (("drm", "card0", "change"), ""),
        (("drm", "card0-HDMI-A-1", "add"), ""),
        (("drm", "renderD128", "add"), ""),
        (("block", "zram0", "add"), "zram0 added"),
        (("block", "zram1", "change"), "zram1 changed"),
        (("block", "zram1", "remove"), "zram1 removed"),
        (("block", "zram1", "bind"), ""),
        (("block", "sda", "add"), ""),
        (("usb", "memory1", "online"), ""),
    ],
)
def test_an_event_in_words(event: tuple[str, str, str], words: str) -> None:
    assert summary([event]) == ([words] if words else [])


def test_memory_blocks_in_a_row_are_one_line() -> None:
    online = [("memory", f"memory{n}", "online") for n in (8, 9, 10, 12)]
    offline = [("memory", "memory13", "offline"), ("memory", "memory14", "offline")]
    between = [("block", "zram0", "add"), ("memory", "memory15", "offline")]
    assert summary([*online, *offline, *between]) == [
        "memory blocks 8 to 10 online",
        "memory block 12 online",
        "memory blocks 13 to 14 offline",
        "zram0 added",
        "memory block 15 offline",
    ]


def test_swaps_as_the_kernel_lists_them() -> None:
    text = SWAPS + "/dev/zram0  partition\t307196\t0\t100\n/a\\040b file 8 0 -2\ntorn\n"
    assert parse_swaps(text.encode()) == {"/dev/zram0": 307196, "/a\\040b": 8}
    assert parse_swaps(b"") == {}
    assert parse_swaps(SWAPS.encode() + b"/\x1b[1m\xff partition 4 0 -2\n") == {"/?[1m\ufffd": 4}


def test_swap_that_comes_and_goes_is_seen(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    file = tmp_path / "proc/swaps"
    file.write_text(SWAPS)
    devices = Devices(WritableRoot(str(tmp_path)), lambda line: None)
    assert devices.events() == []
    file.write_text(SWAPS + "/dev/zram0 partition 307196 0 100\n")
    assert devices.events() == ["swap /dev/zram0 added"]
    assert devices.present()[-1] == "swap /dev/zram0, 299 MiB"
    assert devices.events() == []
    file.write_text(SWAPS)
    assert devices.events() == ["swap /dev/zram0 removed"]
    devices.close()


@pytest.mark.live
def test_a_monitor_of_this_machine_is_quiet() -> None:
    said: list[str] = []
    devices = Devices(Root(), said.append)
    assert said == []
    assert select.select([devices.fileno()], [], [], 0)[0] == []
    assert devices.events() == []
    assert any("memory blocks" in line for line in devices.present())
    devices.close()


def test_without_pyudev_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # None makes the import fail as it does where the package is not installed.
    monkeypatch.setitem(sys.modules, "pyudev", None)
    said: list[str] = []
    devices = Devices(Root(str(tmp_path)), said.append)
    assert len(said) == 1
    assert said[0].startswith("devices are not watched: ")
    assert "install python3-pyudev" in said[0]
    assert devices.present() == [] and devices.events() == []
    assert devices.fileno() >= 0
    devices.close()
