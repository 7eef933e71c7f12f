"""The check of ``[hooks]`` once all files are read. Not imported by the sentinel."""

from collections.abc import Mapping

from oomd.config import DEFAULT, ConfigError, Origin, shown
from oomd.settings import Settings

__all__ = ["check_hooks"]

_EXAMPLE = 'the absolute path of a program, such as "/usr/local/sbin/oomd-warn", or ""'


def check_hooks(settings: Settings, origins: Mapping[str, Origin]) -> None:
    """ConfigError for a program that is no path, or a threshold that would warn too late."""
    hooks, out = settings.hooks, settings.exhaustion
    for key, program in (("hooks.warn", hooks.warn), ("hooks.killed", hooks.killed)):
        # On one line: it goes to the daemon on one.
        if program and not (program.startswith("/") and program.isprintable()):
            problem = f"{shown(program)} is not an absolute path"
            raise ConfigError(*origins.get(key, DEFAULT), key, problem, _EXAMPLE)
    if not hooks.warns:
        return
    for name, soft, hard in (
        ("available_percent", hooks.available_percent, out.available_percent),
        ("available_max_mib", hooks.available_max_mib, out.available_max_mib),
    ):
        key = f"hooks.{name}"
        if soft <= hard:
            problem = f"would warn at {soft:g}, and oomd kills at {hard:g} already"
            origin = origins.get(key) or origins.get(f"exhaustion.{name}", DEFAULT)
            raise ConfigError(*origin, key, problem, f"more than exhaustion.{name}")
