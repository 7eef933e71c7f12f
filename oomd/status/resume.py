"""``oomd resume``: ends a pause."""

from collections.abc import Sequence

from oomd.cli_words import Parser
from oomd.status.ask import CONTROL_SOCKET, EXIT_NOT_RUNNING
from oomd.status.pause import order

__all__ = ["main", "parser"]

EXIT_OK = 0


def parser() -> Parser:
    """The arguments of ``oomd resume``."""
    parser = Parser(
        prog="oomd resume",
        description="Ends what oomd pause has begun.",
        epilog="Needs root. Exit status: 0 guarding, 2 usage error or refused, 3 oomd is not "
        "running, 70 internal error.",
    )
    parser.add_argument("--socket", metavar="PATH", help=f"in the place of {CONTROL_SOCKET}")
    parser.set_defaults(socket=CONTROL_SOCKET)
    return parser


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises UsageError."""
    options = parser().parse_args(argv)
    resumed = order(options.socket, {"op": "resume"})
    if resumed is None:
        return EXIT_NOT_RUNNING
    print("guarding again" if resumed["was_paused"] else "oomd was not paused: it guards")
    return EXIT_OK
