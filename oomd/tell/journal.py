"""Records to the journal: what was decided, the kernel's table, then the trace, with fields.

Without a journal the same lines go to standard error.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from oomd.config import one_line
from oomd.message_ids import MESSAGE_IDS
from oomd.tell.fields import decision_fields, settled_fields, victims_by_ident

__all__ = ["entries", "tell_journal", "wait_until_taken"]

Record = dict[str, Any]
Entry = tuple[int, str, dict[str, str]]

# sd-daemon(3).
NOTICE, INFO = 5, 6

JOURNAL_SOCKET = "/run/systemd/journal/socket"
# systemd-journald.service(8); what journalctl --sync asks.
JOURNAL_VARLINK = "/run/systemd/journal/io.systemd.journal"
SYNCHRONIZE = b'{"method":"io.systemd.Journal.Synchronize"}\0'
# A journal that takes longer is left alone: within the time that a helper has.
TAKEN_S = 20.0
# One that was killed is back within so long, usually.
AGAIN_S = 0.1

_NOBODY: dict[tuple[int, int], Record] = {}


def _step(step: Record) -> str:
    detail = ", ".join(f"{name} {value}" for name, value in step["detail"].items())
    line = f"step {step['step']} {step['name']}: {step['verdict']}"
    # A notifier gives itself its name, and answers what it likes.
    return one_line(f"{line} ({detail})" if detail else line)


def _event(record: Record) -> str:
    """What has come of a decision, as a key of MESSAGE_IDS."""
    verdict: str = record["verdict"]
    # The kernel's lines are there once the signal was sent: a kill may also have missed.
    return "missed" if verdict == "kill" and not record["lines"] else verdict


def entries(record: Record, victims: Mapping[tuple[int, int], Record] = _NOBODY) -> Iterator[Entry]:
    """The journal entries of a record: priority, message, fields.

    ``victims``: those of the decisions at hand, by pid and start time.
    """
    if record["kind"] == "settled":
        if not record.get("said"):
            fields = settled_fields(record, victims)
            yield NOTICE, record["text"], {"MESSAGE_ID": MESSAGE_IDS["settled"], **fields}
        return
    fields = decision_fields(record)
    event = _event(record)
    # The daemon has said at once, in the kernel's words or its own, what it came to. One entry
    # carries the identity of the event; the others belong to it.
    named = {**fields, "MESSAGE_ID": MESSAGE_IDS[event]} if event in MESSAGE_IDS else fields
    killed = ", ".join(f"{one['pid']} ({one['comm']}, {one['why']})" for one in record["victims"])
    words = f"decided at {record['trigger']}: {record['verdict'].replace('_', ' ')} {killed}"
    yield (NOTICE if event == "kill" else INFO), words.strip(), named
    # Enough of it for the unit's own log.
    rest = {name: value for name, value in fields.items() if not name.startswith("OBJECT_")}
    for line in record.get("table", ()):
        yield INFO, line, rest
    for step in record["trace"]:
        yield INFO, _step(step), rest


def _to_stderr(priority: int, message: str, fields: dict[str, str]) -> None:
    sys.stderr.write(f"oomd: {message}\n")


def _sender() -> Callable[[int, str, dict[str, str]], None]:
    if not os.path.exists(JOURNAL_SOCKET):
        return _to_stderr
    import systemd.journal  # noqa: PLC0415  only where there is a journal

    def send(priority: int, message: str, fields: dict[str, str]) -> None:
        systemd.journal.send(message, PRIORITY=str(priority), SYSLOG_IDENTIFIER="oomd", **fields)

    return send


def _is_taken(path: str, timeout_s: float) -> bool:
    """Ask journald once. Raises ``ConnectionError`` while it is being started again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as varlink:
        varlink.settimeout(timeout_s)
        varlink.connect(path)
        varlink.sendall(SYNCHRONIZE)
        # The answer ends with a NUL; what it says does not matter.
        while answer := varlink.recv(4096):
            if answer.endswith(b"\0"):
                return True
    raise ConnectionAbortedError


def wait_until_taken(path: str = JOURNAL_VARLINK, timeout_s: float = TAKEN_S) -> bool:
    """Wait until journald has read what it was sent. False: it does not say so, or not in time.

    Whose an entry is it looks up by the sender's pid when it gets to it, in /proc: what is read
    after we have gone is nobody's, and ``journalctl -u`` does not show it. If the storm took
    journald itself, what it had been sent waits in its sockets for the next one.
    """
    end_s = time.monotonic() + timeout_s
    while (left_s := end_s - time.monotonic()) > 0:
        try:
            return _is_taken(path, left_s)
        except ConnectionError:
            time.sleep(min(AGAIN_S, timeout_s))
        except OSError:
            # Before systemd 246 there is none.
            break
    return False


def tell_journal(records: Iterable[Record]) -> None:
    """All of it, in order; returns when it was taken. Raises what the journal's library raises."""
    send = _sender()
    records = list(records)
    victims = victims_by_ident(records)
    for record in records:
        for priority, message, fields in entries(record, victims):
            send(priority, message, fields)
    if send is not _to_stderr:
        wait_until_taken()
