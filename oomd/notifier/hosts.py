"""The plugins' processes: one for each plugin, so that one fault costs one plugin."""

import os
import signal
from collections.abc import Iterator

from oomd.helpers import ended
from oomd.log import INFO
from oomd.notifier.host_process import Host, how_it_ended
from oomd.notifier.workshop import Workshop

__all__ = ["Hosts"]


def _kill(pid: int) -> None:
    """SIGKILL for a child that nobody has collected yet, and for what it has started."""
    for kill, number in ((os.killpg, pid), (os.kill, pid)):
        try:
            kill(number, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            # It has left its group, or it is a zombie already.
            pass


class Hosts:
    """All of them."""

    def __init__(self, shop: Workshop, plan_fd: int) -> None:
        """``plan_fd``: the plan, which they read for themselves."""
        self.shop = shop
        self.plan_fd = plan_fd
        self.storm = False
        self._seen_off: dict[int, str] = {}
        self._hosts = tuple(Host(self, n, entry) for n, entry in enumerate(shop.plan.plugins))

    def start(self) -> None:
        """Start them all."""
        for host in self._hosts:
            host.start()

    @property
    def introduced(self) -> bool:
        """Each has said its name, or has failed to."""
        return all(host.introduced for host in self._hosts)

    def unnamed(self) -> Iterator[Host]:
        """Those that never came as far as to register."""
        return (host for host in self._hosts if not host.name)

    def begin_storm(self) -> None:
        """A chain is about to run."""
        self.storm = True
        for host in self._hosts:
            host.storm()

    def end_storm(self) -> None:
        """It is calm again."""
        self.storm = False
        for host in self._hosts:
            host.calm()

    def next_due(self) -> float | None:
        """``time.monotonic()`` at which :meth:`tick` has something to do; None: never."""
        return min((host.due for host in self._hosts if host.due is not None), default=None)

    def tick(self, now: float) -> None:
        """What is due by then."""
        for host in self._hosts:
            host.tick(now)

    def see_off(self, pid: int, label: str) -> None:
        """End a child and all of its process group. It is collected when it has gone."""
        _kill(pid)
        self._seen_off[pid] = label
        # No signal will tell of one that was dead before.
        self._collect_one(pid)

    def _collect_one(self, pid: int) -> None:
        exit_code = ended(pid)
        if exit_code is None:
            return
        label = self._seen_off.pop(pid)
        if label and exit_code not in (0, -signal.SIGKILL):
            self.shop.say(INFO, f"{label}: its process {how_it_ended(exit_code)}")

    def collect(self) -> None:
        """A child has ended, or may have. Never waits."""
        for pid in tuple(self._seen_off):
            self._collect_one(pid)
        for host in self._hosts:
            host.check()

    def close(self) -> None:
        """End them all, without a wait."""
        for host in self._hosts:
            host.end()
