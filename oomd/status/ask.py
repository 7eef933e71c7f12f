"""The running daemon's state, asked for over its socket, as one JSON object (schema 1)."""

import os
from collections.abc import Mapping
from typing import Any, Final

from oomd import wire
from oomd.client import ClientError
from oomd.client.protocol import SOCKET as NOTIFY_SOCKET
from oomd.client.protocol import NobodyThere
from oomd.client.question import ask
from oomd.tell.record_files import file_name

__all__ = [
    "CONTROL_SOCKET",
    "EXIT_NOT_RUNNING",
    "NOT_RUNNING",
    "State",
    "ask_control",
    "read_state",
]

CONTROL_SOCKET: Final = "/run/oomd/control.sock"
"""Where the daemon answers."""

EXIT_NOT_RUNNING: Final = 3
"""As systemctl status has it."""

NOT_RUNNING: Final = "oomd is not running: systemctl start oomd"

# The daemon answers at its next turn; one that does not within this is in trouble. While it is
# flooded, it takes a few questions a second.
PATIENCE_S = 5.0
ROOM_S = 10
# The worker answers while it has nothing more important to do.
WORKER_S = 2.0

State = dict[str, Any]

# What every daemon tells of itself.
_ALWAYS = ("version", "pid", "since", "state", "pause_left_ms", "policy")


def ask_control(path: str, question: wire.Message) -> list[dict[str, Any]]:
    """The daemon's answers. Raises NobodyThere, NotRunning and Refused."""
    return ask(path, question, PATIENCE_S, "control.group", ROOM_S)


def _bare(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "op"}


def _notifiers(worker: Mapping[str, Any], notify_path: str) -> tuple[list[dict[str, Any]], str]:
    """Those that are registered, and why that is not known. A worker is never started for it."""
    if not worker.get("running"):
        return [], ""
    try:
        return [_bare(one) for one in ask(notify_path, {"op": "list"}, WORKER_S)], ""
    except ClientError as error:
        return [], f"the notifiers are not known: {error}"


def _decision(message: Mapping[str, Any], folder: str) -> dict[str, Any]:
    decision = _bare(message)
    name = file_name({**decision, "time": float(decision["time"])})
    decision["record"] = os.path.join(folder, name) if folder else None
    return decision


def _sorted(messages: list[dict[str, Any]], notify_path: str) -> State:
    by_op: dict[str, list[dict[str, Any]]] = {}
    for message in messages:
        by_op.setdefault(message["op"], []).append(_bare(message))

    def one(op: str) -> dict[str, Any] | None:
        return by_op.get(op, [None])[0]

    daemon, counters = by_op["status_daemon"][0], by_op["status_counters"][0]
    missing = [name for name in _ALWAYS if name not in daemon]
    if missing:
        raise KeyError(missing[0])
    worker = one("status_worker") or {}
    settings: dict[str, Any] = {}
    for table in by_op.get("status_settings", ()):
        if table["table"]:
            settings[table["table"]] = table["values"]
        else:
            settings |= table["values"]
    notifiers, why_not = _notifiers(worker, notify_path)
    notes = [why_not] if why_not else []
    notes += [f"memory cannot be read: {each['error']}" for each in by_op.get("status_blind", ())]
    notes += [f"{each['what']} was left out: {each['why']}" for each in by_op.get("left_out", ())]
    folder = daemon.get("records") or ""
    return {
        "schema": 1,
        "running": True,
        **daemon,
        "memory": one("status_memory"),
        "thresholds": by_op.get("status_threshold", []),
        "waits": one("status_waits"),
        "settings": settings,
        "worker": worker,
        "notifiers": notifiers,
        "victims": by_op.get("status_victim", []),
        "decisions": [_decision(each, folder) for each in by_op.get("status_decision", ())],
        "counters": counters,
        "notes": notes,
    }


def read_state(path: str = CONTROL_SOCKET, notify_path: str = NOTIFY_SOCKET) -> State | None:
    """All that the daemon tells; None: none is running. Raises ClientError.

    ``notify_path`` is where its worker is asked, and only if there is one.
    """
    try:
        messages = ask_control(path, {"op": "status"})
    except NobodyThere:
        return None
    try:
        return _sorted(messages, notify_path)
    except (KeyError, TypeError, ValueError) as error:
        raise ClientError(f"{path} sent {error!r}: is this oomd, of this version?") from None
