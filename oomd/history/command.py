"""``oomd history``: the decisions that the daemon has kept, and a drawing of one of them."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Final

from oomd.cli_words import Parser, UsageError
from oomd.config import one_line
from oomd.history.read import Entry, read_entry, read_folder, series_of
from oomd.records.fields import BadRecord
from oomd.replay.journal import point_in_time

__all__ = ["FOLDER", "main", "parser"]

FOLDER: Final = "/var/lib/oomd/decisions"
"""Where the daemon keeps them."""

EXIT_OK = 0


def _since(text: str) -> datetime:
    try:
        return point_in_time(text, datetime.now().astimezone())
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parser() -> Parser:
    """The arguments of ``oomd history``."""
    parser = Parser(
        prog="oomd history",
        description="Lists the decisions that the daemon has kept, the newest last: when, what "
        "came of it, who was killed and why, how much came back and how long it took.",
        epilog="Exit status: 0 listed or drawn (also if there is nothing), 2 usage error, "
        "unreadable, or nothing to draw, 70 internal error.",
    )
    parser.add_argument(
        "where",
        nargs="?",
        metavar="DIR|RECORD",
        default=FOLDER,
        help=f"a folder of records, or one of them ({FOLDER})",
    )
    parser.add_argument(
        "--since", type=_since, metavar="WHEN", help="a date, today, yesterday, 2h, 3d"
    )
    parser.add_argument("--kills", action="store_true", help="only those at which somebody died")
    parser.add_argument("--json", action="store_true", help="as JSON, schema 1")
    parser.add_argument(
        "--plot",
        metavar="FILE",
        help="draw memory, swap and pressure around one decision as SVG, with what was done when: "
        "RECORD, or the newest kill",
    )
    return parser


def _read(options: argparse.Namespace) -> list[Entry]:
    """Raises UsageError. What is no record is said and passed over."""
    if not os.path.isdir(options.where) and os.path.exists(options.where):
        try:
            return [read_entry(options.where)]
        except (OSError, BadRecord) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise UsageError(f"{options.where}: {why}") from None
    entries = []
    for found in read_folder(options.where):
        if isinstance(found, str):
            print(f"oomd: {one_line(found)}", file=sys.stderr)
        elif options.since is not None and found.time_s < options.since.timestamp():
            continue
        elif found.victims or not options.kills:
            entries.append(found)
    return entries


def _as_json(entry: Entry) -> dict[str, Any]:
    victims = [{"pid": pid, "comm": comm, "why": why} for pid, comm, why in entry.victims]
    return {
        "record": entry.path,
        "time": entry.time_s,
        "trigger": entry.trigger,
        "verdict": entry.verdict,
        "victims": victims,
        "reason": entry.reason,
        "points": entry.record.get("points"),
        "score": entry.record.get("score"),
        "signal_after_ms": entry.signal_after_ms,
        "settled": None if entry.settled is None else entry.settled._asdict(),
    }


def _drawn(entries: Sequence[Entry]) -> Entry:
    """The one to draw. Raises UsageError."""
    with_series = [one for one in entries if one.record.get("series") is not None]
    if not with_series:
        raise UsageError("no record here tells what memory was like around it: nothing to draw")
    kills = [one for one in with_series if one.victims]
    return (kills or with_series)[-1]


def _plot(entries: Sequence[Entry], options: argparse.Namespace) -> None:
    # Only here.
    from oomd.history.plot import draw  # noqa: PLC0415

    entry = _drawn(entries)
    others = list(entries)
    if len(entries) == 1:
        # What else was decided about then.
        with suppress(UsageError):
            folder = os.path.dirname(os.path.abspath(entry.path))
            others = [one for one in read_folder(folder) if isinstance(one, Entry)]
    try:
        series = series_of(entry)
        if series is None:
            raise UsageError(f"{entry.path}: too few samples to draw")
        picture = draw(entry, series, others)
    except BadRecord as error:
        raise UsageError(f"{entry.path}: {error}") from None
    try:
        with open(options.plot, "wb") as file:
            file.write(picture)
    except OSError as error:
        raise UsageError(f"{options.plot}: {error.strerror}") from None
    print(f"{options.plot}: {entry.reason}")


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises UsageError."""
    options = parser().parse_args(argv)
    if options.plot and options.json:
        raise UsageError("--plot does not go with --json")
    entries = _read(options)
    if options.plot:
        _plot(entries, options)
    elif options.json:
        found = {"schema": 1, "decisions": [_as_json(one) for one in entries]}
        print(json.dumps(found, indent=2))
    else:
        from oomd.history.as_text import print_entries  # noqa: PLC0415

        print_entries(entries)
    return EXIT_OK
