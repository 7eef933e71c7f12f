"""When the guard has somebody told: the softer threshold, and the ends of kills."""

from collections.abc import Callable
from typing import Any

import pytest

from oomd import wire
from oomd.announcer import Announcer
from oomd.event import Look
from oomd.hooks import LOOK_MS, Hooks
from oomd.mm_types import MemInfo
from oomd.settings import HookSettings, Settings

MIB = 1024
TOTAL_MIB = 8000
# 10 % of it; exhaustion's 5 % are 400.
SHORT_MIB, ENOUGH_MIB = 800, 1000


def look(available_mib: int, now_ms: int = 0, *, swap_free_mib: int | None = None) -> Look:
    swap_kib = 0 if swap_free_mib is None else 1000 * MIB
    meminfo = MemInfo(
        mem_total_kib=TOTAL_MIB * MIB,
        mem_free_kib=0,
        mem_available_kib=available_mib * MIB,
        swap_total_kib=swap_kib,
        swap_free_kib=(swap_free_mib or 0) * MIB,
    )
    return Look(now_ms, meminfo, None, (), None, 0, 0, limit_kib=400 * MIB, guard_kib=0)


class Telling:
    """The hooks, a worker that may not listen, and all that was said."""

    def __init__(self, **settings: Any) -> None:
        self.listens = True
        self.messages: list[dict[str, Any]] = []
        self.said: list[tuple[str, str]] = []
        self.told: list[dict[str, Any]] = []
        send, say = self._send, lambda event, text: self.said.append((event, text))
        self.announcer = Announcer(self.told.append, send, say)
        self.settings = Settings(hooks=HookSettings(**settings))
        self.hooks = Hooks(self.settings, 2, send, say)

    def _send(self, message: dict[str, Any]) -> bool:
        if self.listens:
            # As the channel does it.
            self.messages.append(wire.decode(wire.encode(message)))
        return self.listens

    def events(self) -> list[str]:
        return [message["event"] for message in self.messages]


WARN = "/usr/local/sbin/warn"


def test_who_crosses_is_warned_once_until_there_was_enough_again() -> None:
    telling = Telling(warn=WARN, again_s=1)
    hooks = telling.hooks
    for number, available_mib in enumerate((2000, SHORT_MIB + 1, SHORT_MIB, 500, SHORT_MIB + 50)):
        hooks.look(look(available_mib, number * 2000))
    assert telling.events() == ["warn"]
    assert telling.said == [
        (
            "warned",
            "memory is getting short: MemAvailable 800 MiB; warned at 800 MiB, acts at 400 MiB",
        )
    ]
    # A quarter more than it takes to warn, and not a byte less.
    hooks.look(look(ENOUGH_MIB, 20_000))
    hooks.look(look(SHORT_MIB, 22_000))
    assert telling.events() == ["warn"]
    hooks.look(look(ENOUGH_MIB + 1, 24_000))
    hooks.look(look(SHORT_MIB, 26_000))
    assert telling.events() == ["warn", "warn"]


def test_it_is_not_repeated_sooner_than_is_wanted() -> None:
    telling = Telling(warn=WARN, again_s=60)
    for now_ms in range(0, 59_000, 1000):
        telling.hooks.look(look(5000, now_ms))
        telling.hooks.look(look(500, now_ms + 1))
    assert telling.events() == ["warn"]
    telling.hooks.look(look(5000, 60_002))
    telling.hooks.look(look(500, 60_003))
    assert telling.events() == ["warn", "warn"]


def test_with_free_swap_nothing_is_short() -> None:
    telling = Telling(warn=WARN)
    telling.hooks.look(look(500, swap_free_mib=251))
    assert telling.events() == []
    telling.hooks.look(look(500, swap_free_mib=250))
    assert telling.events() == ["warn"]
    assert "free swap 250 MiB" in telling.said[0][1]
    assert telling.messages[0]["facts"]["swap_free_kib"] == 250 * MIB


def test_the_facts_of_a_warning() -> None:
    telling = Telling(warn=WARN)
    telling.hooks.look(look(700))
    assert telling.messages == [
        {
            "op": "hook",
            "event": "warn",
            "facts": {
                "mem_available_kib": 700 * MIB,
                "mem_total_kib": TOTAL_MIB * MIB,
                "swap_free_kib": 0,
                "swap_total_kib": 0,
                "limit_kib": 400 * MIB,
            },
        }
    ]


def test_the_next_look_comes_before_the_warning_would_be_late() -> None:
    telling = Telling(warn=WARN)
    far_ms = telling.hooks.look(look(7900))
    near_ms = telling.hooks.look(look(SHORT_MIB + 1))
    # Two processors at 3,600 MiB/s each.
    assert far_ms == (7900 - SHORT_MIB) * 1000 // 7200
    # No reason to look as often as for a kill.
    assert near_ms == LOOK_MS
    # Once warned, the guard's own looks do.
    assert telling.hooks.look(look(500)) > 3_600_000
    assert telling.hooks.look(look(SHORT_MIB + 1)) > 3_600_000


def test_for_kills_alone_there_is_no_threshold_to_watch() -> None:
    telling = Telling(killed=WARN)
    assert telling.hooks.look(look(500)) > 3_600_000
    assert (telling.messages, telling.said) == ([], [])


# --- after a kill

VICTIM: dict[str, Any] = {
    "pid": 10,
    "starttime_ticks": 7,
    "comm": "hog",
    "uid": 26,
    "why": "chosen",
}
VICTIM |= {"unit": "db.service", "cgroup": "/system.slice/db.service"}


def decision(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "kind": "decision",
        "verdict": "kill",
        "trigger": "exhaustion",
        "policy": "el7",
    }
    record |= {"points": 5, "score": 1, "totalpages": 9, "victims": [VICTIM]}
    return {**record, **changes}


def settled(pid: int = 10) -> dict[str, Any]:
    fields = {"victim_pid": pid, "end": "gone", "took_ms": 3, "freed_kib": 2048, "held_kib": 4096}
    return {"kind": "settled", "text": "", "fields": fields, "task": [pid, 7]}


def test_a_kill_is_told_with_its_end_when_it_is_calm() -> None:
    telling = Telling(killed=WARN)
    telling.hooks.told(decision())
    telling.hooks.look(look(5000))
    assert telling.messages == []
    telling.hooks.told(settled())
    assert telling.messages == []
    telling.hooks.look(look(5000))
    ((message),) = telling.messages
    assert message["event"] == "killed"
    assert message["facts"] == {
        "victim_pid": 10,
        "victim_comm": "hog",
        "victim_uid": 26,
        "victim_unit": "db.service",
        "victim_cgroup": "/system.slice/db.service",
        "victims": 1,
        "trigger": "exhaustion",
        "policy": "el7",
        "points": 5,
        "score": 1,
        "totalpages": 9,
        "end": "gone",
        "took_ms": 3,
        "freed_kib": 2048,
        "held_kib": 4096,
    }


def test_who_was_not_killed_is_not_told_of() -> None:
    telling = Telling(killed=WARN)
    telling.hooks.told(decision(verdict="missed", victims=[]))
    telling.hooks.told(decision(verdict="wait", victims=[]))
    telling.hooks.told(settled())
    telling.hooks.told({"kind": "settled", "text": "", "fields": {}})
    telling.hooks.look(look(5000))
    assert telling.messages == []


def test_what_the_worker_cannot_take_is_kept_within_bounds() -> None:
    telling = Telling(killed=WARN)
    telling.listens = False
    for pid in range(100):
        telling.hooks.told(decision(victims=[{**VICTIM, "pid": pid}]))
        telling.hooks.told(settled(pid))
        telling.hooks.look(look(5000))
    telling.listens = True
    telling.hooks.look(look(5000))
    assert [m["facts"]["victim_pid"] for m in telling.messages] == list(range(84, 100))
    # Kills whose end is never told do not pile up either.
    for pid in range(100):
        telling.hooks.told(decision(victims=[{**VICTIM, "pid": pid}]))
    telling.hooks.told(settled(0))
    telling.hooks.told(settled(99))
    telling.hooks.look(look(5000))
    assert telling.messages[-1]["facts"]["victim_pid"] == 99
    assert len(telling.messages) == 17


def test_the_longest_names_fit_into_a_message() -> None:
    telling = Telling(killed=WARN)
    long = {"unit": "\\x1b" * 255, "cgroup": "\u00e9" * 4000, "comm": "\\xff" * 15}
    telling.hooks.told(decision(victims=[{**VICTIM, **long}]))
    telling.hooks.told(settled())
    telling.hooks.look(look(5000))
    assert len(telling.messages) == 1


# --- loaded only where it is wanted


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [({}, False), ({"warn": WARN}, True), ({"killed": WARN}, True), ({"wall": True}, True)],
)
def test_records_pass_through_whether_or_not_there_are_hooks(
    settings: dict[str, Any], wanted: bool
) -> None:
    telling = Telling(**settings)
    calm: Callable[[Look], int] | None = telling.announcer.configure(telling.settings)
    assert (calm is not None) == wanted
    for record in (decision(), settled()):
        telling.announcer.tell(record)
    if calm is not None:
        calm(look(5000))
    assert telling.told == [decision(), settled()]
    assert bool(telling.messages) == ("killed" in settings or "wall" in settings)


def test_who_was_warned_stays_warned_over_a_reload() -> None:
    telling = Telling(warn=WARN)
    calm = telling.announcer.configure(telling.settings)
    assert calm is not None
    calm(look(500))
    calm = telling.announcer.configure(telling.settings)
    assert calm is not None
    calm(look(500))
    assert telling.events() == ["warn"]
    assert telling.announcer.configure(Settings()) is None
