"""Replayed decisions for a person and as data."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from oomd.config import one_line
from oomd.records.load import Recorded
from oomd.records.replay import Difference, Replayed

__all__ = ["begins_as_record", "replayed_as_json", "replayed_as_text", "split_records"]

_NAME_WIDTH = 26
# Of one value; a step's verdict is no longer.
_SHOWN = 120
_DIFFERENCES_SHOWN = 20

# The first key that the daemon writes, whoever has laid out the JSON since.
_BEGINNING = re.compile(rb'\s*\{\s*"kind"\s*:\s*"decision"')


def begins_as_record(head: bytes) -> bool:
    """The first bytes of a file are those of a decision's record, not of a kernel's log."""
    return _BEGINNING.match(head) is not None


def split_records(data: bytes) -> list[bytes]:
    """One record, however it is laid out; or several, each on a line of its own."""
    lines = [line for line in data.splitlines() if line.strip()]
    return lines if all(map(begins_as_record, lines)) else [data]


def _value(text: str) -> str:
    if not text:
        return "nothing"
    return one_line(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


def _difference(one: Difference) -> str:
    return f"{one_line(one.where)}: {_value(one.recorded)} then, {_value(one.replayed)} now"


def replayed_as_text(recorded: Recorded, replayed: Replayed) -> Iterator[str]:
    """In lines: what it was, the steps, and whether it is the same again."""
    about, trace = recorded.about, recorded.answer.trace
    when = datetime.fromtimestamp(about.time_s, UTC)
    verdict = about.verdict.replace("_", " ")
    victims = f" {', '.join(about.victims)}" if about.victims else ""
    yield one_line(f"{when:%Y-%m-%d %H:%M:%S} UTC, at {about.trigger}: {verdict}{victims}")
    kernel = recorded.snapshot.kernel or "not named"
    yield one_line(f"   kernel {kernel}, policy {recorded.policy.name}")
    if about.settled:
        yield one_line(f"   {about.settled}")
    for step in trace:
        yield one_line(f"   {step['step']}  {step['name']:{_NAME_WIDTH}}{step['verdict']}")
    if not replayed.differences:
        held = len(recorded.snapshot.tasks)
        yield f"   the same decision again, bit by bit: {len(trace)} steps, {held} candidates"
        return
    count = len(replayed.differences)
    yield f"   DIFFERS in {count} place{'' if count == 1 else 's'}"
    for one in replayed.differences[:_DIFFERENCES_SHOWN]:
        yield f"      {_difference(one)}"


def replayed_as_json(recorded: Recorded, replayed: Replayed) -> dict[str, Any]:
    """The same as an object."""
    return {
        "kind": "replayed_decision",
        "schema": 1,
        "time": recorded.about.time_s,
        "policy": recorded.policy.name,
        "same": not replayed.differences,
        "differences": [one._asdict() for one in replayed.differences],
        "decision": recorded.answer.decision,
        "trace": recorded.answer.trace,
    }
