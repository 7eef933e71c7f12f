"""One kernel's lines as they come: which of them belong to one report."""

from collections import deque
from collections.abc import Iterator

from oomd.replay.facts import (
    Booted,
    Chosen,
    Cpu,
    Exiting,
    Fact,
    Group,
    Header,
    Killed,
    Lost,
    NoneKillable,
    Panicked,
    Sharer,
    Summary,
    SysRq,
)
from oomd.replay.fill import fill_in
from oomd.replay.kernel_report import Invoked, KernelReport, Named, Row
from oomd.replay.prefix import Logged

__all__ = ["Stream"]

# A report of a machine with more processes is cut there, and says so.
ROWS_KEPT = 100_000


def _tells(report: KernelReport) -> bool:
    """It is of the OOM killer: Mem-Info alone is printed for other reasons too."""
    if report.invoked is not None or report.settled or report.table.columns:
        return True
    return report.of_memcg or report.chosen is not None


def _has_body(report: KernelReport) -> bool:
    shown = report.current, report.mems_allowed, report.table.columns, report.limits
    return any(shown) or report.ram_pages is not None


def _by_oomd(report: KernelReport) -> bool:
    """The daemon's words: the first line and the last ones, with nothing between.

    A kernel's always has a stack at least. A mask of 0 is the daemon's, or that of an old
    kernel's page fault.
    """
    first = report.invoked
    zero = first is not None and first.gfp_mask == 0 and not first.gfp_words
    return zero and report.settled and not _has_body(report)


def _of_current(report: KernelReport, found: Cpu) -> bool:
    """It is of the task that invoked the killer, and not another processor's warning."""
    return report.invoked is None or report.invoked.comm.endswith(found.current.comm.strip())


def _awaits(report: KernelReport, found: Fact) -> bool:
    """``found`` can be what came of this report."""
    match found:
        case Summary():
            return not report.settled and report.chosen is None
        case Chosen():
            return not report.settled and report.score is None
        case Killed() | Exiting():
            return not report.settled or bool(report.group)
        case Sharer():
            return bool(report.killed)
        case Panicked():
            return not report.panic and not report.killed
        case _:
            return not report.settled


class Stream:
    """Takes the facts of one kernel's log in their order."""

    def __init__(self, victims: deque[Named], by_process: bool) -> None:
        """``victims``: who has been killed so far; added to. ``by_process``: no kernel's lines."""
        self._victims = victims
        self._by_process = by_process
        self._open: KernelReport | None = None
        # Begun before the open one and not ended yet: cut off, or under way on another processor.
        self._older: KernelReport | None = None
        # Rows of the older one have come after the beginning of the newer one.
        self._mixed = False
        self._manual = False
        self._kernel = ""
        self._own: list[Named] = []
        self.last_line = 0
        """Where the last fact was."""

    @property
    def busy(self) -> bool:
        """Any line may belong to what is open."""
        return self._open is not None and not self._open.settled

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the table that is being read."""
        for report in (self._open, self._older):
            if report is not None and report.table.columns:
                return report.table.columns
        return ()

    # --- beginnings and ends

    def _close(self, report: KernelReport | None) -> Iterator[KernelReport]:
        if report is None or not _tells(report):
            return
        report.by_oomd = report.by_oomd or _by_oomd(report)
        if not report.by_oomd:
            self._victims.extend(report.killed)
        elif report.killed and report.killed == self._own:
            # A whole journal has what the daemon says twice: from kmsg, and as the unit's output.
            return
        else:
            self._own = report.killed
        yield report

    def end(self) -> Iterator[KernelReport]:
        """Nothing more will come of what is open."""
        yield from self._close(self._older)
        yield from self._close(self._open)
        self._older = self._open = None

    def _begin(self, line: int, logged: Logged) -> KernelReport:
        report = KernelReport(line, logged.when, earlier_victims=tuple(self._victims))
        report.manual, self._manual = self._manual, False
        report.by_oomd = self._by_process
        self._open, self._mixed = report, False
        return report

    def _headless(self, line: int, logged: Logged) -> Iterator[KernelReport]:
        """What is open is over, and something begins whose first line is not there."""
        yield from self.end()
        # The last one that this log has named.
        self._begin(line, logged).kernel = self._kernel

    def _invoked(self, line: int, logged: Logged, found: Invoked) -> Iterator[KernelReport]:
        yield from self._close(self._older)
        self._older = None
        if self._open is not None and self._open.invoked is not None and not self._open.settled:
            self._older = self._open
        else:
            yield from self._close(self._open)
        report = self._begin(line, logged)
        report.invoked = found
        report.manual = report.manual or found.order == -1

    # --- the table

    def _header(self, line: int, logged: Logged, found: Header) -> Iterator[KernelReport]:
        if self._open is None or self._open.settled:
            yield from self._headless(line, logged)
        elif self._open.table.columns:
            # A second table, and its first line is not there.
            self._open.entangled = True
            yield from self._headless(line, logged)
        if self._open is None:
            return
        if self._mixed and self._older is not None:
            self._older.entangled = self._open.entangled = True
        fill_in(self._open, found)

    def _row(self, line: int, logged: Logged, row: Row) -> Iterator[KernelReport]:
        if self._open is not None and self._open.settled:
            # Of a table whose beginning is not there.
            yield from self._headless(line, logged)
            if self._open is not None:
                self._open.table.truncated = True
        report = self._open
        if report is not None and not report.table.columns and self._older is not None:
            # The newer report's table has not begun: the older one's goes on.
            report, self._mixed = self._older, True
        if report is None:
            return
        if len(report.table.rows) < ROWS_KEPT:
            report.table.rows.append(row)
        else:
            report.table.truncated = True

    # --- what came of it

    def _owner(self, pid: int) -> KernelReport | None:
        """Whose outcome it is: the newer report's, unless the older one's table alone has it."""
        if self._older is None or self._open is None:
            return self._open
        if not self._open.table.find(pid) and self._older.table.find(pid):
            return self._older
        return self._open

    def _outcome(self, line: int, logged: Logged, found: Fact, pid: int) -> Iterator[KernelReport]:
        report = self._owner(pid)
        if report is None or not _awaits(report, found):
            yield from self._headless(line, logged)
            report = self._open
        if report is None:
            return
        fill_in(report, found)
        if report is self._older and report.settled:
            self._older = None
            yield from self._close(report)

    def _panic(self, line: int, logged: Logged, found: Panicked) -> Iterator[KernelReport]:
        if found.kernel:
            yield from self._outcome(line, logged, found, 0)
        elif "panic_on_oom" in found.message:
            # Without the words of panic() before it: the daemon's, which then panics by sysrq.
            yield from self._headless(line, logged)
            if self._open is not None:
                fill_in(self._open, found)
                self._open.by_oomd = True

    def _aside(self, found: Fact) -> bool:
        """Take what begins no report and ends none; whether it was such a thing."""
        idle = self._open is None or self._open.settled
        match found:
            case SysRq() if idle:
                # It comes before the report's first line.
                self._manual = True
            case Cpu() if idle:
                # A warning's, or all that is left of a report's beginning.
                self._kernel = found.kernel
            case Lost():
                for report in (self._open, self._older):
                    if report is not None and not report.settled:
                        report.table.truncated = True
            case Group():
                if self._open is not None:
                    fill_in(self._open, found)
            case _:
                return False
        return True

    def _body(self, line: int, logged: Logged, found: Fact) -> Iterator[KernelReport]:
        """What stands between the first line and the table."""
        if isinstance(found, Cpu):
            if self._open is not None and not _of_current(self._open, found):
                return
            self._kernel = found.kernel
        if self._open is None or self._open.settled:
            yield from self._headless(line, logged)
        if self._open is not None:
            fill_in(self._open, found)

    def take(self, line: int, logged: Logged, found: Fact) -> Iterator[KernelReport]:
        """A fact of this kernel's; the reports that are whole now."""
        self.last_line = line
        if self._aside(found):
            return
        match found:
            case Invoked():
                yield from self._invoked(line, logged, found)
            case Row():
                yield from self._row(line, logged, found)
            case Header():
                yield from self._header(line, logged, found)
            case Summary(chosen=named) | Chosen(chosen=named):
                yield from self._outcome(line, logged, found, named.pid)
            case Killed(victim=named) | Exiting(victim=named) | Sharer(victim=named):
                yield from self._outcome(line, logged, found, named.pid)
            case NoneKillable():
                yield from self._outcome(line, logged, found, 0)
            case Panicked():
                yield from self._panic(line, logged, found)
            case Booted(kernel=kernel):
                yield from self.end()
                # Their pids are others' now.
                self._victims.clear()
                self._kernel = kernel
            case _:
                yield from self._body(line, logged, found)
