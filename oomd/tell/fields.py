"""The fields of an entry of the journal, ``OOMD_*``, from the records. README lists them all."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from oomd.config import one_line

__all__ = ["decision_fields", "settled_fields", "victims_by_ident"]

Record = dict[str, Any]

# systemd.unit(5): what a unit's name may consist of. A user names his control groups as he likes.
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]{1,250}\.(service|scope|socket|mount|swap)", re.ASCII)

# The step that had the last word, where it is not the fifth.
_STEPS = {"freed": 1, "let_exit": 2, "none_killable": 6}


def _shown(fields: Record) -> dict[str, str]:
    """As the journal takes them; whatever a record holds, nothing comes out unfit to be shown."""
    return {name: one_line(str(value)) for name, value in fields.items() if value is not None}


def _unit_fields(victim: Record) -> Record:
    """``journalctl -u UNIT`` shows these entries too: journald(8), OBJECT_SYSTEMD_UNIT=."""
    unit, cgroup = victim.get("unit", ""), victim.get("cgroup", "")
    if not cgroup:
        return {}
    fields = {"OOMD_VICTIM_CGROUP": cgroup}
    if _UNIT.fullmatch(unit):
        user = re.search(r"/user@\d+\.service/", cgroup) is not None
        fields["OOMD_VICTIM_UNIT"] = unit
        fields["OBJECT_SYSTEMD_USER_UNIT" if user else "OBJECT_SYSTEMD_UNIT"] = unit
    return fields


def _victim_fields(victim: Record) -> Record:
    return {
        "OOMD_VICTIM_PID": victim["pid"],
        "OOMD_VICTIM_COMM": victim["comm"],
        "OOMD_VICTIM_UID": victim["uid"],
        **_unit_fields(victim),
    }


def _step(record: Record) -> str:
    """Which of the seven steps has decided, by the kernel's name."""
    decision = record["decision"]
    number = decision.get("step") or _STEPS.get(decision["verdict"], 5)
    if decision["verdict"] == "kill" and "allocating_task" in str(decision.get("message", "")):
        number = 4
    found: str = next((one["name"] for one in record["trace"] if one["step"] == number), "")
    return found


def _rule_fields(record: Record) -> Record:
    """The rule of the one that was chosen, and whom the kernel alone would have chosen."""
    detail: Record = next((one["detail"] for one in record["trace"] if one["step"] == 5), {})
    return {
        f"OOMD_{name.upper()}": detail.get(name)
        for name in ("rule", "rule_adj", "without_rules_pid", "without_rules_rule")
    }


def decision_fields(record: Record) -> dict[str, str]:
    """Of every entry that belongs to a decision."""
    fields: Record = {
        "OOMD_VERDICT": record["verdict"],
        "OOMD_TRIGGER": record["trigger"],
        "OOMD_STEP": _step(record) or None,
        "OOMD_POLICY": record["policy"],
        "OOMD_CONSTRAINT": record["constraint"],
        "OOMD_TOTALPAGES": record["totalpages"],
        "OOMD_SCAN_USEC": record["scan_us"],
        "OOMD_TASKS_SEEN": record["tasks_seen"],
        "OOMD_MEM_AVAILABLE_KIB": record["meminfo"]["mem_available_kib"],
        "OOMD_SWAP_FREE_KIB": record["meminfo"]["swap_free_kib"],
    }
    for name in ("points", "score", "signal_after_ms"):
        fields[f"OOMD_{name.upper()}"] = record.get(name)
    fields |= _rule_fields(record)
    fields["OOMD_RECORD"] = record.get("file")
    if record["victims"]:
        fields |= _victim_fields(record["victims"][0])
        fields["OOMD_VICTIMS"] = " ".join(str(one["pid"]) for one in record["victims"])
    return _shown(fields)


def victims_by_ident(records: Iterable[Record]) -> dict[tuple[int, int], Record]:
    """The victims of these decisions, by pid and start time."""
    victims = (one["victims"][0] for one in records if one.get("victims"))
    return {(one["pid"], one["starttime_ticks"]): one for one in victims}


def settled_fields(record: Record, victims: Mapping[tuple[int, int], Record]) -> dict[str, str]:
    """Of how a kill ended; with more of the victim where its decision is at hand."""
    fields: Record = {f"OOMD_{name.upper()}": value for name, value in record["fields"].items()}
    ident = record.get("task")
    victim = victims.get((ident[0], ident[1])) if ident else None
    return _shown(fields | _victim_fields(victim) if victim is not None else fields)
