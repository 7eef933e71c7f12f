"""What loggers put before the kernel's words, taken off: syslog, dmesg, the journal, or nothing.

A log may hold several hosts, and several processors' lines at once (``CONFIG_PRINTK_CALLER``):
what tells them apart is kept as the line's ``stream`` and ``caller``.
"""

import json
import re
from datetime import datetime
from typing import Any, Literal, NamedTuple

__all__ = ["Logged", "Origin", "journal_entry", "logged", "pieces"]

Origin = Literal["kernel", "user", "other", ""]


class Logged(NamedTuple):
    """One line of a log."""

    text: str
    stream: str = ""
    """The host, and the boot where the line names it."""
    caller: str = ""
    """The thread or processor that said it, where the kernel names it."""
    origin: Origin = ""
    """``kernel``; ``user``: written to the kernel's log by a process; ``other``: another program's
    line. Empty: the line doesn't tell."""
    when: str = ""
    prefixed: bool = False
    """A prefix of a known form was taken off."""


# LOG_KERN, sys/syslog.h: facility in the upper bits, priority in the lower three.
_KERN = 0
# journald finds no program's name in what a process wrote to /dev/kmsg, and says so.
_USER_TAGS = ("unknown", "oomd")

# Quoted in a mail, indented in a ticket.
_QUOTE = re.compile(r"[\s>|]*")
# dmesg --raw and syslog on the wire; RFC 5424 adds its version.
_PRIORITY = re.compile(r"<(\d{1,3})>(1 )?")
# A record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg).
_KMSG = re.compile(r"(\d{1,9}),\d+,(\d+),[-c+](?:,caller=([TC]\d+))?(?:,[^;]*)?;")
# dmesg --decode.
_DECODED = re.compile(r"(\w{2,8}) *: ?(?:emerg|alert|crit|err|warn|notice|info|debug) *: ")
# [   12.345678], dmesg -d's [   12.345678 <    0.000012>], dmesg -T's and -e's [Aug12 03:54].
_CLOCK = re.compile(
    r"\[(\s*+(?:\+\s*+)?\d+\.\d+(?:\s*<\s*\d+\.\d+>)?|[^\[\]]{0,40}\d\d:\d\d[^\[\]]{0,20})\] ?"
)
_CALLER = re.compile(r"\[\s*([TC]\d+)\] ?")
# Sep 29 08:12:34, in any language's month names.
_SYSLOG = re.compile(r"([^\W\d]\w{2}\.? {1,2}\d{1,2} \d\d:\d\d:\d\d(?:\.\d+)?) ")
# ISO 8601 of rsyslog, journalctl and dmesg; a weekday before and a zone's name after it.
_ISO = re.compile(
    r"((?:[^\W\d]\w{1,3} )?\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?"
    r"(?:Z|[+-]\d\d:?\d\d| (?:[A-Z]{3,5}|[+-]\d\d(?:\d\d)?)(?= ))?) ?"
)
_HOST_TAG = re.compile(r"([\w.:%-]{1,255}) ([^\s:\[\]]+)(?:\[\d+\])?: ?")
_KERNEL_TAG = re.compile(r"kernel(?:\[\d+\])?: ?")
# RFC 5424: HOST APP PROCID MSGID, structured data.
_RFC5424 = re.compile(r"(\S+) (\S+) \S+ \S+ (?:-|(?:\[[^\]]*\])+) ?")


def _facility(priority: str) -> Origin:
    return "kernel" if int(priority) >> 3 == _KERN else "user"


def _tagged(tag: str) -> Origin:
    if tag == "kernel":
        return "kernel"
    return "user" if tag in _USER_TAGS else "other"


class _Cutter:
    """Takes known forms off the front of a line, one after the other."""

    __slots__ = ("at", "caller", "host", "line", "origin", "when")

    def __init__(self, line: str) -> None:
        self.line = line
        self.at = 0
        self.host = self.caller = self.when = ""
        self.origin: Origin = ""

    def take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.line, self.at)
        if found is not None:
            self.at = found.end()
        return found

    def head(self) -> bool:
        """Priority or facility, where the logger kept it; whether RFC 5424's form follows."""
        found = self.take(_PRIORITY)
        if found is not None:
            self.origin = _facility(found[1])
            return found[2] is not None
        found = self.take(_KMSG)
        if found is not None:
            self.origin = _facility(found[1])
            self.when = f"{int(found[2][:18]) / 1e6:.6f}"
            self.caller = found[3] or ""
            return False
        found = self.take(_DECODED)
        if found is not None:
            self.origin = "kernel" if found[1] == "kern" else "user"
        return False

    def name(self, rfc5424: bool) -> None:
        """Host and program, after a time; the last word on whose line it is."""
        if rfc5424:
            found = self.take(_RFC5424)
        elif self.take(_KERNEL_TAG):
            self.origin = self.origin or "kernel"
            return
        else:
            found = self.take(_HOST_TAG)
        if found is not None:
            self.host = found[1]
            self.origin = self.origin or _tagged(found[2])

    def cut(self) -> None:
        self.take(_QUOTE)
        rfc5424 = self.head()
        found = self.take(_SYSLOG) or self.take(_ISO)
        if found is not None:
            self.when = found[1]
            # dmesg alone writes a comma, and nobody's name.
            if "," not in found[1]:
                self.name(rfc5424)
        else:
            # journalctl -o short-monotonic has the clock first, then host and program.
            clock = self.take(_CLOCK)
            if clock is not None:
                self.when = self.when or clock[1].strip()
                here = self.at
                found = self.take(_HOST_TAG)
                if found is not None and found[2] == "kernel":
                    self.host, self.origin = found[1], self.origin or "kernel"
                else:
                    self.at = here
            elif self.take(_KERNEL_TAG):
                self.origin = self.origin or "kernel"
        clock = self.take(_CLOCK)
        if clock is not None:
            self.when = self.when or clock[1].strip()
        found = self.take(_CALLER)
        if found is not None:
            self.caller = found[1]


def logged(line: str) -> Logged:
    """A line of a text log, without its newline."""
    if line.startswith("{"):
        found = _logged_json(line)
        if found is not None:
            return found
    cutter = _Cutter(line)
    cutter.cut()
    line = line.rstrip("\r\n")
    if not (cutter.when or cutter.origin or cutter.caller):
        # The blanks in front may be the middle of a line that was wrapped.
        return Logged(line)
    text = line[cutter.at :]
    return Logged(text, cutter.host, cutter.caller, cutter.origin, cutter.when, True)


def _text_of(value: Any) -> str:
    # What is no clean text: bytes from the library, an array of numbers from journalctl.
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, list) and all(isinstance(n, int) and 0 <= n < 256 for n in value):
        return bytes(value).decode("utf-8", "surrogateescape")
    return value if isinstance(value, str) else ""


def _logged_json(line: str) -> Logged | None:
    """A line of ``journalctl -o json``, or None if it is something else."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return journal_entry(entry) if isinstance(entry, dict) and "MESSAGE" in entry else None


def _when(value: Any) -> str:
    try:
        # Microseconds since the epoch, which journalctl writes as text.
        at = value if isinstance(value, datetime) else datetime.fromtimestamp(int(value) / 1e6)
        return at.isoformat(sep=" ", timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return ""


def journal_entry(entry: dict[str, Any]) -> Logged:
    """The fields of a journal entry (systemd.journal-fields(7))."""
    origin: Origin = "other"
    if entry.get("_TRANSPORT") == "kernel":
        origin = "kernel" if str(entry.get("SYSLOG_FACILITY", "0")) == "0" else "user"
    elif entry.get("SYSLOG_IDENTIFIER"):
        origin = _tagged(_text_of(entry["SYSLOG_IDENTIFIER"]))
    stream = " ".join(_text_of(entry.get(name)) for name in ("_HOSTNAME", "_BOOT_ID"))
    when = _when(entry.get("__REALTIME_TIMESTAMP"))
    return Logged(_text_of(entry["MESSAGE"]), stream.strip(), "", origin, when, True)


def pieces(text: str) -> list[str]:
    """The lines of a text that a logger has made one, as rsyslog does with ``#012``.

    One such mark near the end may as well be a newline in a comm: the caller tries the whole first.
    """
    if "#012" in text:
        text = text.replace("#012", "\n")
    return [piece for piece in text.split("\n") if piece.strip()]
