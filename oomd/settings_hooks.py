"""Who is told when memory gets short, and when somebody was killed: the settings ``[hooks]``."""

from oomd.setting import Setting
from oomd.typed import NamedTuple

__all__ = ["HOOK_SETTINGS", "HookSettings"]


class HookSettings(NamedTuple):
    """The programs, and the softer threshold."""

    warn: str = ""
    killed: str = ""
    wall: bool = False
    deadline_ms: int = 5000
    # Twice what exhaustion asks for: time enough to save one's work.
    available_percent: float = 10.0
    available_max_mib: int = 2048
    # Where there is swap, MemAvailable alone is low for hours without anything being wrong.
    swap_free_percent: float = 25.0
    again_s: int = 300

    @property
    def warns(self) -> bool:
        """Somebody is to be told when memory gets short."""
        return bool(self.warn) or self.wall

    @property
    def tells_kills(self) -> bool:
        """Somebody is to be told of a kill."""
        return bool(self.killed) or self.wall


_DEFAULTS = HookSettings()


def _setting(name: str, help_: str, *bounds: float | str) -> Setting:
    default = getattr(_DEFAULTS, name)
    return Setting(f"hooks.{name}", default, help_, *bounds)  # type: ignore[arg-type]


HOOK_SETTINGS: tuple[Setting, ...] = (
    _setting(
        "warn",
        "A program of root's to start when memory gets short, before anybody is killed, such as"
        ' "/usr/local/sbin/oomd-warn"; the facts are in its environment ("": none).',
    ),
    _setting("killed", 'A program of root\'s to start after each kill, likewise ("": none).'),
    _setting(
        "wall", "Tell everybody who is logged in to a terminal, with wall, on both occasions."
    ),
    _setting(
        "deadline_ms",
        "How long either program may take; then it is killed, with all that it has started.",
        100,
        600000,
        "ms",
    ),
    _setting(
        "available_percent",
        "Memory is getting short when MemAvailable is at or below this share of MemTotal and at or"
        " below available_max_mib; above that of [exhaustion].",
        0.2,
        100,
        "%",
    ),
    _setting(
        "available_max_mib",
        "Memory never counts as getting short with more MemAvailable than this.",
        32,
        16777216,
        "MiB",
    ),
    _setting(
        "swap_free_percent",
        "Where there is swap, free swap must also be at or below this share of it.",
        0.1,
        100,
        "%",
    ),
    _setting(
        "again_s",
        "At least this long lies between two warnings; in between there has to have been a quarter"
        " more memory than it takes to warn.",
        1,
        86400,
        "s",
    ),
)
