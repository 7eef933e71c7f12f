"""Samples of what oomd writes itself: made anew, as their fields grow with the program."""

import json

from oomd.config import bare_plan, to_lines
from oomd.mm.policy import POLICIES
from oomd.mm_types import Sysctls
from oomd.oom import Notified, NotifierChain, OomControl
from oomd.settings import NotifierSettings, Settings
from tests.mm.machine import machine, task
from tests.mm.strategies import Question
from tests.records.kept import Asked, in_full, record_of

__all__ = ["lines", "plan", "record", "records"]

_BUILTIN = {"name": "balloon", "priority": 80, "deadline_ms": 200, "options": {"size_mib": 128}}
_PLUGINS = (
    {"source": "/etc/oomd/notifiers.d/mine.py"},
    {"source": "entry point x", "module": "a.b", "attr": "c", "distribution": "a 1"},
)


def lines() -> tuple[bytes, ...]:
    """The settings on their way to the daemon."""
    rules = "name=a%20b never unit=db*.service cgroup=/[a-z]*; name=c adj=-9 comm=x? uid=5-7"
    asked = (Settings(), Settings(rules=rules))
    return tuple(to_lines(settings).encode() for settings in asked)


def plan() -> tuple[bytes, ...]:
    """The worker's."""
    whole = json.loads(bare_plan(NotifierSettings()))
    whole |= {"builtin": [_BUILTIN], "plugins": _PLUGINS, "options": {"mine": {"keep_mib": 16}}}
    return (json.dumps(whole).encode(),)


def record(policy: str) -> bytes:
    """A decision's."""
    tasks = [task(1), task(10, 500_000, comm="hog"), task(11, 5)]
    chain = NotifierChain((Notified("b", 80, 5, "claims", 3, 1, None),), True, 0, False)
    question = Question(OomControl(), machine(tasks, tasks_seen=3))
    child = task(20, 400_000, comm="child", ppid=10)
    asked = Asked(question, POLICIES[policy], Sysctls(), chain, (child,), 10)
    content = json.loads(in_full(record_of(asked)))
    # The same each time it is run.
    content["time"] = 1_795_000_000.5
    return json.dumps(content).encode()


def records() -> tuple[bytes, ...]:
    """Of each policy."""
    return tuple(record(policy) for policy in POLICIES)
