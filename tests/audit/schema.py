"""Schema 1 of ``oomd --dry-run --json``, key by key, and what of it an audit does not keep to."""

from typing import Any, NamedTuple

__all__ = ["SCHEMA", "Maybe", "MapOf", "OneOf", "problems"]


class Maybe(NamedTuple):
    """Null, or this."""

    spec: Any


class OneOf(NamedTuple):
    """One of these values."""

    values: tuple[str | int, ...]


class MapOf(NamedTuple):
    """An object with any keys, and values of these types."""

    types: tuple[type, ...]


_SCALARS = MapOf((bool, int, float, str, type(None)))
_STALL = {"avg10_percent": float, "avg60_percent": float, "avg300_percent": float, "total_us": int}

SCHEMA = {
    "schema": OneOf((1,)),
    "policy": OneOf(("el7", "mainline")),
    "kernel": str,
    "page_size_bytes": int,
    "sysctls": {
        "vm.panic_on_oom": int,
        "vm.oom_kill_allocating_task": int,
        "vm.oom_dump_tasks": int,
    },
    "meminfo": dict.fromkeys(
        (
            "mem_total_kib",
            "mem_free_kib",
            "mem_available_kib",
            "swap_total_kib",
            "swap_free_kib",
            "buffers_kib",
            "cached_kib",
            "shmem_kib",
            "slab_kib",
            "slab_reclaimable_kib",
            "hugetlb_kib",
            "mlocked_kib",
            "anon_pages_kib",
        ),
        int,
    ),
    "zram": [{"name": str, "disk_size_bytes": int, "mem_used_bytes": Maybe(int)}],
    "pressure": Maybe({"some": _STALL, "full": _STALL}),
    "thresholds": [
        {
            "name": OneOf(("exhaustion", "stall")),
            "value": Maybe((int, float)),
            "limit": (int, float),
            "unit": OneOf(("KiB", "%")),
            "crossed": bool,
            "verdict": str,
            "detail": _SCALARS,
        }
    ],
    "would_act_now": bool,
    "decision": {
        "verdict": OneOf(("kill", "let_exit", "wait", "panic", "freed", "none_killable")),
        "constraint": OneOf(
            (
                "CONSTRAINT_NONE",
                "CONSTRAINT_CPUSET",
                "CONSTRAINT_MEMORY_POLICY",
                "CONSTRAINT_MEMCG",
            )
        ),
        "totalpages": int,
        "message": Maybe(str),
        "chosen": Maybe({"pid": int, "comm": str, "points": int, "score": int}),
        "without_rules": Maybe({"pid": int, "comm": str, "points": int, "score": int}),
        "victims": [
            {
                "pid": int,
                "comm": str,
                "why": OneOf(("chosen", "child", "sharing_mm", "oom_group")),
            }
        ],
        "trace": [
            {
                "step": OneOf((1, 2, 3, 4, 5, 6, 7)),
                "name": str,
                "verdict": str,
                "detail": _SCALARS,
            }
        ],
    },
    "tasks": [
        {
            "pid": int,
            "ppid": int,
            "uid": Maybe(int),
            "comm": str,
            "state": str,
            "rss_pages": int,
            "pgtables_pages": int,
            "swapents_pages": int,
            "oom_score_adj": int,
            "cap_sys_admin": bool,
            "starttime_ticks": int,
            "points": Maybe(int),
            "eligible": bool,
            "reason": str,
            "points_without_rules": Maybe(int),
            "ruling": Maybe(
                {"rule": str, "adj": int, "never": bool, "small": bool, "unread": bool}
            ),
        }
    ],
    "notes": [str],
    "scan_us": int,
}


def _of_type(value: object, types: tuple[type, ...]) -> bool:
    # Exactly: to isinstance() True is a number.
    return type(value) in types


def _object(value: Any, spec: dict[str, Any], where: str) -> list[str]:
    if not isinstance(value, dict):
        return [f"{where}: not an object"]
    found = [f"{where}.{key}: missing" for key in spec if key not in value]
    found += [f"{where}.{key}: not in the schema" for key in value if key not in spec]
    for key in spec.keys() & value.keys():
        found += problems(value[key], spec[key], f"{where}.{key}")
    return found


def problems(value: Any, spec: Any = SCHEMA, where: str = "$") -> list[str]:
    """All that is wrong with ``value``, each with its place."""
    match spec:
        case Maybe():
            return [] if value is None else problems(value, spec.spec, where)
        case OneOf():
            good = _of_type(value, (str, int)) and value in spec.values
            return [] if good else [f"{where}: {value!r} is none of {spec.values}"]
        case MapOf():
            if not isinstance(value, dict):
                return [f"{where}: not an object"]
            return [f"{where}.{k}: {v!r}" for k, v in value.items() if not _of_type(v, spec.types)]
        case dict():
            return _object(value, spec, where)
        case list():
            if not isinstance(value, list):
                return [f"{where}: not a list"]
            return [
                p for n, one in enumerate(value) for p in problems(one, spec[0], f"{where}[{n}]")
            ]
        case _:
            types = spec if isinstance(spec, tuple) else (spec,)
            return [] if _of_type(value, types) else [f"{where}: {value!r} is no {spec}"]
