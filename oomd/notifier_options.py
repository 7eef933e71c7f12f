"""The options of the built-in notifiers: what may stand in each of their tables, and no code.

``[notifiers.balloon]`` and so on: a built-in runs when its table is there. The config check, the
sample file and the man page are made from these rows.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

__all__ = [
    "BUILTIN",
    "COMMAND",
    "EVERY_TABLE",
    "CHAIN_DEADLINE_MAX_MS",
    "DEADLINE_MAX_MS",
    "PRIORITY_MAX",
    "Builtin",
    "Option",
    "OptionValue",
    "builtin_named",
]

OptionValue = bool | int | float | str | tuple[str, ...]

PRIORITY_MAX: Final = 1000
"""Priorities go from minus this to this."""

DEADLINE_MAX_MS: Final = 10_000
"""What one notifier may be given."""

CHAIN_DEADLINE_MAX_MS: Final = 60_000
"""What all of them together may be given."""

COMMAND: Final = "command"
"""``[notifiers.command.NAME]``: the one built-in of which there may be several."""

EVERY_TABLE: Final = ("enabled", "priority", "deadline_ms")
"""The keys that every notifier's table may have, a plugin's too."""

_KINDS: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    tuple: "strings",
}


class Option(NamedTuple):
    """One key of a built-in's table."""

    name: str
    default: OptionValue
    """Its type is the type of the value; a tuple is an array of strings."""
    help: str
    """One sentence for an admin."""
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    off: float | None = None
    """A number outside the range that switches it off."""
    choices: tuple[str, ...] = ()
    required: bool = False
    """The table is no good without it: the default is only an example of its type. An array must
    not be empty then."""

    @property
    def kind(self) -> str:
        """``boolean``, ``integer``, ``number``, ``choice``, ``string`` or ``strings``."""
        return "choice" if self.choices else _KINDS[type(self.default)]


class Builtin(NamedTuple):
    """One built-in notifier."""

    name: str
    help: str
    """One sentence for an admin."""
    options: tuple[Option, ...]
    """Its own; the common ones come first in its table."""

    @property
    def defaults(self) -> dict[str, OptionValue]:
        """The values of a table with nothing in it."""
        return {option.name: option.default for option in self.options}


def _common(priority: int) -> tuple[Option, ...]:
    return (
        Option("enabled", True, "Whether this notifier is registered at all."),
        Option(
            "priority",
            priority,
            "The notifier with the highest priority is called first.",
            -PRIORITY_MAX,
            PRIORITY_MAX,
        ),
        Option(
            "deadline_ms",
            0,
            "How long this notifier may take; 0 means notifiers.deadline_ms.",
            1,
            DEADLINE_MAX_MS,
            "ms",
            off=0,
        ),
    )


def _keep(what: str) -> Option:
    # Above the guard of a stall, 12.5 %, by a distance that a hog needs some time for.
    return Option(
        "keep_percent",
        25.0,
        f"{what} only while this share of MemTotal stays available; keep it above both thresholds.",
        1,
        95,
        "%",
    )


_BALLOON = Builtin(
    "balloon",
    "Holds memory from the start, gives all of it back when memory is short, and takes it again"
    " slowly when the machine has been calm.",
    (
        # virtio_balloon's own priority.
        *_common(80),
        Option("size_mib", 64, "How much memory it holds.", 1, 16_777_216, "MiB", required=True),
        Option("step_mib", 16, "How much it takes at once.", 1, 1024, "MiB"),
        Option(
            "reinflate_after_s",
            60,
            "How long the machine must have been calm before it takes memory again.",
            1,
            86_400,
            "s",
        ),
        _keep("It takes memory"),
    ),
)

_HUGEPAGES = Builtin(
    "hugepages",
    "Takes huge pages that nobody uses or has reserved out of their pools, and puts them back"
    " when the machine has been calm.",
    (
        *_common(70),
        Option(
            "put_back_after_s",
            60,
            "How long the machine must have been calm before the pools grow again.",
            1,
            86_400,
            "s",
        ),
        Option("step_mib", 64, "How much is put back at once.", 1, 65_536, "MiB"),
        _keep("Pages are put back"),
    ),
)

_DRM = Builtin(
    "drm",
    "Has graphics drivers that can (i915, msm) drop the buffers that nobody uses now; needs"
    " debugfs.",
    _common(60),
)

_DROP_CACHES = Builtin(
    "drop_caches",
    "Drops clean caches (vm.drop_caches).",
    (
        *_common(50),
        Option(
            "mode",
            "both",
            "What is dropped: the page cache, the slab (dentries and inodes), or both.",
            choices=("pagecache", "slab", "both"),
        ),
    ),
)

_MEMORY_RECLAIM = Builtin(
    "memory_reclaim",
    "Has the kernel reclaim what is wanted from some control groups (cgroup v2 memory.reclaim,"
    " Linux 5.19 and newer).",
    (
        *_common(40),
        Option(
            "cgroups",
            (),
            'Paths of control groups, such as "/user.slice" or "/system.slice/backup-*.service".',
        ),
        Option(
            "xattr",
            "user.oomd_reclaim",
            'Control groups whose extended attribute of this name is "1" are chosen too; empty'
            ' for none. A name in "trusted." takes CAP_SYS_ADMIN, which the unit does not have.',
        ),
    ),
)

_COMPACT = Builtin(
    "compact",
    "Makes compressed swap denser (zram), and free memory less scattered.",
    (
        *_common(30),
        Option("zram", True, "Compact zram devices: gives back what their pools only waste."),
        Option(
            "memory",
            False,
            "Compact all memory (vm.compact_memory): frees nothing, but makes large pieces.",
        ),
    ),
)

_COMMAND = Builtin(
    COMMAND,
    "Runs a program of yours: the last line of its output says how many bytes it has freed.",
    (
        *_common(0),
        Option(
            "argv",
            ("/usr/local/bin/release-memory",),
            "The program, by its absolute path, and its arguments; no shell is involved.",
            required=True,
        ),
    ),
)

BUILTIN: Final[Mapping[str, Builtin]] = {
    one.name: one
    for one in (
        _BALLOON,
        _HUGEPAGES,
        _DRM,
        _DROP_CACHES,
        _MEMORY_RECLAIM,
        _COMPACT,
        _COMMAND,
    )
}
"""By name, in the order of their default priorities."""


def builtin_named(name: str) -> Builtin | None:
    """The built-in that a notifier's name belongs to: ``balloon``, ``command.NAME``; or None."""
    if name.startswith(f"{COMMAND}.") and len(name) > len(COMMAND) + 1:
        return BUILTIN[COMMAND]
    return BUILTIN.get(name) if name != COMMAND else None
