"""The settings in force: frozen records and their defaults; no parsing, no I/O.

What each one means to an admin is said in :data:`oomd.settings.SETTINGS`, from where they are
imported; the comments here say why the default is what it is.
"""

from oomd.settings_hooks import HookSettings
from oomd.typed import Literal, NamedTuple

__all__ = [
    "ClientsAllowed",
    "ControlSettings",
    "ExhaustionSettings",
    "KillSettings",
    "LogSettings",
    "NotifierSettings",
    "PanicAction",
    "PanicSettings",
    "PolicyName",
    "RecordSettings",
    "Settings",
    "StallSettings",
    "WatchSettings",
]

PolicyName = Literal["el7", "mainline", "auto"]
PanicAction = Literal["sysrq", "reboot", "defer"]
ClientsAllowed = Literal["off", "root", "all"]


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
    # In pages of 4 KiB, as tests/bench/fill.py measures it. Huge pages can be filled three times as
    # fast, by programs that do nothing else; those are left to the PSI triggers, as a guard that is
    # awake for them would look three times as often.
    fill_rate_mib_per_s: int = 3600
    max_sleep_s: int = 20
    min_sleep_ms: int = 10
    current_max_age_ms: int = 1000
    kept_descriptors: int = 0
    cgroup: str = ""


class KillSettings(NamedTuple):
    """How a victim is dealt with."""

    # The kernel's oom_reaper passes over a victim after a second of tries (10 x 100 ms). A
    # daemon can afford more: killing the next one too early is what cannot be undone.
    victim_timeout_ms: int = 5000
    process_mrelease: bool = True
    futile_kills: int = 3
    futile_hold_off_s: int = 30
    # The kernel knows neither of these two.
    min_size_mib: int = 0
    managed_oom_preference: bool = False
    # As after a kill of the kernel's, which systemd sees by itself.
    mark_units: bool = True


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


class ControlSettings(NamedTuple):
    """Who may ask the running daemon how it is."""

    # The packages make the group; where there is none, only root may.
    group: str = "oomd"


class Settings(NamedTuple):
    """Every setting. ``Settings()`` is what runs without a config file."""

    policy: PolicyName = "el7"
    exhaustion: ExhaustionSettings = ExhaustionSettings()
    stall: StallSettings = StallSettings()
    watch: WatchSettings = WatchSettings()
    kill: KillSettings = KillSettings()
    panic: PanicSettings = PanicSettings()
    notifiers: NotifierSettings = NotifierSettings()
    hooks: HookSettings = HookSettings()
    log: LogSettings = LogSettings()
    records: RecordSettings = RecordSettings()
    control: ControlSettings = ControlSettings()
    rules: str = ""
    """Not an admin's to set: the tables of ``[[rules]]``, as :mod:`oomd.rules.rule` writes them
    down. Empty: none."""

    @property
    def has_rules(self) -> bool:
        """Something is asked for that the kernel has no rule for."""
        return bool(self.rules or self.kill.min_size_mib or self.kill.managed_oom_preference)
