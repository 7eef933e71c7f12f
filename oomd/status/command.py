"""``oomd status``: what the running daemon is doing."""

import json
import sys
from collections.abc import Sequence

from oomd.cli_words import Parser, UsageError
from oomd.client import ClientError
from oomd.client.protocol import SOCKET as NOTIFY_SOCKET
from oomd.status.ask import CONTROL_SOCKET, EXIT_NOT_RUNNING, NOT_RUNNING, read_state
from oomd.status.in_force import compare

__all__ = ["main", "parser"]

EXIT_OK = 0


def parser() -> Parser:
    """The arguments of ``oomd status``."""
    parser = Parser(
        prog="oomd status",
        description="What the running daemon is doing: its thresholds and how far they are, what "
        "it waits for, its settings, whom it has asked, and what it has decided.",
        epilog="Exit status: 0 it has answered, 2 usage error or refused, 3 oomd is not running, "
        "70 internal error.",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="as JSON, schema 1")
    form.add_argument(
        "--watch", action="store_true", help="in a terminal: stay, and redraw each second"
    )
    parser.add_argument("--socket", metavar="PATH", help=f"in the place of {CONTROL_SOCKET}")
    parser.add_argument("--notify-socket", metavar="PATH", help=f"in the place of {NOTIFY_SOCKET}")
    parser.set_defaults(socket=CONTROL_SOCKET, notify_socket=NOTIFY_SOCKET)
    return parser


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises UsageError."""
    options = parser().parse_args(argv)
    if options.watch and not sys.stdout.isatty():
        raise UsageError("--watch needs a terminal: without one, ask oomd status again and again")
    try:
        state = read_state(options.socket, options.notify_socket)
    except ClientError as error:
        raise UsageError(str(error)) from None
    if state is None:
        if options.json:
            print(json.dumps({"schema": 1, "running": False}))
        else:
            print(f"oomd: {NOT_RUNNING}", file=sys.stderr)
        return EXIT_NOT_RUNNING
    if options.json:
        print(json.dumps(state, indent=2))
        return EXIT_OK
    if options.watch:
        from oomd.status.live import watch  # noqa: PLC0415

        watch(state, options.socket, options.notify_socket)
        return EXIT_OK
    # Half of the start-up time, and --json does without it.
    from oomd.status.as_text import print_state  # noqa: PLC0415

    print_state(state, *compare(state))
    return EXIT_OK
