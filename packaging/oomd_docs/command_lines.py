"""Every command line of oomd's, and its arguments, as argparse has them."""

import argparse

from oomd import cli
from oomd.commands import COMMANDS

__all__ = ["help_of", "meaning_of", "options_of", "parser_of", "subcommands", "with_commands"]


# argparse keeps what it knows in attributes whose names begin with `_`, and has no other way to it;
# shtab and sphinx-argparse read them too.


def subcommands(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The words that may follow, and the parsers of what follows these."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """Its arguments, as --help has them; a subcommand is none, and --help goes without saying."""
    return [
        action
        for group in parser._action_groups
        for action in group._group_actions
        if action.help != argparse.SUPPRESS
        and not isinstance(action, argparse._SubParsersAction | argparse._HelpAction)
    ]


def help_of(parser: argparse.ArgumentParser, name: str) -> str:
    """What a parser says of one of its subcommands."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                if choice.dest == name:
                    return choice.help or ""
    return ""


def meaning_of(action: argparse.Action) -> str:
    """The help of an argument, with what argparse puts into it."""
    return (action.help or "") % {**vars(action), "prog": "oomd"}


def parser_of(words: str) -> argparse.ArgumentParser:
    """The parser of ``oomd``, ``oomd replay``, ``oomd notifiers run`` and so on."""
    _, *rest = words.split()
    parser = with_commands() if rest else cli.parser()
    for word in rest:
        parser = subcommands(parser)[word]
    return parser


def with_commands() -> argparse.ArgumentParser:
    """One parser for all of it, for the makers of completion: it does not parse."""
    whole = cli.parser()
    words = whole.add_subparsers(dest="command", metavar="COMMAND")
    for command in COMMANDS:
        added = words.add_parser(command.name, help=command.help)
        added.__dict__.update(command.load().parser().__dict__)
    return whole
