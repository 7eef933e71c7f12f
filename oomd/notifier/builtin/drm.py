"""``drm``: graphics drivers that can drop the buffers which nobody uses now."""

from typing import Final, NamedTuple

from oomd.notifier import Answer, OomEvent
from oomd.notifier.builtin.releaser import Quiet, mem_free_bytes
from oomd.proc.root import Gone, ReadError, Refused, WritableRoot

__all__ = ["Card", "Drm", "cards"]

_CLASS: Final = "sys/class/drm"
_DEBUGFS: Final = "sys/kernel/debug"

# drivers/gpu/drm/i915/i915_debugfs.c: DROP_UNBOUND, DROP_BOUND, DROP_RETIRE, DROP_FREED. What
# i915's own OOM notifier shrinks, after finished requests are retired; then freed objects are
# really freed. Not DROP_ACTIVE or DROP_IDLE, which wait for the card without a limit, nor
# DROP_RESET_*, which resets it.
_I915_DROP: Final = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 4
# drivers/gpu/drm/msm/msm_debugfs.c: how many pages the shrinker is to look for.
_MSM_PAGES: Final = 1 << 20

# The file in debugfs of each driver that has one, and what is written there.
_DROP: Final = {
    "i915": ("i915_gem_drop_caches", b"0x%x" % _I915_DROP),
    "msm": ("shrink", b"%d" % _MSM_PAGES),
    "msm_dpu": ("shrink", b"%d" % _MSM_PAGES),
}


class Card(NamedTuple):
    """A graphics card."""

    name: str
    """``card0``."""
    driver: str
    """Empty: it has none that says so."""
    drop: str = ""
    """The file that drops its caches, relative to the root. Empty: it cannot."""
    data: bytes = b""
    """What is written there."""


def cards(root: WritableRoot) -> list[Card]:
    """All there are. Raises ReadError only where the list itself cannot be read."""
    found = []
    try:
        names = root.listdir(_CLASS)
    except Gone:
        return []
    for name in sorted(names):
        minor = name.removeprefix("card")
        # card0-HDMI-A-1 is a socket of card0's.
        if minor == name or not minor.isdecimal():
            continue
        try:
            driver = root.readlink(f"{_CLASS}/{name}/device/driver").rpartition("/")[2]
        except ReadError:
            driver = ""
        file, data = _DROP.get(driver, ("", b""))
        path = f"{_DEBUGFS}/dri/{minor}/{file}"
        if file and root.exists(path):
            found.append(Card(name, driver, path, data))
        else:
            found.append(Card(name, driver))
    return found


class Drm(Quiet):
    """What i915's OOM notifier does in the kernel, asked for from outside."""

    name = "drm"

    def __init__(self, root: WritableRoot) -> None:
        self._root = root

    def start(self) -> None:
        """Raises ReadError: debugfs cannot be used. That there is no card now is no error."""
        # Unmounted, or locked down for secure boot: the mount point is empty or refuses.
        if not self._root.listdir(_DEBUGFS):
            raise Refused(
                _DEBUGFS, "debugfs is not mounted: systemctl start sys-kernel-debug.mount"
            )

    def release(self, event: OomEvent) -> Answer:
        """Claims what MemFree and the per-CPU lists have grown by.

        Raises ReadError: no card could be asked.
        """
        before_bytes = mem_free_bytes(self._root)
        asked, error = 0, None
        # Looked up anew each time: a handful of files, and cards come and go.
        for card in cards(self._root):
            if not card.drop:
                continue
            try:
                self._root.write(card.drop, card.data)
                asked += 1
            except Gone:
                continue
            except ReadError as failed:
                error = failed
        if error is not None and not asked:
            raise error
        return max(0, mem_free_bytes(self._root) - before_bytes) if asked else 0
