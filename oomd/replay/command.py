"""``oomd replay``: its arguments, its sources, its output, its exit status."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from datetime import datetime
from typing import BinaryIO

from oomd.cli_words import Parser
from oomd.records.text import begins_as_record
from oomd.replay.as_json import as_json
from oomd.replay.as_text import Shown, as_text, summary
from oomd.replay.collect import Collector
from oomd.replay.decisions import replay_decisions
from oomd.replay.findings import Judgement
from oomd.replay.journal import journal_lines, point_in_time
from oomd.replay.judge import judge
from oomd.replay.kernel_report import KernelReport
from oomd.replay.sources import (
    Line,
    ReplayError,
    is_kernel_ring,
    kernel_ring,
    open_log,
    refuse_what_is_no_text,
    text_lines,
)

__all__ = ["main", "parser"]

ALL_AGREE, ONE_DIFFERS = 0, 1

_STANDARD_INPUT = "standard input"


def parser() -> Parser:
    """The arguments of ``oomd replay``."""
    parser = Parser(
        prog="oomd replay",
        description="Judges the kernel's own OOM reports: whom the policy of that kernel would "
        "have chosen from the same task table, with points and score, and whether it agrees. "
        "Decides again what the daemon has decided, from the record that it kept.",
        epilog="Exit status: 0 all that could be judged agree, 1 one does not, 2 usage error, "
        "unreadable, or no report found, 70 internal error.",
    )
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="a log in any common form, the record of a decision "
        "(/var/lib/oomd/decisions/*.json), - for standard input, or /dev/kmsg",
    )
    parser.add_argument("--journal", action="store_true", help="this machine's journal")
    parser.add_argument(
        "--since", metavar="WHEN", help="with --journal: a date, today, yesterday, 2h, 3d"
    )
    parser.add_argument(
        "--policy", choices=("el7", "mainline"), help="what would another kernel have done?"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a line for a report")
    return parser


def _options(argv: Sequence[str]) -> argparse.Namespace:
    options = parser().parse_args(argv)
    if options.since and not options.journal:
        raise ReplayError("--since goes with --journal")
    if options.journal and options.file:
        raise ReplayError(f"--journal or {options.file}, not both")
    if not options.journal and not options.file:
        if sys.stdin.isatty():
            raise ReplayError("nothing to read: name a FILE, - for standard input, or --journal")
        options.file = "-"
    if options.since:
        try:
            options.since = point_in_time(options.since, datetime.now().astimezone())
        except ValueError as error:
            raise ReplayError(f"--since {error}") from None
    return options


# --- in


def _opened(name: str, stack: ExitStack) -> BinaryIO:
    if name == "-":
        return sys.stdin.buffer
    return stack.enter_context(os.fdopen(open_log(name), "rb"))


def _bar(stream: BinaryIO, printer: "_Printer", stack: ExitStack) -> Callable[[int], None]:
    """Shows how far it is, on a terminal."""
    if not sys.stderr.isatty():
        return lambda size: None
    from oomd.replay.progress import Bar  # noqa: PLC0415  rich takes its time

    bar = Bar(stream)
    stack.callback(bar.end)
    printer.aside = bar.aside
    return bar.advance


def _lines(
    stream: BinaryIO, collector: Collector, printer: "_Printer", stack: ExitStack
) -> Iterator[Line]:
    """A log that was named, as lines."""
    if is_kernel_ring(stream.fileno()):
        os.set_blocking(stream.fileno(), False)
        return kernel_ring(stream.fileno())
    return text_lines(stream, lambda: collector.busy, _bar(stream, printer, stack))


def _head(stream: BinaryIO) -> bytes:
    """The first bytes, which stay to be read; none where that cannot be."""
    if is_kernel_ring(stream.fileno()):
        return b""
    head: bytes = getattr(stream, "peek", lambda size: b"")(64)
    return head


def _name(options: argparse.Namespace) -> str:
    return _STANDARD_INPUT if options.file == "-" else str(options.file)


def _reports(lines: Iterable[Line], collector: Collector) -> Iterator[KernelReport]:
    for number, line in lines:
        yield from collector.feed(number, line)
    yield from collector.finish()


# --- out


class _Printer:
    """Prints judgements as they come, and counts them."""

    def __init__(self, as_objects: bool) -> None:
        self._as_objects = as_objects
        self._console = None
        if not as_objects and sys.stdout.isatty():
            from rich.console import Console  # noqa: PLC0415  rich takes its time

            self._console = Console(highlight=False)
        self.aside: Callable[[], AbstractContextManager[None]] = nullcontext
        """Entered while something is printed."""
        self.agreed = self.differed = self.not_judged = self.by_oomd = 0

    @property
    def index(self) -> int:
        return self.agreed + self.differed + self.not_judged + self.by_oomd

    def _count(self, judgement: Judgement) -> None:
        if judgement.report.by_oomd:
            self.by_oomd += 1
        elif judgement.agrees is False or judgement.score_agrees is False:
            self.differed += 1
        elif judgement.agrees is None:
            self.not_judged += 1
        else:
            self.agreed += 1

    def show(self, shown: Shown) -> None:
        """Print a line."""
        if self._console is None:
            print(shown.text)
            return
        from rich.text import Text  # noqa: PLC0415

        self._console.print(Text(shown.text), style=shown.style or None, soft_wrap=True)

    def add(self, judgement: Judgement) -> None:
        self._count(judgement)
        with self.aside():
            if self._as_objects:
                print(json.dumps(as_json(self.index, judgement)))
                return
            for shown in as_text(self.index, judgement):
                self.show(shown)

    def end(self) -> None:
        if not self._as_objects:
            self.show(summary(self.agreed, self.differed, self.not_judged, self.by_oomd))
        sys.stdout.flush()


def _nothing_found(options: argparse.Namespace) -> ReplayError:
    if options.journal:
        since = f" since {options.since:%Y-%m-%d %H:%M}" if options.since else ""
        return ReplayError(
            f"the journal: no OOM report{since} (an ordinary user sees no kernel messages: "
            "run it as root)"
        )
    return ReplayError(
        f"{_name(options)}: no OOM report in it (is it a kernel log? try oomd replay --journal)"
    )


def _decisions(options: argparse.Namespace, stream: BinaryIO, printer: _Printer) -> None:
    if options.policy:
        raise ReplayError(
            f"{_name(options)}: --policy goes with a kernel's report: a record holds the "
            "candidates of its own policy, and another one might have had others"
        )
    printer.differed = replay_decisions(
        _name(options), stream, printer.show, as_objects=options.json
    )
    sys.stdout.flush()


def _replay(options: argparse.Namespace, printer: _Printer) -> None:
    collector = Collector()
    with ExitStack() as stack:
        if options.journal:
            lines = journal_lines(options.since)
        else:
            stream = _opened(options.file, stack)
            head = _head(stream)
            if begins_as_record(head):
                _decisions(options, stream, printer)
                return
            refuse_what_is_no_text(_name(options), head)
            lines = _lines(stream, collector, printer, stack)
        for report in _reports(lines, collector):
            printer.add(judge(report, options.policy or ""))
    # The bar has gone.
    if not printer.index:
        raise _nothing_found(options)
    printer.end()


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises ReplayError."""
    options = _options(argv)
    printer = _Printer(options.json)
    try:
        _replay(options, printer)
    except OSError as error:
        # Sources tell of their own errors as ReplayError: this is the output's. What is left in
        # its buffer would fail again at exit, where nobody answers for it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            raise ReplayError(f"cannot write the output: {error.strerror}") from None
    return ONE_DIFFERS if printer.differed else ALL_AGREE
