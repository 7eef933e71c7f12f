"""The command line. The only place that exits."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from oomd import __version__
from oomd.audit_command import add_arguments, dry_run
from oomd.cli_words import ExitCode, Parser, UsageError
from oomd.commands import COMMANDS, command_named
from oomd.config import ConfigError, one_line
from oomd.config_load import check_config
from oomd.proc.record import BadRecording, CannotRecord
from oomd.proc.root import ReadError
from oomd.proc.snapshot import CannotDecide

__all__ = ["ExitCode", "main", "parser"]


def _list_of_commands() -> str:
    width = max(len(command.name) for command in COMMANDS)
    lines = (f"  oomd {command.name:{width}}  {command.help}" for command in COMMANDS)
    return "\n".join(("commands, each with a --help of its own:", *lines))


def parser() -> Parser:
    """The arguments of ``oomd`` itself; those of its commands are theirs."""
    parser = Parser(
        prog="oomd",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description="The out-of-memory daemon with the kernel's own policy. Without options it\n"
        "guards the machine; with --dry-run it only says what it would do.",
        epilog=f"{_list_of_commands()}\n\n"
        "Exit status of --dry-run: 0 nothing to do now, 1 a threshold is crossed, 2 usage or\n"
        "configuration error, 3 could not read enough to decide, 70 internal error.",
    )
    parser.add_argument("--version", action="version", version=f"oomd {__version__}")
    parser.add_argument("--config", metavar="FILE", help="read this configuration and no other")
    parser.add_argument(
        "--container",
        action="store_true",
        help="guard although only a container's processes can be seen",
    )
    parser.add_argument(
        "--check-config",
        nargs="?",
        const="",
        metavar="FILE",
        help="check the configuration, or a draft of it, and exit",
    )
    parser.add_argument(
        "--show", action="store_true", help="with --check-config: every value and its origin"
    )
    add_arguments(parser)
    return parser


# --- the rest

_SENTINEL = """
import sys
sys.path.append(sys.argv.pop(1))
from oomd.daemon import main
sys.exit(main())
"""


def _become_sentinel(options: argparse.Namespace) -> NoReturn:
    """Start anew, isolated and without site: what this command line imported costs memory."""
    package_root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    argv = [sys.executable, "-I", "-S", "-c", _SENTINEL, package_root]
    if options.config:
        argv += ["--config", options.config]
    if options.container:
        argv.append("--container")
    sys.stdout.flush()
    os.execv(sys.executable, argv)


def _run(argv: Sequence[str] | None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    command = command_named(argv[0]) if argv else None
    if command is not None:
        return command.load().main(argv[1:])
    options = parser().parse_args(argv)
    if options.check_config is not None:
        status, text = check_config(options.check_config or options.config, options.show)
        print(text, file=sys.stderr if status else sys.stdout)
        return ExitCode(status)
    if options.show:
        raise UsageError("--show goes with --check-config")
    if options.dry_run:
        return dry_run(options)
    given = [
        name
        for name, value in vars(options).items()
        if value not in (None, False, []) and name not in ("config", "container")
    ]
    if given:
        raise UsageError(f"--{given[0].replace('_', '-')} goes with --dry-run or --check-config")
    _become_sentinel(options)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit status."""
    try:
        return _run(argv)
    except (UsageError, ConfigError, BadRecording, CannotRecord) as error:
        print(f"oomd: {one_line(str(error))}", file=sys.stderr)
        return ExitCode.USAGE
    except (CannotDecide, ReadError) as error:
        print(f"oomd: cannot decide: {one_line(str(error))}", file=sys.stderr)
        return ExitCode.CANNOT_DECIDE
    except BrokenPipeError:
        # The reader has seen enough; nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return ExitCode.NOTHING_TO_DO
    except KeyboardInterrupt:
        return 130
    except Exception:
        import traceback  # noqa: PLC0415

        traceback.print_exc()
        print("oomd: internal error, please report the lines above", file=sys.stderr)
        return ExitCode.INTERNAL
