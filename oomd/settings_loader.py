"""Has a helper read the configuration, at start and on SIGHUP. The last good one is kept."""

import os

from oomd.config import ConfigError, from_lines, to_lines
from oomd.helpers import HELPER_KIB, Helpers
from oomd.proc.meminfo import read_meminfo
from oomd.proc.root import ReadError, WritableRoot
from oomd.settings import Settings

__all__ = ["SettingsLoader"]

# What a restart guards with when the files are broken. /run: gone with the next boot.
LAST_GOOD = "run/oomd/settings"
HELPER = "oomd.config_load"
# Where there is less, guarding goes first.
ROOM_KIB = 2 * HELPER_KIB


class SettingsLoader:
    """One load at a time."""

    def __init__(
        self,
        helpers: Helpers,
        root: WritableRoot,
        config_file: str | None,
        last_good: str = LAST_GOOD,
    ) -> None:
        """``last_good`` is where they are kept, below the root; empty: they are not."""
        self._last_good = last_good
        self._helpers = helpers
        self._root = root
        self._args = ("--emit", *(("--config", config_file) if config_file else ()))
        self._helper_pid = 0
        self._text = bytearray()
        self.fd = -1
        """For poll(): readable while a helper has something to say. -1: none is loading."""

    @property
    def loading(self) -> bool:
        """A helper is at work."""
        return bool(self._helper_pid)

    @property
    def affordable(self) -> bool:
        """There is memory for a helper. What cannot be read does not stand in its way."""
        try:
            return read_meminfo(self._root).mem_available_kib >= ROOM_KIB
        except ReadError:
            return True

    def begin(self, nice: int = 19) -> None:
        """Start the helper. Its own errors go to our stderr, each in one line. Raises OSError."""
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        try:
            self._helper_pid = self._helpers.start(HELPER, *self._args, stdout=write_fd, nice=nice)
        except OSError:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
        os.set_blocking(read_fd, False)
        self._text.clear()
        self.fd = read_fd

    def read(self) -> bool:
        """Take what the helper has written. True: that was all of it. Never waits."""
        try:
            while chunk := os.read(self.fd, 65536):
                self._text += chunk
        except BlockingIOError:
            return False
        os.close(self.fd)
        self.fd = -1
        return True

    def ended(self, pid: int, exit_code: int) -> Settings | str | None:
        """A helper has ended: the settings, why there are none, or None if it was not ours."""
        if pid != self._helper_pid:
            return None
        self._helper_pid = 0
        if self.fd >= 0:
            self.read()
        if exit_code != 0:
            return "the configuration is not usable (the line above says where)"
        try:
            settings = from_lines(self._text.decode())
        except (ConfigError, UnicodeDecodeError) as error:
            return f"the configuration helper gave nonsense: {error}"
        self._remember(settings)
        return settings

    def _remember(self, settings: Settings) -> None:
        if not self._last_good:
            return
        try:
            self._root.replace(self._last_good, to_lines(settings).encode())
        except ReadError:
            # A full /run is no reason not to guard.
            pass

    def last_good(self) -> Settings | None:
        """The settings that the last daemon of this boot guarded with."""
        if not self._last_good:
            return None
        try:
            return from_lines(self._root.read(self._last_good).decode())
        except (ReadError, ConfigError, UnicodeDecodeError):
            return None
