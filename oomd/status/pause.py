"""``oomd pause DURATION``: the daemon watches, decides and records, and kills nobody."""

import argparse
import re
import sys
from collections.abc import Sequence

from oomd.cli_words import Parser, UsageError
from oomd.client import ClientError
from oomd.client.protocol import NobodyThere
from oomd.status.ask import CONTROL_SOCKET, EXIT_NOT_RUNNING, NOT_RUNNING, ask_control

__all__ = ["main", "order", "parser"]

EXIT_OK = 0
LONGEST_S = 24 * 3600
_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)


def _seconds(text: str) -> int:
    found = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()) if found else (0, 0, 0)
    total = hours * 3600 + minutes * 60 + seconds
    if not 1 <= total <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r}: expected 1s to 24h, such as 90s, 30m or 1h30m")
    return total


def parser() -> Parser:
    """The arguments of ``oomd pause``."""
    parser = Parser(
        prog="oomd pause",
        description="Has the running daemon watch, decide and record, but kill nobody, panic "
        "nobody and ask no notifier, for a job that is known to need all memory. It ends by "
        "itself, at oomd resume, and when the daemon is restarted; a reload changes nothing. The "
        "kernel's own killer is not paused, and a decision that is asked for by hand (SIGUSR1) is "
        "carried out.",
        epilog="Needs root. Exit status: 0 paused, 2 usage error or refused, 3 oomd is not "
        "running, 70 internal error.",
    )
    parser.add_argument(
        "duration", type=_seconds, metavar="DURATION", help="1s to 24h: 90s, 30m, 1h30m"
    )
    parser.add_argument("--socket", metavar="PATH", help=f"in the place of {CONTROL_SOCKET}")
    parser.set_defaults(socket=CONTROL_SOCKET)
    return parser


def order(path: str, message: dict[str, object]) -> dict[str, object] | None:
    """What the daemon has done; None, and said: it does not run. Raises UsageError."""
    try:
        return ask_control(path, message)[0]
    except NobodyThere:
        print(f"oomd: {NOT_RUNNING}", file=sys.stderr)
        return None
    except ClientError as error:
        raise UsageError(str(error)) from None


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises UsageError."""
    options = parser().parse_args(argv)
    if order(options.socket, {"op": "pause", "seconds": options.duration}) is None:
        return EXIT_NOT_RUNNING
    print(f"paused for {options.duration} s; oomd resume ends it before")
    return EXIT_OK
