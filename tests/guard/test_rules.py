"""Rules in the loop: put into force once, read ahead in the calm, and never while somebody dies."""

import subprocess
import sys
from pathlib import Path

from oomd.config import from_lines, to_lines
from oomd.event import MANUAL, Event
from oomd.oom import Kill
from oomd.rules.glob import Glob
from oomd.rules.rule import Rule, rules_as_text
from oomd.settings import KillSettings, Settings
from tests.audit.machines import AMPLE, SHORT
from tests.guard.fake_act import Guarded
from tests.roots import Cgroup

KEEP = Rule("keep", never=True, units=(Glob("hog.service"),))
CGROUPS: list[Cgroup] = [{"path": "/system.slice/hog.service", "pids": [10]}]


def settings(*rules: Rule, **kill: object) -> Settings:
    return Settings(rules=rules_as_text(rules), kill=KillSettings(**kill))  # type: ignore[arg-type]


def chosen(guarded: Guarded) -> int:
    guarded.guard.ask()
    guarded.turn()
    event: Event = guarded.act.events[-1]
    assert event.trigger == MANUAL
    assert isinstance(event.decision, Kill)
    return event.decision.chosen.pid


def test_a_rule_is_in_force_from_the_start(tmp_path: Path) -> None:
    assert chosen(Guarded(tmp_path / "a")) == 10
    by_comm = settings(Rule("r", never=True, comms=(Glob("ho*"),)))
    assert chosen(Guarded(tmp_path / "b", by_comm)) == 11
    guarded = Guarded(tmp_path / "c", settings(KEEP), cgroups=CGROUPS, cgroup_version=2)
    assert chosen(guarded) == 11
    event = guarded.act.events[-1]
    assert event.decision.trace[4].detail["without_rules_rule"] == "keep"
    # The child that would die in its parent's place is judged by the same rules.
    assert event.case.oc.rules is not None


def test_a_minimum_size_in_pages_of_the_machine(tmp_path: Path) -> None:
    # The hog has 500,000 pages, 1,953 MiB.
    assert chosen(Guarded(tmp_path / "a", settings(min_size_mib=1953))) == 10
    guarded = Guarded(tmp_path / "b", settings(min_size_mib=1954))
    guarded.guard.ask()
    guarded.turn()
    assert not isinstance(guarded.act.events[-1].decision, Kill)


def test_who_has_moved_is_seen_in_the_calm_and_not_while_memory_is_short(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, settings(KEEP), cgroups=CGROUPS, cgroup_version=2)
    assert chosen(guarded) == 11
    procs = tmp_path / "sys/fs/cgroup/system.slice/hog.service/cgroup.procs"
    procs.write_text("")
    guarded.act.holds = 50
    guarded.memory(SHORT)
    rules = guarded.guard._rules
    assert rules is not None and rules._reader is not None
    # As if the last look were long past: it is time for another round.
    rules._reader._looked_ms = 1
    guarded.turn(3)
    assert rules.book.places.bits == {10: 1}
    guarded.act.holds = None
    guarded.memory(AMPLE)
    guarded.turn()
    assert rules.book.places.bits == {}
    assert chosen(guarded) == 10


def test_what_is_worth_a_word_about_them_is_said(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path, settings(KEEP), cgroups=CGROUPS, cgroup_version=2)
    rules = guarded.guard._rules
    assert rules is not None and rules._reader is not None
    rules._reader.note = "too many"
    guarded.turn()
    assert guarded.guard.notes == ["too many"]
    guarded.turn()
    assert guarded.guard.notes == ["too many"]


def test_settings_with_rules_reach_the_sentinel_as_text() -> None:
    asked = settings(KEEP, min_size_mib=5, managed_oom_preference=True)
    assert from_lines(to_lines(asked)) == asked
    assert asked.has_rules
    assert not Settings().has_rules


LOADED = """
import sys
from oomd.config import from_lines, to_lines
from oomd.guard import Guard
from oomd.mm.policy import EL7
from oomd.proc.root import Root
from oomd.settings import Settings
from oomd.watch import Watch
settings = from_lines(to_lines(Settings(rules=sys.argv[1])))
Guard(Root(), settings, EL7, Watch(Root("/nowhere"), settings, 1), None)
ours = ("oomd.rules", "oomd.ahead", "oomd.proc.places", "oomd.mm.compared")
print(*(name for name in sys.modules if name.startswith(ours)))
"""


def loaded(rules: str) -> list[str]:
    """What of the rules a guard has loaded before it is asked anything."""
    command = [sys.executable, "-c", LOADED, rules]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_without_a_rule_nothing_of_them_is_loaded_and_with_one_all_of_it_at_once() -> None:
    assert loaded("") == []
    assert {"oomd.mm.compared", "oomd.rules.book"} <= set(loaded("name=a never comm=b"))
