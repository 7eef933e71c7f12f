"""Which signals have come. A handler only notes it; the loop is woken by a descriptor."""

import os

from oomd.lean import signal

__all__ = ["Signals"]


class Signals:
    """Takes the daemon's signals from its making on."""

    def __init__(self) -> None:
        self.stop = False
        """SIGTERM or SIGINT: the daemon is to end."""
        self.hung_up = False
        """SIGHUP: the settings are to be read again."""
        self.asked = False
        """SIGUSR1: somebody is to be chosen at once, as by sysrq-f."""
        self.fd, write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        """Readable once one has come."""
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        for signum in (
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGCHLD,
        ):
            signal.signal(signum, self._on_signal)

    def _on_signal(self, signum: int, frame: object) -> None:
        if signum == signal.SIGHUP:
            self.hung_up = True
        elif signum == signal.SIGUSR1:
            self.asked = True
        elif signum != signal.SIGCHLD:
            self.stop = True

    def drain(self) -> None:
        """Take what is in the descriptor, which is readable."""
        os.read(self.fd, 4096)
