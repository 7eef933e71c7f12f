"""The settings that a daemon starts with: nothing is guarded until they are there."""

import select
import time

from oomd.clock import monotonic_ms
from oomd.helpers import Helpers
from oomd.log import ERR, WARNING
from oomd.settings import Settings
from oomd.settings_loader import SettingsLoader
from oomd.signals import Signals
from oomd.typed import Callable

__all__ = ["first_settings"]

# How long they are waited for. A late answer is a reload.
FIRST_SETTINGS_MS = 5000


def _loaded(
    loader: SettingsLoader, helpers: Helpers, signals: Signals, say: Callable[[int, str], None]
) -> Settings | None:
    end_ms = monotonic_ms() + FIRST_SETTINGS_MS
    while loader.loading and not signals.stop:
        left_ms = end_ms - monotonic_ms()
        if left_ms <= 0:
            return None
        if loader.fd >= 0:
            ready, _, _ = select.select([loader.fd, signals.fd], [], [], left_ms / 1000)
            if signals.fd in ready:
                signals.drain()
            loader.read()
        else:
            time.sleep(0.002)
        for pid, exit_code in helpers.collect():
            loaded = loader.ended(pid, exit_code)
            if isinstance(loaded, Settings):
                return loaded
            if loaded:
                say(ERR, loaded)
    return None


def _kept(loader: SettingsLoader, say: Callable[[int, str], None]) -> Settings:
    kept = loader.last_good()
    if kept is not None:
        say(WARNING, "guarding with the settings that were last in force")
        return kept
    say(WARNING, "guarding with the defaults")
    return Settings()


def first_settings(
    loader: SettingsLoader, helpers: Helpers, signals: Signals, say: Callable[[int, str], None]
) -> Settings:
    """What the files say; else what the last daemon had; else the defaults."""
    if not loader.affordable:
        # Reading them would take the last of it, and have the kernel kill before we can.
        say(WARNING, "too little memory to read the configuration in: it is read when there is")
        signals.hung_up = True
        return _kept(loader, say)
    try:
        # An ordinary process: on a busy machine a nice one takes seconds, and all wait for it.
        loader.begin(nice=0)
    except OSError as error:
        say(ERR, f"cannot start the configuration helper: {error.strerror}")
        return _kept(loader, say)
    return _loaded(loader, helpers, signals, say) or _kept(loader, say)
