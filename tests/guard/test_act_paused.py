"""The executor in a pause: everything is decided and recorded, and nobody dies."""

import json

import pytest

from oomd.effects.act import PAUSED_MS
from oomd.event import MANUAL
from oomd.oom import Constraint, Panic
from oomd.records.load import load_record
from oomd.records.replay import replay_record
from tests.audit.machines import AMPLE
from tests.effects.children import LyingRoot, OwnChildren, task_of
from tests.guard.acting import Acting, started
from tests.notifier.attended import look

pytestmark = pytest.mark.live


def test_nobody_is_killed_and_it_is_recorded_who_would_have_been(children: OwnChildren) -> None:
    task = started(children)
    acting = Acting({task.pid})
    acting.act.pause(True)
    acting.decide(task)
    assert task_of(task.pid).ident == task.ident
    (record,) = acting.told
    assert record["verdict"] == "paused"
    assert record["victims"] == []
    said = f"paused, nothing is done; would have killed {task.pid} ("
    assert record["done"].startswith(said)
    assert acting.said == [record["done"]]
    # The machine is left alone for a while, and looked at again.
    hold_ms = acting.hold_ms()
    assert hold_ms is not None
    assert 0 < hold_ms <= PAUSED_MS
    # And the record can be judged like any other: the policy had decided to kill.
    recorded = load_record(json.dumps({**record, "settled": None}).encode())
    assert recorded.about.verdict == "paused"
    assert recorded.answer.decision["verdict"] == "kill"
    assert replay_record(recorded).differences == ()


def test_a_long_shortage_is_told_of_once_in_a_while(children: OwnChildren) -> None:
    first, second = started(children, 16), started(children)
    acting = Acting({first.pid, second.pid})
    acting.act.pause(True)
    for task in (first, second, first):
        acting.decide(task)
    assert len(acting.told) == len(acting.said) == 1


def test_when_it_is_over_the_next_decision_is_carried_out_at_once(children: OwnChildren) -> None:
    task = started(children)
    acting = Acting({task.pid})
    acting.act.pause(True)
    acting.decide(task)
    acting.act.pause(False)
    assert acting.hold_ms() is None
    acting.decide(task)
    assert acting.victims() == [(task.pid, "chosen")]
    acting.settle(AMPLE)
    assert acting.ends()[0][0] == task.pid


def test_a_hold_of_another_reason_outlasts_it() -> None:
    acting = Acting(())
    panic = Panic(6, "System is deadlocked on memory", Constraint.NONE, 1000, ())
    acting.hand_over(panic)
    before = acting.hold_ms()
    assert before is not None
    acting.act.pause(True)
    acting.act.pause(False)
    after = acting.hold_ms()
    assert after is not None
    assert 0 < after <= before


def test_what_is_asked_for_by_hand_is_done_all_the_same(children: OwnChildren) -> None:
    task = started(children)
    acting = Acting({task.pid})
    acting.act.pause(True)
    acting.act.decided(acting.event((task,))._replace(trigger=MANUAL))
    assert acting.victims() == [(task.pid, "chosen")]
    acting.settle(AMPLE)
    assert acting.ends()[0][0] == task.pid


def test_nobody_panics() -> None:
    acting = Acting(())
    acting.act.pause(True)
    words = "Out of memory: compulsory panic_on_oom is enabled"
    acting.hand_over(Panic(3, words, Constraint.NONE, 9, ()))
    assert acting.said == [f"paused, nothing is done; would have panicked: {words}"]
    assert isinstance(acting.root, LyingRoot)
    assert acting.root.written == []


def test_no_notifier_is_asked_except_by_hand() -> None:
    acting = Acting(())
    asked: list[str] = []

    def chain(trigger: str, look: object) -> object:
        asked.append(trigger)
        raise AssertionError

    acting.act._chain = chain  # type: ignore[assignment]
    acting.act.pause(True)
    found = acting.act.notify("exhaustion", look())
    assert [one.verdict for one in found.results] == ["not asked: oomd is paused"]
    assert found.freed_pages == 0
    acting.act.notify(MANUAL, look())
    assert asked == [MANUAL]
