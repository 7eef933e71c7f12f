"""The settings in force: frozen records, their defaults and what they mean; no parsing, no I/O.

:data:`SETTINGS` says what each one means to an admin; the comments in the records say why the
default is what it is.
"""

from typing import Any, Literal, NamedTuple

__all__ = [
    "SETTINGS",
    "ClientsAllowed",
    "ExhaustionSettings",
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

PolicyName = Literal["el7", "mainline", "auto"]
PanicAction = Literal["sysrq", "reboot", "defer"]
ClientsAllowed = Literal["off", "root", "all"]
SettingValue = bool | int | float | str


class ExhaustionSettings(NamedTuple):
    """When memory counts as used up."""

    # A share alone would act on a 1 TB server with 50 GB left, so the cap bounds it.
    available_percent: float = 5.0
    available_max_mib: int = 1024
    swap_free_percent: float = 10.0


class StallSettings(NamedTuple):
    """When waiting for memory counts as too much of it."""

    full_percent: float = 20.0
    # The shortest window that the kernel grants without CAP_SYS_RESOURCE.
    window_ms: int = 2000
    # The guard: pressure alone has made other killers act with most of the memory free.
    available_percent: float = 12.5
    available_max_mib: int = 4096


class WatchSettings(NamedTuple):
    """When the daemon wakes up to look."""

    tripwire_ms: int = 70
    # Measured: one thread that touches fresh pages gets 3.5 GiB/s, rounded up here.
    fill_rate_mib_per_s: int = 3600
    max_sleep_s: int = 20
    min_sleep_ms: int = 10
    current_max_age_ms: int = 1000
    cgroup: str = ""


class KillSettings(NamedTuple):
    """How a victim is dealt with."""

    # The kernel's oom_reaper passes over a victim after a second of tries (10 x 100 ms). A
    # daemon can afford more: killing the next one too early is what cannot be undone.
    victim_timeout_ms: int = 5000
    process_mrelease: bool = True
    futile_kills: int = 3
    futile_hold_off_s: int = 30


class PanicSettings(NamedTuple):
    """What stands for the kernel's panic()."""

    # An admin who sets vm.panic_on_oom has asked for a panic ...
    panic_on_oom: PanicAction = "sysrq"
    # ... but nobody has asked for this one, and oomd is here before the kernel would be.
    none_killable: PanicAction = "defer"


class NotifierSettings(NamedTuple):
    """Who is asked to free memory before anyone dies, and how long they are waited for."""

    deadline_ms: int = 200
    chain_deadline_ms: int = 1000
    # Whoever registers can use up the deadline of the chain each time.
    clients: ClientsAllowed = "root"
    user_priority_max: int = 0
    max_clients: int = 32
    plugin_memory_mib: int = 64
    watch_devices: bool = False
    plan: str = ""
    """Not an admin's to set: what the worker is to run, as one line of JSON made from the tables
    below ``[notifiers]`` and the plugins that were found. Empty: nothing."""


class LogSettings(NamedTuple):
    """What is said, and where."""

    kmsg: bool = True
    top: int = 10


class RecordSettings(NamedTuple):
    """How many decisions are kept as files."""

    kept: int = 500
    max_mib: int = 16


class Settings(NamedTuple):
    """Every setting. ``Settings()`` is what runs without a config file."""

    policy: PolicyName = "el7"
    exhaustion: ExhaustionSettings = ExhaustionSettings()
    stall: StallSettings = StallSettings()
    watch: WatchSettings = WatchSettings()
    kill: KillSettings = KillSettings()
    panic: PanicSettings = PanicSettings()
    notifiers: NotifierSettings = NotifierSettings()
    log: LogSettings = LogSettings()
    records: RecordSettings = RecordSettings()


_KINDS: dict[type, str] = {bool: "boolean", int: "integer", float: "number", str: "string"}


class Setting(NamedTuple):
    """One setting: the config check, the sample file and the man page are made from this."""

    key: str
    """Dotted: ``table.name``."""
    default: SettingValue
    help: str
    """One sentence for an admin."""
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    off: float | None = None
    """A number outside the range that switches it off."""
    choices: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``boolean``, ``integer``, ``number``, ``choice`` or ``string``."""
        if self.choices:
            return "choice"
        return _KINDS[type(self.default)]


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
        " MemAvailable alone.",
    ),
    _number(
        "stall.full_percent",
        (1, 100, "%"),
        "Act when all tasks at once have waited for memory (PSI full) for this share of the"
        " window; 0 switches it off.",
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
        "How fast one CPU can fill memory (measured: 3.5 GiB/s); the daemon sleeps no longer than"
        " all CPUs need to use up what is left.",
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
)
