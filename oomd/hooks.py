"""Tells the worker when memory gets short and when somebody was killed, for the settings
``[hooks]``: what programs and people are told is its work, and nobody here waits for it.

Part of the sentinel, and loaded only where somebody is to be told.
"""

from oomd.event import Look
from oomd.lean import deque
from oomd.mm_types import MemInfo
from oomd.settings import ExhaustionSettings, HookSettings, Settings
from oomd.thresholds import exhaustion, exhaustion_limit_kib, headroom_kib, sleep_ms
from oomd.typed import Any, Callable

__all__ = ["LOOK_MS", "Hooks"]

Record = dict[str, Any]
Message = dict[str, Any]

# A warning may be late by this: no reason to look as often as for a kill.
LOOK_MS = 500
# No reason to look at all, while no warning is due.
_NEVER_MS = 1 << 30

# Memory has to grow by a quarter before it can get short again.
_AGAIN = 1.25

# What a storm may pile up until the worker can be told; the oldest go first.
_MESSAGES = 16
_KILLS = 16
# The path of a control group may be longer than a message.
_CHARACTERS = 500


def _scaled(settings: HookSettings, factor: float) -> ExhaustionSettings:
    return ExhaustionSettings(
        settings.available_percent * factor,
        int(settings.available_max_mib * factor),
        min(settings.swap_free_percent * factor, 100.0),
    )


def _memory(meminfo: MemInfo) -> Record:
    return {
        "mem_available_kib": meminfo.mem_available_kib,
        "mem_total_kib": meminfo.mem_total_kib,
        "swap_free_kib": meminfo.swap_free_kib,
        "swap_total_kib": meminfo.swap_total_kib,
    }


def _kill(record: Record) -> Record:
    """The facts of a kill, from the record of its decision."""
    victim = record["victims"][0]
    facts = {f"victim_{name}": victim.get(name) for name in ("pid", "comm", "uid", "unit")}
    facts["victim_cgroup"] = str(victim.get("cgroup", ""))[:_CHARACTERS]
    facts["victim_unit"] = str(victim.get("unit", ""))[:_CHARACTERS]
    for name in ("trigger", "policy", "points", "score", "totalpages"):
        facts[name] = record[name]
    facts["victims"] = len(record["victims"])
    return facts


class Hooks:
    """What is to be told, and when. Never waits."""

    def __init__(
        self,
        settings: Settings,
        cpus: int,
        send: Callable[[Message], bool],
        say_event: Callable[[str, str], None],
    ) -> None:
        """``send`` gives the worker a message and says whether it took it: what it did not is kept.

        ``say_event`` takes what has happened, a key of MESSAGE_IDS, and a line for the log.
        """
        self._cpus = cpus
        self._send = send
        self._say_event = say_event
        self._waiting: deque[Message] = deque(maxlen=_MESSAGES)
        self._kills: dict[tuple[int, int], Record] = {}
        self._armed = True
        self._not_before_ms = 0
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Take new settings; whoever was warned stays warned."""
        self._settings = settings.hooks
        self._watch = settings.watch
        self._short = _scaled(settings.hooks, 1)
        self._enough = _scaled(settings.hooks, _AGAIN)

    # --- before

    def look(self, look: Look) -> int:
        """In the calm: tell what there is to tell. How long the next look may be away, in ms."""
        may_be_ms = self._look(look) if self._settings.warns else _NEVER_MS
        while self._waiting and self._send(self._waiting[0]):
            self._waiting.popleft()
        return may_be_ms

    def _look(self, look: Look) -> int:
        meminfo = look.meminfo
        if not self._armed:
            # Who was told once is not told again before it was over.
            self._armed = not exhaustion(meminfo, self._enough).crossed
        if not self._armed or look.now_ms < self._not_before_ms:
            return _NEVER_MS
        if exhaustion(meminfo, self._short).crossed:
            self._warn(look)
            return _NEVER_MS
        return max(sleep_ms(headroom_kib(meminfo, self._short), self._watch, self._cpus), LOOK_MS)

    def _warn(self, look: Look) -> None:
        self._armed = False
        self._not_before_ms = look.now_ms + self._settings.again_s * 1000
        meminfo = look.meminfo
        limit_kib = exhaustion_limit_kib(meminfo, self._short)
        swap = f", free swap {meminfo.swap_free_kib >> 10} MiB" if meminfo.swap_total_kib else ""
        self._say_event(
            "warned",
            f"memory is getting short: MemAvailable {meminfo.mem_available_kib >> 10} MiB{swap}; "
            f"warned at {limit_kib >> 10} MiB, acts at {look.limit_kib >> 10} MiB",
        )
        self._post("warn", {**_memory(meminfo), "limit_kib": look.limit_kib})

    # --- after

    def told(self, record: Record) -> None:
        """Every record that is told: of a kill, and of how it ended."""
        if not self._settings.tells_kills:
            return
        if record["kind"] == "decision":
            if record["verdict"] == "kill" and record["victims"]:
                victim = record["victims"][0]
                while len(self._kills) >= _KILLS:
                    del self._kills[next(iter(self._kills))]
                self._kills[victim["pid"], victim["starttime_ticks"]] = _kill(record)
        elif record["kind"] == "settled" and "task" in record:
            pid, starttime_ticks = record["task"]
            kill = self._kills.pop((pid, starttime_ticks), None)
            if kill is not None:
                self._post("killed", {**kill, **record["fields"]})

    def _post(self, event: str, facts: Record) -> None:
        self._waiting.append({"op": "hook", "event": event, "facts": facts})
