"""What the commands have in common: exit statuses, and the error that a user sees."""

import argparse
from enum import IntEnum
from typing import NoReturn

__all__ = ["ExitCode", "Parser", "UsageError"]


class ExitCode(IntEnum):
    """What the exit status means; part of the interface."""

    NOTHING_TO_DO = 0
    WOULD_ACT = 1
    """A threshold is crossed: the daemon would act now."""
    USAGE = 2
    """The command line or the configuration is not usable."""
    CANNOT_DECIDE = 3
    """Too little could be read."""
    INTERNAL = 70
    """A defect of oomd's (EX_SOFTWARE, sysexits.h)."""


class UsageError(Exception):
    """One line for the user: what is wrong, where, and what to do."""


class Parser(argparse.ArgumentParser):
    """Raises UsageError, where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (try {self.prog} --help)")
