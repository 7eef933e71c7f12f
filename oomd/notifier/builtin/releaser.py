"""What the worker asks of a built-in releaser."""

from typing import Protocol

from oomd.notifier import Answer, OomEvent
from oomd.notifier.gauge import read_memory
from oomd.proc.root import Root

__all__ = ["Quiet", "Releaser", "mem_free_bytes"]


class Releaser(Protocol):
    """Gives memory back.

    It has a thread of its own, in which ``release``, ``calm`` and ``close`` run one after the
    other; ``start`` and ``storm`` run in the worker's loop. Only ``release`` may take long: what
    goes on in the thread is in its way.
    """

    name: str
    """As it is configured: ``balloon``, ``command.NAME``."""

    def start(self) -> None:
        """Called once, before anything else. Raises OSError or ReadError: it cannot work here."""

    def release(self, event: OomEvent) -> Answer:
        """Give back what there is, by ``event.deadline``; may overrun it. How many bytes it was.

        Raises OSError or ReadError.
        """

    def calm(self, now: float) -> float | None:
        """It is calm at ``now`` (``time.monotonic()``): the time for a small step.

        Called for the first time right after the start. Seconds until it wants to be called
        again; None: not before the next storm is over. Raises nothing.
        """

    def storm(self) -> None:
        """The chain is being called: give up a step of ``calm`` that is under way."""

    def close(self) -> None:
        """The worker ends: leave the machine as it was found, as far as that can be done now."""


class Quiet:
    """A releaser that has nothing to do but to release."""

    def start(self) -> None:
        """Nothing to prepare."""

    def calm(self, now: float) -> float | None:
        """Nothing to do between storms."""
        return None

    def storm(self) -> None:
        """Nothing to give up."""

    def close(self) -> None:
        """Nothing to put right."""


def mem_free_bytes(root: Root) -> int:
    """MemFree and the per-CPU lists, in bytes: what a claim is measured by. Raises ReadError."""
    return read_memory(root).mem_free_kib * 1024
