"""A decision's record in one sentence: what made it, and what came of it."""

from oomd.event import MANUAL
from oomd.report.record import Record

__all__ = ["CHARACTERS", "sentence"]

# A comm may be escaped to four times its length.
CHARACTERS = 400


def _why(record: Record) -> str:
    """What made it decide."""
    if record["trigger"] == MANUAL:
        return "asked for by hand"
    for one in record["thresholds"]:
        if one["name"] == record["trigger"]:
            return str(one["verdict"])
    return str(record["trigger"])


def _chosen(record: Record) -> str:
    """Why it was this one: what step 5 says, or step 4 before it."""
    verdicts = {one["step"]: str(one["verdict"]) for one in record["trace"]}
    worst = verdicts.get(5, "not reached")
    return verdicts.get(4, "") if worst == "not reached" else worst


def sentence(record: Record) -> str:
    """What was decided, and why: at most 400 characters."""
    victims = record["victims"]
    if not victims:
        words = str(record.get("done", record["verdict"]))
    else:
        first = victims[0]
        words = f"killed {first['pid']} ({first['comm']}), {_chosen(record)}"
        if record.get("points"):
            words += f" with {record['points']} of {record['totalpages']} points"
        if len(victims) > 1:
            words += f", and {len(victims) - 1} more with it"
    return f"{_why(record)}: {words}"[:CHARACTERS]
