"""Decisions of the daemon's own, from the records that it keeps: the same again, bit by bit?"""

import json
from collections.abc import Callable
from typing import BinaryIO

from oomd.records.fields import BadRecord
from oomd.records.load import load_record
from oomd.records.replay import replay_record
from oomd.records.text import replayed_as_json, replayed_as_text, split_records
from oomd.replay.as_text import Shown
from oomd.replay.sources import ReplayError

__all__ = ["replay_decisions"]


def replay_decisions(
    name: str, stream: BinaryIO, show: Callable[[Shown], None], *, as_objects: bool
) -> int:
    """Show each of the records in ``stream``; how many of them differ. Raises ReplayError."""
    found = split_records(stream.read())
    differ = 0
    for number, data in enumerate(found, 1):
        try:
            recorded = load_record(data)
        except BadRecord as error:
            where = name if len(found) == 1 else f"{name}: record {number}"
            raise ReplayError(f"{where}: {error}") from None
        replayed = replay_record(recorded)
        differ += bool(replayed.differences)
        if as_objects:
            show(Shown(json.dumps(replayed_as_json(recorded, replayed))))
            continue
        style = "bold red" if replayed.differences else "green"
        *lines, last = replayed_as_text(recorded, replayed)
        for line in lines:
            show(Shown(line))
        show(Shown(last, style))
    if len(found) > 1 and not as_objects:
        words = f"{len(found)} decisions: {len(found) - differ} the same, {differ} differ"
        show(Shown(words, "bold red" if differ else "bold"))
    return differ
