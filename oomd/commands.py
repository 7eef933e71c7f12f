"""The words behind ``oomd``: each is a module with ``parser()`` and ``main(argv)``.

From :data:`COMMANDS` come the dispatch, the list in ``oomd --help``, the options in the man pages
and what the shells complete: a row here is all that a new command takes.
"""

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple, Protocol, cast

__all__ = ["COMMANDS", "Command", "command_named"]


class CommandModule(Protocol):
    """The module of a command."""

    def parser(self) -> argparse.ArgumentParser:
        """Its arguments; ``prog`` is "oomd NAME"."""

    def main(self, argv: Sequence[str]) -> int:
        """The exit status. Raises :class:`oomd.cli_words.UsageError`."""


class Command(NamedTuple):
    """A word behind ``oomd``."""

    name: str
    module: str
    help: str
    """A few words for ``oomd --help``."""

    def load(self) -> CommandModule:
        """Its module. Each has a world of its own, and nothing of it is loaded for the others."""
        return cast(CommandModule, import_module(self.module))


COMMANDS = (
    Command("replay", "oomd.replay.command", "judge the kernel's OOM reports, and kept decisions"),
    Command("status", "oomd.status.command", "what the running daemon is doing"),
    Command("pause", "oomd.status.pause", "have it kill nobody for a while"),
    Command("resume", "oomd.status.resume", "end a pause"),
    Command("metrics", "oomd.metrics.command", "tell Prometheus how the daemon is"),
    Command("history", "oomd.history.command", "what the daemon has decided; draw it"),
    Command("notifiers", "oomd.notifiers_command", "who can be asked for memory; check, try them"),
)


def command_named(name: str) -> Command | None:
    """The command of that name."""
    return next((command for command in COMMANDS if command.name == name), None)
