"""``oomd metrics``: the daemon's state for Prometheus."""

import os
import sys
from collections.abc import Sequence

from oomd.cli_words import Parser, UsageError
from oomd.client import ClientError
from oomd.status.ask import CONTROL_SOCKET, read_state

__all__ = ["main", "parser"]

EXIT_OK = 0
# What node_exporter's textfile collector reads.
ENDING = ".prom"


def parser() -> Parser:
    """The arguments of ``oomd metrics``."""
    parser = Parser(
        prog="oomd metrics",
        description="Asks the running daemon, and tells Prometheus: prints the metrics, serves "
        "them, or writes them for node_exporter's textfile collector. Where no daemon runs, "
        "oomd_up is 0.",
        epilog="Exit status: 0 told, 2 usage error, refused, or the Python module "
        "prometheus_client is missing, 70 internal error.",
    )
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--listen",
        metavar="WHERE",
        help="stay, and serve them at a loopback address (127.0.0.1:PORT) or at unix:PATH",
    )
    way.add_argument(
        "--textfile", metavar="FILE", help="write them to FILE, which is there whole or as before"
    )
    parser.add_argument("--socket", metavar="PATH", help=f"in the place of {CONTROL_SOCKET}")
    parser.set_defaults(socket=CONTROL_SOCKET)
    return parser


def _serve(where: str, socket: str) -> None:
    from prometheus_client import CollectorRegistry  # noqa: PLC0415

    from oomd.metrics.families import Collector  # noqa: PLC0415
    from oomd.metrics.serve import Cached, server  # noqa: PLC0415

    registry = CollectorRegistry()
    registry.register(Collector(Cached(lambda: read_state(socket, ""))))
    with server(where, registry) as serving:
        address = serving.server_address
        shown = f"{address[0]!s} port {address[1]}" if isinstance(address, tuple) else where
        print(f"oomd metrics: listening at {shown}", flush=True)
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            pass


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises UsageError."""
    options = parser().parse_args(argv)
    try:
        from prometheus_client import (  # noqa: PLC0415
            CollectorRegistry,
            generate_latest,
            write_to_textfile,
        )
    except ImportError:
        raise UsageError(
            "oomd metrics needs the Python module prometheus_client: install "
            "python3-prometheus-client, or pip install 'oomd-kernelpolicy[metrics]'"
        ) from None
    if options.listen:
        _serve(options.listen, options.socket)
        return EXIT_OK
    if options.textfile and not options.textfile.endswith(ENDING):
        raise UsageError(f"--textfile {options.textfile}: the collector reads only *{ENDING}")
    from oomd.metrics.families import Collector  # noqa: PLC0415

    registry = CollectorRegistry()
    registry.register(Collector(lambda: read_state(options.socket, "")))
    try:
        if options.textfile:
            os.umask(0o022)
            write_to_textfile(options.textfile, registry)
        else:
            sys.stdout.write(generate_latest(registry).decode())
    except ClientError as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise UsageError(f"{options.textfile}: {error.strerror}") from None
    return EXIT_OK
