"""The loop: when it decides, when it does not, and what it does when it cannot see."""

import os
from pathlib import Path

import pytest

from oomd.event import MANUAL
from oomd.guard import SAVED
from oomd.mm.policy import EL7, MAINLINE
from oomd.oom import Constraint, Freed, Kill, NoneKillable, Notified, NotifierChain, OomControl
from oomd.settings import LogSettings, Settings, WatchSettings
from tests.audit.machines import AMPLE, DB, HOG, INIT, SHORT, TASKS
from tests.guard.fake_act import Guarded
from tests.roots import Cgroup, Row

EXHAUSTED = ("exhaustion", "Kill")


@pytest.fixture
def guarded(tmp_path: Path) -> Guarded:
    return Guarded(tmp_path)


def test_nothing_is_decided_while_nothing_is_crossed(guarded: Guarded) -> None:
    guarded.turn(3)
    assert guarded.act.events == []
    assert guarded.act.notified == []
    assert guarded.act.calms == 3
    assert guarded.guard.calm
    assert guarded.guard.errors == []


def test_a_crossing_is_decided_and_then_left_alone_while_something_is_under_way(
    guarded: Guarded,
) -> None:
    guarded.act.holds_after = True
    guarded.memory(SHORT)
    guarded.turn()
    assert guarded.verdicts() == [EXHAUSTED]
    assert not guarded.guard.calm
    guarded.turn(3)
    assert guarded.verdicts() == [EXHAUSTED]
    # The victim has gone, and memory is as short as it was.
    guarded.act.holds = None
    guarded.turn()
    assert guarded.verdicts() == [EXHAUSTED] * 2


def test_while_it_rests_nobody_is_chosen_and_a_manual_trigger_is_obeyed(guarded: Guarded) -> None:
    guarded.act.rests_now = True
    guarded.memory(SHORT)
    guarded.turn(3)
    assert guarded.verdicts() == []
    assert not guarded.guard.calm
    guarded.guard.ask()
    guarded.turn()
    assert guarded.verdicts() == [(MANUAL, "Kill")]
    guarded.act.rests_now = False
    guarded.turn()
    assert guarded.verdicts()[1:] == [EXHAUSTED]


def test_those_under_way_are_seen_to_at_every_turn(guarded: Guarded) -> None:
    guarded.turn()
    guarded.memory(SHORT)
    guarded.act.holds = 50
    guarded.turn()
    assert guarded.act.settled == [AMPLE, SHORT]
    assert guarded.verdicts() == []
    assert guarded.act.calms == 1


def test_calm_is_when_nothing_is_crossed_and_nothing_under_way(guarded: Guarded) -> None:
    guarded.act.holds = 50
    guarded.turn()
    assert (guarded.guard.crossed, guarded.guard.calm, guarded.act.calms) == (False, False, 0)
    guarded.act.holds = None
    guarded.turn()
    assert (guarded.guard.crossed, guarded.guard.calm, guarded.act.calms) == (False, True, 1)
    guarded.memory(SHORT)
    guarded.turn()
    assert (guarded.guard.crossed, guarded.guard.calm, guarded.act.calms) == (True, False, 1)


def test_memory_that_recovers_during_the_scan_saves_everybody(guarded: Guarded) -> None:
    guarded.memory(SHORT)
    guarded.act.while_notifying = lambda: guarded.memory(AMPLE)
    guarded.turn()
    assert guarded.act.notified == ["exhaustion"]
    assert guarded.verdicts() == []


def test_a_decision_holds_what_it_was_made_from(guarded: Guarded) -> None:
    guarded.memory(SHORT)
    guarded.turn()
    (event,) = guarded.act.events
    assert event.look.meminfo == event.snapshot.meminfo == SHORT
    assert event.look.crossed == event.trigger == "exhaustion"
    assert event.snapshot.tasks_seen == len(TASKS)
    assert isinstance(event.decision, Kill)
    assert (event.decision.chosen.pid, event.decision.totalpages) == (10, 1_000_000)
    assert event.case.policy is EL7


def test_only_the_candidates_are_held_of_a_crowd(tmp_path: Path) -> None:
    crowd: list[Row] = [{"pid": 100 + n, "rss_pages": n} for n in range(60)]
    guarded = Guarded(tmp_path, Settings(log=LogSettings(top=5)), tasks=[*TASKS, *crowd])
    guarded.memory(SHORT)
    guarded.turn()
    (event,) = guarded.act.events
    assert event.snapshot.tasks_seen == len(TASKS) + 60
    assert [task.pid for task in event.snapshot.tasks] == [10, 11, 157, 158, 159]


# --- by hand


def test_asked_by_hand_it_decides_once_whatever_the_thresholds_say(guarded: Guarded) -> None:
    guarded.guard.ask()
    guarded.turn(2)
    assert guarded.verdicts() == [(MANUAL, "Kill")]
    (event,) = guarded.act.events
    assert event.case.oc.manual
    # Even while somebody is dying.
    guarded.act.holds = 50
    guarded.guard.ask()
    guarded.turn(2)
    assert guarded.verdicts() == [(MANUAL, "Kill")] * 2


def test_asked_by_hand_it_asks_the_notifiers_too(guarded: Guarded) -> None:
    guarded.act.freed = NotifierChain((Notified("balloon", 0, 9, "called"),), True, 9)
    guarded.guard.ask()
    guarded.turn()
    assert guarded.act.notified == [MANUAL]
    assert guarded.verdicts() == [(MANUAL, "Freed")]
    # mainline kills all the same.
    other = Guarded(guarded.path / "mainline", policy=MAINLINE)
    other.act.freed = guarded.act.freed
    other.guard.ask()
    other.turn()
    assert other.verdicts() == [(MANUAL, "Kill")]


def test_a_rehearsal_decides_and_does_nothing(guarded: Guarded) -> None:
    event = guarded.guard.rehearse()
    assert isinstance(event.decision, Kill)
    assert event.trigger == MANUAL
    assert not guarded.act.events
    assert not guarded.act.notified
    assert not guarded.act.settled
    # What settled nothing among small equals does not cost the first storm a full scan.
    assert guarded.guard._scan._whole_left == 0


def test_memory_that_was_plugged_in_moves_the_thresholds_and_is_said(guarded: Guarded) -> None:
    guarded.turn()
    half = AMPLE.mem_total_kib // 2
    guarded.memory(AMPLE._replace(mem_total_kib=AMPLE.mem_total_kib + half))
    guarded.turn(2)
    (note,) = guarded.guard.notes
    assert note.startswith("memory is now 5859 MiB, it was 3906 MiB: acts when MemAvailable falls")
    # A balloon driver takes a page here and there.
    guarded.guard.notes.clear()
    guarded.memory(AMPLE._replace(mem_total_kib=AMPLE.mem_total_kib + half - 4))
    guarded.turn()
    assert guarded.guard.notes == []


# --- notifiers


def freed(pages: int) -> NotifierChain:
    return NotifierChain((Notified("balloon", 0, pages, "called"),), True, pages)


def test_notifiers_that_freed_enough_save_everybody_and_that_is_told(guarded: Guarded) -> None:
    guarded.memory(SHORT)
    guarded.act.freed = freed(100)
    guarded.act.while_notifying = lambda: guarded.memory(AMPLE)
    guarded.turn()
    (event,) = guarded.act.events
    assert isinstance(event.decision, Freed)
    assert event.decision.freed_pages == 100


def test_memory_that_came_back_without_a_claim_saves_everybody_too(guarded: Guarded) -> None:
    guarded.memory(SHORT)
    ran = Notified("balloon", 0, 0, "left behind", 200, 4096, 4096)
    guarded.act.freed = NotifierChain((ran,), True)
    guarded.act.while_notifying = lambda: guarded.memory(AMPLE)
    guarded.turn()
    assert guarded.act.events == []
    assert guarded.guard.notes == [
        "nobody dies: memory came back while notifiers ran: "
        "balloon 0.0 MiB in 200 ms (MemFree +4.0, MemAvailable +4.0 MiB)"
    ]


def test_what_is_freed_and_taken_again_does_not_put_off_a_kill_for_ever(guarded: Guarded) -> None:
    guarded.act.freed = freed(100)
    guarded.act.while_notifying = lambda: guarded.memory(AMPLE)
    for _ in range(SAVED + 1):
        guarded.memory(SHORT)
        guarded.turn()
    assert [verdict for _, verdict in guarded.verdicts()] == ["Freed"] * SAVED + ["Kill"]
    first = guarded.act.events[-1].decision.trace[0]
    assert first.verdict == "they freed nothing"
    assert "did not last" in str(first.detail)
    assert len(guarded.act.notified) == SAVED
    # Somebody has died: they are asked again.
    guarded.memory(SHORT)
    guarded.turn()
    assert guarded.verdicts()[-1][1] == "Freed"


def test_a_claim_is_not_believed_while_memory_is_as_short(guarded: Guarded) -> None:
    guarded.memory(SHORT)
    guarded.act.freed = freed(10**9)
    guarded.turn()
    (event,) = guarded.act.events
    assert isinstance(event.decision, Kill)
    assert event.decision.trace[0].verdict == (
        "they claim to have freed memory, but it did not come back"
    )


# --- who is under way


def test_who_is_under_way_is_told_to_the_decision(guarded: Guarded) -> None:
    snapshot = guarded.guard.rehearse().snapshot
    (hog,) = (task for task in snapshot.tasks if task.pid == 10)
    guarded.act.control_is = OomControl(passed_over=frozenset({hog.ident}))
    guarded.memory(SHORT)
    guarded.turn()
    (event,) = guarded.act.events
    assert isinstance(event.decision, Kill)
    assert event.decision.chosen.pid == 11


# --- blind


@pytest.mark.parametrize("text", [None, "", "MemTotal: 4000000 kB\n"])
def test_a_machine_that_cannot_be_read_is_said_once_and_guarded_on(
    guarded: Guarded, text: str | None
) -> None:
    meminfo = guarded.path / "proc/meminfo"
    meminfo.unlink()
    if text is not None:
        meminfo.write_text(text)
    guarded.turn(2)
    (error,) = guarded.guard.errors
    assert error.startswith("cannot decide: proc/meminfo: ")
    assert guarded.verdicts() == []
    assert not guarded.guard.calm
    # Those under way are seen to all the same.
    assert guarded.act.settled == [None, None]
    guarded.memory(SHORT)
    guarded.turn()
    assert guarded.verdicts() == [EXHAUSTED]
    # The next time it is said again.
    guarded.guard.errors.clear()
    meminfo.unlink()
    guarded.turn(2)
    assert len(guarded.guard.errors) == 1


def test_without_one_readable_process_nobody_is_chosen(guarded: Guarded) -> None:
    for task in TASKS:
        (guarded.path / f"proc/{task['pid']}/stat").write_text("torn")
        (guarded.path / f"proc/{task['pid']}/status").write_text("")
    guarded.memory(SHORT)
    guarded.turn()
    assert guarded.verdicts() == []
    (error,) = guarded.guard.errors
    assert error.startswith("cannot decide: ")


# --- a cgroup in place of the machine

BOX: Cgroup = {"path": "/box", "limit_pages": 200_000, "usage_pages": 199_990, "pids": [11]}
STAT = "cache 0\nrss 819200000\ninactive_file 0\nactive_file 0\n"


def boxed(path: Path, version: int, box: Cgroup = BOX) -> Guarded:
    mount = "sys/fs/cgroup" if version == 2 else "sys/fs/cgroup/memory"
    return Guarded(
        path,
        Settings(watch=WatchSettings(cgroup="/box")),
        tasks=[INIT, HOG, DB],
        cgroups=[box],
        cgroup_version=version,
        files={f"{mount}/box/memory.stat": STAT},
    )


@pytest.mark.parametrize("version", [1, 2])
def test_a_cgroup_is_watched_and_judged_in_place_of_the_machine(
    tmp_path: Path, version: int
) -> None:
    guarded = boxed(tmp_path, version)
    guarded.turn()
    (event,) = guarded.act.events
    assert event.trigger == "exhaustion"
    assert event.case.oc.constraint is Constraint.MEMCG
    assert isinstance(event.decision, Kill)
    assert (event.decision.chosen.pid, event.decision.totalpages) == (11, 200_000)
    assert event.decision.message == "Memory cgroup out of memory"
    # A memcg OOM calls no notifiers.
    assert guarded.act.notified == []


@pytest.mark.parametrize("version", [1, 2])
def test_a_cgroup_with_room_is_left_alone_whatever_the_machine(
    tmp_path: Path, version: int
) -> None:
    guarded = boxed(tmp_path, version, {**BOX, "usage_pages": 50_000})
    guarded.memory(SHORT)
    guarded.turn()
    assert guarded.verdicts() == []
    assert guarded.guard.calm


def test_a_cgroup_without_an_oom_killer_lets_its_tasks_wait(tmp_path: Path) -> None:
    guarded = boxed(tmp_path, 1, {**BOX, "oom_kill_disable": True})
    guarded.turn()
    (event,) = guarded.act.events
    assert isinstance(event.decision, NoneKillable)


def test_a_cgroup_that_comes_and_goes_is_waited_for(tmp_path: Path) -> None:
    guarded = boxed(tmp_path, 2)
    box = tmp_path / "sys/fs/cgroup/box"
    aside = tmp_path / "aside"
    os.rename(box, aside)
    guarded.turn(2)
    (error,) = guarded.guard.errors
    assert error.startswith("cannot decide: /box: no such cgroup")
    assert guarded.verdicts() == []
    os.rename(aside, box)
    guarded.turn()
    assert guarded.verdicts() == [EXHAUSTED]
