"""Lines put together to reports, one log after the other, in bounded memory.

A report begins with ``COMM invoked oom-killer`` and ends with what came of it. Logs are torn,
though: a report may lack its beginning or its end, lines of others lie between its own, and two
may be under way at once. What fits nowhere is left out; what is doubtful is marked as such.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator

from oomd.replay.facts import Fact, Header, Lost
from oomd.replay.kernel_report import KernelReport, Named
from oomd.replay.lines import fact, unfinished
from oomd.replay.prefix import Logged, logged, pieces
from oomd.replay.stream import Stream

__all__ = ["Collector"]

# After so many lines that say nothing of it, a report without an end is taken for cut off.
QUIET_LINES = 5_000
# What comes after a kill (its oom.group, who shares its memory) comes soon.
AFTERMATH_LINES = 50
# Several hosts in one log, or several processors; the one that has been silent longest goes.
STREAMS_KEPT = 256
# How many pieces a line may have been wrapped into.
WRAPPED_PIECES = 5


class _Pending:
    """The beginning of a line that something has wrapped, until the rest has come."""

    __slots__ = ("count", "first", "text")

    def __init__(self, first: Logged) -> None:
        self.first = first
        self.text = first.text
        self.count = 1

    def goes_on_with(self, following: Logged) -> bool:
        """The rest has no prefix of its own; but the kernel may print oom-kill: in two records."""
        return not following.prefixed or following.text.startswith(",")

    def join(self, following: Logged, columns: tuple[str, ...]) -> Fact | None:
        """What both say together, or None: then it goes on still, or is nothing."""
        self.count += 1
        # Wrapped in the middle of a word, or between two.
        for joint in ("", " "):
            found = fact(self.text + joint + following.text, columns)
            if found is not None:
                return found
        self.text += following.text
        return None


def _several(text: str, columns: tuple[str, ...]) -> list[Fact]:
    """The facts of several lines in one: a table's columns are known from the middle on."""
    found = []
    for piece in pieces(text):
        one = fact(logged(piece).text, columns)
        if isinstance(one, Header):
            columns = one.columns
        if one is not None:
            found.append(one)
    return found


class Collector:
    """Takes lines in their order and gives back reports, each when it is known to be whole."""

    def __init__(self) -> None:
        self._streams: OrderedDict[str, Stream] = OrderedDict()
        self._victims: OrderedDict[str, deque[Named]] = OrderedDict()
        self._pending: dict[str, _Pending] = {}
        self._busy: set[str] = set()
        self._last: Logged | None = None

    @property
    def busy(self) -> bool:
        """Any line may matter; else only those that begin something."""
        return bool(self._busy or self._pending)

    def _stream(self, line: Logged) -> tuple[str, Stream]:
        # What a process writes to the kernel's log has nothing to do with the kernel's reports.
        by_process = line.origin == "user"
        key = f"{line.stream}\0{line.caller}\0{by_process}"
        stream = self._streams.get(key)
        if stream is None:
            victims = self._victims.setdefault(line.stream, deque(maxlen=64))
            stream = self._streams[key] = Stream(victims, by_process)
        self._streams.move_to_end(key)
        return key, stream

    def _forget_old(self) -> Iterator[KernelReport]:
        while len(self._streams) > STREAMS_KEPT:
            key, stream = self._streams.popitem(last=False)
            self._busy.discard(key)
            self._pending.pop(key, None)
            yield from stream.end()
        while len(self._victims) > STREAMS_KEPT:
            self._victims.popitem(last=False)

    def _joined(self, key: str, line: Logged, columns: tuple[str, ...]) -> Fact | None:
        """What the line says as the rest of the one before it."""
        pending = self._pending.get(key)
        if pending is None or not pending.goes_on_with(line):
            return None
        found = pending.join(line, columns)
        if found is not None or pending.count >= WRAPPED_PIECES:
            del self._pending[key]
        return found

    def _facts(self, key: str, stream: Stream, line: Logged) -> list[Fact]:
        """What a line says: nothing, one thing, or several that a logger has made one line."""
        text, columns = line.text, stream.columns
        whole = fact(text, columns)
        if "#012" in text or "\n" in text:
            several = _several(text, columns)
            # One thing alone may have a newline in its comm.
            if len(several) > 1 or whole is None:
                return several
        if whole is None:
            whole = self._joined(key, line, columns)
        if whole is not None:
            self._pending.pop(key, None)
            return [whole]
        if line.prefixed or key not in self._pending:
            self._pending.pop(key, None)
            if unfinished(text) or (line.prefixed and stream.busy):
                self._pending[key] = _Pending(line)
        return []

    def feed(self, number: int, line: Logged) -> Iterator[KernelReport]:
        """Take line ``number``; the reports that are whole now."""
        if line.prefixed:
            self._last = line
        elif self._last is not None:
            # The rest of a line, or of a record that has several.
            last = self._last
            line = line._replace(stream=last.stream, caller=last.caller, origin=last.origin)
        # A quotation, by a program that reads the kernel's log too; or it says what is missing.
        if line.origin == "other" and not isinstance(fact(line.text), Lost):
            return
        key, stream = self._stream(line)
        for found in self._facts(key, stream, line):
            yield from stream.take(number, line, found)
        quiet = number - stream.last_line
        if stream.busy and quiet > QUIET_LINES:
            yield from stream.end()
        if stream.busy or quiet < AFTERMATH_LINES:
            self._busy.add(key)
        else:
            self._busy.discard(key)
        yield from self._forget_old()

    def finish(self) -> Iterator[KernelReport]:
        """The log is at its end: what is left, whole or not."""
        ended = [report for stream in self._streams.values() for report in stream.end()]
        self._streams.clear()
        yield from sorted(ended, key=lambda report: report.line)
