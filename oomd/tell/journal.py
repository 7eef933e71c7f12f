"""Records to the journal: what was decided, the kernel's table, then the trace, with fields.

Without a journal the same lines go to standard error.
"""

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from oomd.config import one_line

__all__ = ["entries", "tell_journal"]

Record = dict[str, Any]

# sd-daemon(3).
NOTICE, INFO = 5, 6

# journalctl MESSAGE_ID=...; made once with `systemd-id128 new`, never to be changed.
MESSAGE_IDS = {
    "kill": "88a0095d517543bab00a05d2c82fd0f4",
    "other": "73b0ee3aed3b4b3ba68859be24a8ef6e",
    "settled": "4e4713a672214836bc0fc55048f2570a",
}

JOURNAL_SOCKET = "/run/systemd/journal/socket"


def _fields(record: Record) -> Record:
    fields: Record = {
        "OOMD_VERDICT": record["verdict"],
        "OOMD_TRIGGER": record["trigger"],
        "OOMD_POLICY": record["policy"],
        "OOMD_CONSTRAINT": record["constraint"],
        "OOMD_TOTALPAGES": record["totalpages"],
        "OOMD_SCAN_USEC": record["scan_us"],
        "OOMD_TASKS_SEEN": record["tasks_seen"],
        "OOMD_MEM_AVAILABLE_KIB": record["meminfo"]["mem_available_kib"],
        "OOMD_SWAP_FREE_KIB": record["meminfo"]["swap_free_kib"],
    }
    for name in ("points", "score", "signal_after_ms"):
        if name in record:
            fields[f"OOMD_{name.upper()}"] = record[name]
    if "file" in record:
        fields["OOMD_RECORD"] = record["file"]
    if record["victims"]:
        victim = record["victims"][0]
        fields |= {
            "OOMD_VICTIM_PID": victim["pid"],
            "OOMD_VICTIM_COMM": victim["comm"],
            "OOMD_VICTIM_UID": victim["uid"],
            "OOMD_VICTIMS": " ".join(str(one["pid"]) for one in record["victims"]),
        }
    return {name: str(value) for name, value in fields.items() if value is not None}


def _step(step: Record) -> str:
    detail = ", ".join(f"{name} {value}" for name, value in step["detail"].items())
    line = f"step {step['step']} {step['name']}: {step['verdict']}"
    # A notifier gives itself its name, and answers what it likes.
    return one_line(f"{line} ({detail})" if detail else line)


def entries(record: Record) -> Iterator[tuple[int, str, Record]]:
    """The journal entries of a record: priority, message, fields."""
    if record["kind"] == "settled":
        if record.get("said"):
            return
        fields = {f"OOMD_{name.upper()}": str(value) for name, value in record["fields"].items()}
        yield NOTICE, record["text"], {"MESSAGE_ID": MESSAGE_IDS["settled"], **fields}
        return
    fields = _fields(record)
    # The kernel's lines are there once the signal was sent: a kill may also have missed.
    killed = record["verdict"] == "kill" and bool(record["lines"])
    # The daemon has said at once, in the kernel's words or its own, what it came to. One entry
    # carries the identity of the event; the others belong to it.
    named = {**fields, "MESSAGE_ID": MESSAGE_IDS["kill" if killed else "other"]}
    victims = ", ".join(f"{one['pid']} ({one['comm']}, {one['why']})" for one in record["victims"])
    words = f"decided at {record['trigger']}: {record['verdict'].replace('_', ' ')} {victims}"
    yield (NOTICE if killed else INFO), words.strip(), named
    for line in record.get("table", ()):
        yield INFO, line, fields
    for step in record["trace"]:
        yield INFO, _step(step), fields


def _to_stderr(priority: int, message: str, fields: Record) -> None:
    sys.stderr.write(f"oomd: {message}\n")


def _sender() -> Callable[[int, str, Record], None]:
    if not os.path.exists(JOURNAL_SOCKET):
        return _to_stderr
    import systemd.journal  # noqa: PLC0415  only where there is a journal

    def send(priority: int, message: str, fields: Record) -> None:
        systemd.journal.send(message, PRIORITY=str(priority), SYSLOG_IDENTIFIER="oomd", **fields)

    return send


def tell_journal(records: Iterable[Record]) -> None:
    """All of it, in order. Raises what the journal's library raises."""
    send = _sender()
    for record in records:
        for priority, message, fields in entries(record):
            send(priority, message, fields)
