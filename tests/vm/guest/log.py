"""What the guest has logged: systemd's journal, and the kernel's own ring beside it.

The kernel's lines are read from /dev/kmsg and not through journald, which may be slow, stopped or
dead just when they matter. Both give entries with the journal's field names.
"""

import errno
import os
import re
import select
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

# Not systemd.journal: its logging handler takes as long to load as all the rest of the agent.
from systemd._reader import _Reader as Reader

__all__ = ["Cursor", "Entry", "cursor_now", "entries", "wait_for_entry", "warm_up"]

Entry = dict[str, Any]

KMSG_RECORD_BYTES = 8192
"""More than any record that /dev/kmsg gives out (CONSOLE_EXT_LOG_MAX)."""


class Cursor(NamedTuple):
    """A point in both logs: what was there then is before it."""

    journal: str
    kmsg_sequence: int


def warm_up() -> None:
    """Reads a line of each log, so that nothing is left to be loaded later."""
    next(_journal_entries(Cursor("", 0), None, deadline=None), None)
    next(_kmsg_records(0, deadline=None), None)


def cursor_now() -> Cursor:
    """After all that has been sent so far, even what journald has not written yet."""
    _synchronize()
    reader = Reader()
    reader.seek_tail()
    last = reader._get_cursor() if reader._previous() else ""
    return Cursor(last, _next_kmsg_sequence())


def entries(since: Cursor, unit: str | None, kernel: bool) -> list[Entry]:
    """All that was logged after `since`, what journald has not written yet included."""
    if kernel:
        return list(_kmsg_records(since.kmsg_sequence, deadline=None))
    _synchronize()
    return list(_journal_entries(since, unit, deadline=None))


def wait_for_entry(
    pattern: str, since: Cursor, unit: str | None, kernel: bool, timeout_s: float
) -> Entry:
    """Waits for the first entry after `since` whose message `pattern` is found in."""
    regex = re.compile(pattern)
    deadline = time.monotonic() + timeout_s
    if kernel:
        found = _kmsg_records(since.kmsg_sequence, deadline)
    else:
        found = _journal_entries(since, unit, deadline)
    last = None
    for entry in found:
        if regex.search(entry["MESSAGE"]):
            return entry
        last = entry["MESSAGE"]
    where = "the kernel's log" if kernel else f"the journal of {unit or 'the machine'}"
    raise TimeoutError(
        f"no line in {where} has {pattern!r} after {timeout_s:g} s; the last new one is {last!r}"
    )


# --- the journal --------------------------------------------------------------------------------


def _journal_entries(since: Cursor, unit: str | None, deadline: float | None) -> Iterator[Entry]:
    """Entries after `since`: to the last one there is, or waiting for more."""
    reader = Reader()
    if unit is not None:
        # As `journalctl -u`: what the unit says, and what systemd says about it.
        reader.add_match(f"_SYSTEMD_UNIT={unit}")
        reader.add_disjunction()
        reader.add_match(f"UNIT={unit}")
        reader.add_match("_PID=1")
    if since.journal:
        reader.seek_cursor(since.journal)
    else:
        reader.seek_head()
    while True:
        while reader._next():
            # The cursor's own entry comes first, unless the matches leave it out.
            if not (since.journal and reader.test_cursor(since.journal)):
                yield _read_entry(reader)
        remaining_s = (deadline or 0) - time.monotonic()
        if remaining_s <= 0:
            return
        reader.wait(int(remaining_s * 1_000_000))


def _read_entry(reader: Reader) -> Entry:
    """The entry as text; times are microseconds."""
    fields: dict[str, bytes | list[bytes]] = reader._get_all()
    entry: Entry = {"MESSAGE": ""}
    for name, value in fields.items():
        last = value[-1] if isinstance(value, list) else value
        entry[name] = last.decode(errors="replace")
    entry["__CURSOR"] = reader._get_cursor()
    entry["__REALTIME_TIMESTAMP"] = reader._get_realtime()
    entry["__MONOTONIC_TIMESTAMP"], _boot = reader._get_monotonic()
    return entry


def _synchronize() -> None:
    """Returns when journald has written what it had been sent, as `journalctl --sync` does."""
    deadline = time.monotonic() + 60
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as varlink:
        varlink.settimeout(60)
        while True:
            try:
                varlink.connect("/run/systemd/journal/io.systemd.journal")
                break
            except (ConnectionRefusedError, FileNotFoundError):
                # Killed, and being started again: what it had been sent waits in its sockets.
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        varlink.sendall(b'{"method":"io.systemd.Journal.Synchronize"}\0')
        while not varlink.recv(4096).endswith(b"\0"):
            pass


# --- the kernel's ring --------------------------------------------------------------------------


def _next_kmsg_sequence() -> int:
    sequence = -1
    for record in _kmsg_records(0, deadline=None):
        sequence = record["__SEQNUM"]
    return sequence + 1


def _kmsg_records(first_sequence: int, deadline: float | None) -> Iterator[Entry]:
    """Records from `first_sequence` on: to the last one there is, or waiting for more."""
    fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        while True:
            try:
                entry = _parse_kmsg(os.read(fd, KMSG_RECORD_BYTES))
            except BlockingIOError:
                remaining_s = (deadline or 0) - time.monotonic()
                if remaining_s <= 0:
                    return
                poll.poll(remaining_s * 1000)
                continue
            except OSError as error:
                # The ring has overtaken the reader, which now stands at the oldest that is left.
                if error.errno != errno.EPIPE:
                    raise
                continue
            if entry["__SEQNUM"] >= first_sequence:
                yield entry
    finally:
        os.close(fd)


def _parse_kmsg(record: bytes) -> Entry:
    """`PRIORITY,SEQUENCE,TIME_US,FLAGS[,...];MESSAGE` (Documentation/ABI/testing/dev-kmsg)."""
    head, _, body = record.decode(errors="replace").partition(";")
    priority, sequence, time_us = head.split(",")[:3]
    return {
        "MESSAGE": body.split("\n", 1)[0],
        "PRIORITY": int(priority) & 7,
        "SYSLOG_FACILITY": int(priority) >> 3,
        "_TRANSPORT": "kernel",
        "__SEQNUM": int(sequence),
        "__MONOTONIC_TIMESTAMP": int(time_us),
    }
