"""Memory, compressed swap and graphics cards that come and go: seen by udev, in the worker.

What the sentinel does about it is to look at memory again at once: memory that was added changes
the thresholds and ``totalpages``.
"""

import errno
import os
import re
import select
from collections.abc import Callable, Iterable
from typing import Any, Final

from oomd.proc.root import ReadError, Root

__all__ = ["Devices", "parse_swaps", "summary"]

_SWAPS: Final = "proc/swaps"
# There while udevd runs.
_UDEV_CONTROL: Final = "run/udev/control"

# Subsystem and device type: the filter that the kernel applies for us, so that no other event
# wakes the worker up. zram devices are disks like all others.
_WANTED: Final = (("memory", None), ("drm", "drm_minor"), ("block", "disk"))

EVENTS_AT_ONCE: Final = 1000

_BLOCK: Final = re.compile(r"memory(\d+)", re.ASCII)
_CARD: Final = re.compile(r"card\d+", re.ASCII)
_ZRAM: Final = re.compile(r"zram\d+", re.ASCII)
_DONE: Final = {"add": "added", "remove": "removed", "change": "changed"}


def _described(subsystem: str, name: str, action: str) -> str:
    """An event in words; empty: nobody here is interested."""
    # Memory is there when it is online, and not yet when its block is added.
    if _BLOCK.fullmatch(name) and subsystem == "memory" and action in ("online", "offline"):
        return f"memory block {name.removeprefix('memory')} {action}"
    # A "change" of a card is a screen that was plugged in; its render node is the same card.
    if _CARD.fullmatch(name) and subsystem == "drm" and action in ("add", "remove"):
        return f"graphics card {name} {_DONE[action]}"
    # A "change" of a zram device is its size.
    if _ZRAM.fullmatch(name) and subsystem == "block" and action in _DONE:
        return f"{name} {_DONE[action]}"
    return ""


def summary(events: Iterable[tuple[str, str, str]]) -> list[str]:
    """Events (subsystem, name, action) in words; memory blocks in a row are one line."""
    lines: list[str] = []
    first = last = -2
    doing = ""
    for subsystem, name, action in events:
        line = _described(subsystem, name, action)
        if not line:
            continue
        block = _BLOCK.fullmatch(name)
        if block is None:
            doing = ""
        elif doing == action and int(block[1]) == last + 1:
            last += 1
            line = f"memory blocks {first} to {last} {action}"
            lines.pop()
        else:
            first = last = int(block[1])
            doing = action
        lines.append(line)
    return lines


def parse_swaps(data: bytes) -> dict[str, int]:
    """``/proc/swaps``: the size in KiB of each, by its name as the kernel escapes it."""
    swaps = {}
    for line in data.decode("utf-8", "replace").splitlines()[1:]:
        words = line.split()
        # isdecimal() alone also takes the digits of other scripts.
        if len(words) >= 3 and words[2].isascii() and words[2].isdecimal():
            name = "".join(c if c.isprintable() else "?" for c in words[0])
            # More than 19 digits is no count of anything (and int() balks at 4,300).
            swaps[name] = int(words[2][:19])
    return swaps


class Devices:
    """What is there, and what changes. One descriptor to wait for."""

    def __init__(self, root: Root, say: Callable[[str], None]) -> None:
        """``say`` gets one line for whatever cannot be watched here."""
        self._root = root
        self._context: Any = None
        self._monitor: Any = None
        self._lost: list[str] = []
        self._epoll = select.epoll()
        self._swaps = self._read_swaps()
        self._swaps_fd = self._watch_swaps()
        try:
            self._listen()
        except ImportError as error:
            # The package, or the C library that it calls.
            say(
                f"devices are not watched: {error}; added memory is seen with the next look"
                " (install python3-pyudev)"
            )
        except OSError as error:
            say(f"devices are not watched: {error}; added memory is seen with the next look")

    def _listen(self) -> None:
        # Two megabytes that only who watches devices has to pay for.
        import pyudev  # noqa: PLC0415

        self._context = pyudev.Context()
        # udevd's events come through the kernel's filter; the kernel's own do not and would wake
        # us up for every device there is. They are better than none where there is no udevd.
        # When udevd is late because memory is short, the sentinel looks often in any case.
        source = "udev" if self._root.exists(_UDEV_CONTROL) and self._hears_udev() else "kernel"
        monitor = pyudev.Monitor.from_netlink(self._context, source)
        for subsystem, device_type in _WANTED:
            monitor.filter_by(subsystem, device_type)
        monitor.start()
        self._epoll.register(monitor.fileno(), select.EPOLLIN)
        self._monitor = monitor

    def _hears_udev(self) -> bool:
        """udevd speaks in its own network namespace alone (the unit has one of its own, too); the
        kernel in all of them."""
        try:
            return self._root.readlink("proc/self/ns/net") == self._root.readlink("proc/1/ns/net")
        except ReadError:
            return False

    def _watch_swaps(self) -> int:
        """swapon and swapoff are no devices' events: the kernel wakes up who polls this file."""
        fd = -1
        try:
            fd = self._root.open(_SWAPS, os.O_RDONLY)
            self._epoll.register(fd, select.EPOLLPRI)
        except (OSError, ReadError):
            # A kernel without swap; a recorded tree, whose files nobody changes.
            if fd >= 0:
                os.close(fd)
            return -1
        return fd

    def fileno(self) -> int:
        """Readable: something has changed, and :meth:`events` says what."""
        return self._epoll.fileno()

    # --- what is there

    def present(self) -> list[str]:
        """A line for each kind of device that is there now."""
        lines = []
        if self._context is not None:
            lines += self._cards() + self._zrams() + self._memory()
        for name, size_kib in self._read_swaps().items():
            lines.append(f"swap {name}, {size_kib // 1024} MiB")
        return lines

    def _cards(self) -> list[str]:
        lines = []
        for device in self._context.list_devices(subsystem="drm", DEVTYPE="drm_minor"):
            if _CARD.fullmatch(device.sys_name):
                driver = device.parent.driver if device.parent is not None else None
                lines.append(f"graphics card {device.sys_name}, driver {driver or 'unknown'}")
        return lines

    def _zrams(self) -> list[str]:
        lines = []
        for device in self._context.list_devices(subsystem="block", sys_name="zram*"):
            # In sectors of 512 bytes, whatever the device's own are.
            size_mib = device.attributes.asint("size") * 512 >> 20
            lines.append(f"{device.sys_name}, {size_mib} MiB")
        return lines

    def _memory(self) -> list[str]:
        blocks = sum(
            1
            for device in self._context.list_devices(subsystem="memory")
            if _BLOCK.fullmatch(device.sys_name)
        )
        return [f"{blocks} memory blocks"] if blocks else []

    # --- what changes

    def events(self) -> list[str]:
        """What has changed since the last call, in words. Never waits, never raises."""
        # Takes back the readiness of /proc/swaps, which one poll of the file resets.
        self._epoll.poll(0)
        return summary(self._received()) + self._lost + self._swaps_changed()

    def _received(self) -> list[tuple[str, str, str]]:
        events: list[tuple[str, str, str]] = []
        self._lost = []
        # What is left then wakes us up again.
        for _ in range(EVENTS_AT_ONCE if self._monitor is not None else 0):
            try:
                device = self._monitor.poll(0)
            except OSError as error:
                if error.errno == errno.ENOBUFS:
                    # What is still in the queue can be read.
                    self._lost = ["more device events than could be kept"]
                    continue
                self._give_up(error)
                break
            if device is None:
                break
            events.append((device.subsystem or "", device.sys_name, device.action or ""))
        return events

    def _give_up(self, error: OSError) -> None:
        self._lost = [f"device events cannot be read any more: {error}"]
        self._epoll.unregister(self._monitor.fileno())
        self._monitor = None

    def _read_swaps(self) -> dict[str, int]:
        try:
            return parse_swaps(self._root.read(_SWAPS))
        except ReadError:
            return {}

    def _swaps_changed(self) -> list[str]:
        before, self._swaps = self._swaps, self._read_swaps()
        return [
            *(f"swap {name} added" for name in self._swaps if name not in before),
            *(f"swap {name} removed" for name in before if name not in self._swaps),
        ]

    def close(self) -> None:
        """Nothing is watched any more."""
        self._monitor = None
        self._epoll.close()
        if self._swaps_fd >= 0:
            os.close(self._swaps_fd)
            self._swaps_fd = -1
