"""The settings in force, and what they mean to an admin: :data:`SETTINGS`. No parsing, no I/O."""

from oomd.setting import Setting, SettingValue
from oomd.setting_records import (
    ClientsAllowed,
    ControlSettings,
    ExhaustionSettings,
    KillSettings,
    LogSettings,
    NotifierSettings,
    PanicAction,
    PanicSettings,
    PolicyName,
    RecordSettings,
    Settings,
    StallSettings,
    WatchSettings,
)
from oomd.settings_hooks import HOOK_SETTINGS, HookSettings
from oomd.typed import Any

__all__ = [
    "SETTINGS",
    "ClientsAllowed",
    "ControlSettings",
    "ExhaustionSettings",
    "HookSettings",
    "KillSettings",
    "LogSettings",
    "NotifierSettings",
    "PanicAction",
    "PanicSettings",
    "PolicyName",
    "RecordSettings",
    "Setting",
    "SettingValue",
    "Settings",
    "StallSettings",
    "WatchSettings",
    "value_of",
]


def value_of(settings: Settings, key: str) -> SettingValue:
    """The value of a dotted key."""
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value  # type: ignore[no-any-return]


_DEFAULTS = Settings()


def _flag(key: str, help_: str) -> Setting:
    return Setting(key, value_of(_DEFAULTS, key), help_)


def _choice(key: str, choices: tuple[str, ...], help_: str) -> Setting:
    return Setting(key, value_of(_DEFAULTS, key), help_, choices=choices)


def _number(
    key: str, span: tuple[float, float, str], help_: str, off: float | None = None
) -> Setting:
    return Setting(key, value_of(_DEFAULTS, key), help_, *span, off)


_ACTIONS = ("sysrq", "reboot", "defer")

SETTINGS: tuple[Setting, ...] = (
    _choice(
        "policy",
        ("el7", "mainline", "auto"),
        "Whose rules choose the victim: RHEL 7's kernel, a current kernel's, or (auto) those of"
        " the kernel that is running.",
    ),
    _number(
        "exhaustion.available_percent",
        (0.1, 50, "%"),
        "Memory counts as used up when MemAvailable is at or below this share of MemTotal and at"
        " or below available_max_mib.",
    ),
    _number(
        "exhaustion.available_max_mib",
        (16, 16777216, "MiB"),
        "The limit for MemAvailable is never higher than this, so that a large machine does not"
        " act with much memory left.",
    ),
    _number(
        "exhaustion.swap_free_percent",
        (0.1, 100, "%"),
        "Where there is swap, free swap must also be at or below this share of it; 100 acts on"
        " MemAvailable alone, and zram whose contents do not compress is no swap.",
    ),
    _number(
        "stall.full_percent",
        (1, 100, "%"),
        "Act when all tasks at once have waited for memory (PSI full) for this share of the"
        " window, or for half of it in 10 s; while swap is left, only for all of it in 10 s, and"
        " not while swap fills fast; 0 switches it off.",
        off=0,
    ),
    _number(
        "stall.window_ms",
        (500, 10000, "ms"),
        "The window over which stalls are counted; without CAP_SYS_RESOURCE it is rounded up to"
        " a multiple of 2 s.",
    ),
    _number(
        "stall.available_percent",
        (0.1, 100, "%"),
        "A stall counts only while MemAvailable is at or below this share of MemTotal and at or"
        " below available_max_mib.",
    ),
    _number(
        "stall.available_max_mib",
        (16, 16777216, "MiB"),
        "A stall never counts with more MemAvailable than this, whatever the share says.",
    ),
    _number(
        "watch.tripwire_ms",
        (1, 10000, "ms"),
        "The daemon wakes up to look when any task has waited for memory (PSI some) this long"
        " within half a second.",
    ),
    _number(
        "watch.fill_rate_mib_per_s",
        (100, 1000000, "MiB/s"),
        "How fast one CPU can fill memory, in pages of 4 KiB (12000 covers huge pages, too, at"
        " three times the wake-ups); the daemon sleeps no longer than all CPUs need to use up what"
        " is left.",
    ),
    _number(
        "watch.max_sleep_s",
        (1, 60, "s"),
        "The daemon looks at memory at least this often, however much there is.",
    ),
    _number(
        "watch.min_sleep_ms",
        (1, 1000, "ms"),
        "Between two looks at memory by the clock lies at least this, however little there is.",
    ),
    _number(
        "watch.current_max_age_ms",
        (10, 60000, "ms"),
        "A task that was seen allocating counts as the one that ran out of memory for this long.",
    ),
    _number(
        "watch.kept_descriptors",
        (0, 30000, ""),
        "Of so many processes the file of their score stays open, which makes a look at all of them"
        " three times as fast and costs 4.4 KiB of the kernel's memory each; the unit's"
        " LimitNOFILE= has to be well above it.",
    ),
    Setting(
        "watch.cgroup",
        _DEFAULTS.watch.cgroup,
        'Watch and judge this memory cgroup, such as "/system.slice/db.service", in place of'
        ' the whole machine ("").',
    ),
    _number(
        "kill.victim_timeout_ms",
        (100, 600000, "ms"),
        "A victim that has not gone after this time is passed over, and the next may be killed.",
    ),
    _flag(
        "kill.process_mrelease",
        "Take a victim's memory back at once with process_mrelease(), where the kernel has it.",
    ),
    _number(
        "kill.futile_kills",
        (1, 100, ""),
        "After this many kills in a row that gave no memory back oomd stops killing, says what"
        " holds the memory, and leaves it to the kernel.",
    ),
    _number(
        "kill.futile_hold_off_s",
        (1, 86400, "s"),
        "How long oomd kills nobody after futile_kills.",
    ),
    _number(
        "kill.min_size_mib",
        (1, 1048576, "MiB"),
        "A process that has less than this (rss, page tables and swap) is not worth choosing;"
        " 0, as in the kernel, chooses the worst however small it is.",
        off=0,
    ),
    _flag(
        "kill.managed_oom_preference",
        "Honour what a unit has set for systemd-oomd with ManagedOOMPreference=: a process of one"
        " that says omit is never chosen, of one that says avoid only if nobody else is left.",
    ),
    _flag(
        "kill.mark_units",
        "Tell systemd, as systemd-oomd does, whose process was killed, so that the unit's result is"
        " oom-kill and its OOMPolicy= is followed.",
    ),
    _choice(
        "panic.panic_on_oom",
        _ACTIONS,
        "When vm.panic_on_oom asks for a panic: crash through sysrq (kdump sees it), reboot, or"
        " defer to the kernel and kill nobody.",
    ),
    _choice(
        "panic.none_killable",
        _ACTIONS,
        "When there is nobody to kill, where the kernel would panic: the same three.",
    ),
    _number(
        "notifiers.deadline_ms",
        (1, 10000, "ms"),
        "How long one notifier may take to free memory, if it has no deadline_ms of its own;"
        " then it is left behind.",
    ),
    _number(
        "notifiers.chain_deadline_ms",
        (1, 60000, "ms"),
        "How long all notifiers together may take before a victim is chosen without the rest of"
        " them; sooner, if half of what was available at the chain's start is gone.",
    ),
    _choice(
        "notifiers.clients",
        ("off", "root", "all"),
        "Whose programs may register over the socket notify.sock and be asked to free memory:"
        " nobody's, root's, or every user's.",
    ),
    _number(
        "notifiers.user_priority_max",
        (-1000, 1000, ""),
        "The highest priority that a program of another user than root gets, whatever it asks for.",
    ),
    _number(
        "notifiers.max_clients",
        (1, 1000, ""),
        "How many programs may be connected to the socket at once.",
    ),
    _number(
        "notifiers.plugin_memory_mib",
        (16, 65536, "MiB"),
        "How much memory each plugin's process may allocate (RLIMIT_DATA).",
    ),
    _flag(
        "notifiers.watch_devices",
        "See memory, zram and graphics cards being added or removed at once, at the price of a"
        " small process; built-in notifiers that need it see it in any case.",
    ),
    *HOOK_SETTINGS,
    _flag(
        "log.kmsg",
        "Write the lines of a kill to the kernel log too, as the kernel does; a panic's words go"
        " there in any case.",
    ),
    _number(
        "log.top",
        (0, 100, ""),
        "How many of the highest scored tasks the record of a kill lists.",
    ),
    _number(
        "records.kept", (1, 10000, ""), "How many decisions are kept as files; 0 keeps none.", off=0
    ),
    _number("records.max_mib", (1, 1024, "MiB"), "What they may take; the oldest go first."),
    Setting(
        "control.group",
        _DEFAULTS.control.group,
        "The members of this group may ask for `oomd status` and `oomd metrics`, too; where there"
        ' is no such group, or for "", only root may; only root may pause it.',
    ),
)
