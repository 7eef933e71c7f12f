"""The forms that a log may have: each puts its own prefix before the kernel's words."""

import json
from collections.abc import Callable

__all__ = ["FORMS", "wrapped"]

Form = Callable[[int, str], str]


def _json(number: int, line: str) -> str:
    entry = {
        "__REALTIME_TIMESTAMP": str(1_795_400_919_000_000 + number),
        "_TRANSPORT": "kernel",
        "SYSLOG_FACILITY": "0",
        "SYSLOG_IDENTIFIER": "kernel",
        "_HOSTNAME": "web01",
        "MESSAGE": line,
    }
    return json.dumps(entry)


def _json_bytes(number: int, line: str) -> str:
    """As journalctl writes what is no clean text."""
    message = list(line.encode("utf-8", "surrogateescape"))
    entry = {"_TRANSPORT": "kernel", "SYSLOG_FACILITY": "0", "MESSAGE": message}
    return json.dumps(entry, separators=(",", ":"))


FORMS: dict[str, Form] = {
    "none": lambda n, line: line,
    "crlf": lambda n, line: f"{line}\r",
    "dmesg": lambda n, line: f"[{n:5d}.123456] {line}",
    "dmesg -T": lambda n, line: f"[Di Aug 12 03:54:{n % 60:02d} 2025] {line}",
    "dmesg -e": lambda n, line: f"[Aug12 03:54] {line}" if n % 9 else f"[  +0.000012] {line}",
    "dmesg -d": lambda n, line: f"[{n:5d}.123456 <    0.000012>] {line}",
    "dmesg -x": lambda n, line: f"kern  :info  : [{n:5d}.123456] {line}",
    "dmesg -r": lambda n, line: f"<6>[{n:5d}.123456] {line}",
    "dmesg iso": lambda n, line: f"2025-08-12T03:54:03,{n:06d}+02:00 {line}",
    "with callers": lambda n, line: f"[{n:5d}.123456][ T1234] {line}",
    "/dev/kmsg": lambda n, line: f"6,{n},{n}123456,-;{line}",
    "/dev/kmsg with callers": lambda n, line: f"6,{n},{n}123456,-,caller=T1234;{line}",
    "syslog": lambda n, line: f"Sep 29 08:12:{n % 60:02d} web01 kernel: {line}",
    "syslog with the clock": lambda n, line: (
        f"Sep  9 08:12:34 web01 kernel: [{n:5d}.123456] {line}"
    ),
    "syslog, German": lambda n, line: f"Mär 29 08:12:34 web01 kernel: {line}",
    "RFC 3339": lambda n, line: f"2025-09-29T08:12:34.{n:06d}+02:00 web01 kernel: {line}",
    "RFC 5424": lambda n, line: f"<6>1 2025-09-29T08:12:34.{n:06d}Z web01 kernel - - - {line}",
    "journalctl short-full": lambda n, line: f"Mon 2025-09-29 08:12:34 CEST web01 kernel: {line}",
    "journalctl monotonic": lambda n, line: f"[{n:5d}.123456] web01 kernel: {line}",
    "journalctl no host": lambda n, line: f"Sep 29 08:12:34 kernel: {line}",
    "json": _json,
    "json of bytes": _json_bytes,
    "quoted in a mail": lambda n, line: f"> > [{n:5d}.123456] {line}",
    "indented": lambda n, line: f"        {line}",
    "unheard of": lambda n, line: f"{n:06d}|web01/ring0|KERN| {line}",
}
"""By name: a line number and a line, to a line of that form."""


def wrapped(lines: list[str], width: int, prefix: Form) -> list[str]:
    """The prefix on each first piece alone, as a terminal's copy has it."""
    found: list[str] = []
    for number, line in enumerate(lines):
        whole = prefix(number, line)
        found += [whole[at : at + width] for at in range(0, max(len(whole), 1), width)]
    return found
