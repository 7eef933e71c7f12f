"""A record leads to the same decision and the same trace, bit by bit; what differs is found."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.mm.policy import EL7, MAINLINE, POLICIES
from oomd.mm_types import Sysctls
from oomd.oom import Constraint, Kill, NotifierChain, OomControl
from oomd.records.fields import BadRecord, comm_of
from oomd.records.load import load_record
from oomd.records.replay import Difference, replay_record
from oomd.records.text import (
    begins_as_record,
    replayed_as_json,
    replayed_as_text,
    split_records,
)
from oomd.report.kernel_log import printable
from oomd.report.record import Record
from oomd.report.trace import full_trace
from oomd.tell.record_files import joined
from tests.mm.machine import current_of, machine, memcg_of, task
from tests.mm.strategies import Question
from tests.records.kept import Asked, comms, event_of, in_full, plan_of, record_of, records

HOG = task(10, 500_000, comm="hog")
CHILD = task(20, 400_000, comm="child", ppid=10)


def asked_of(policy: str = "el7", **control: Any) -> Asked:
    question = Question(OomControl(**control), machine([task(1), HOG, task(11, 5)], tasks_seen=3))
    return Asked(question, POLICIES[policy], Sysctls(), NotifierChain(), (CHILD,), 10)


# --- the same again


@given(records)
def test_any_decision_is_the_same_again(asked: Asked) -> None:
    event = event_of(asked)
    plan = plan_of(asked, event)
    recorded = load_record(in_full(record_of(asked)))
    # The scan saw more than the record holds, and it was not the record that decided.
    assert recorded.snapshot.tasks == event.snapshot.tasks
    assert recorded.snapshot.upper_bound_pages == event.snapshot.upper_bound_pages
    assert (recorded.sysctls, recorded.freed) == (event.sysctls, event.freed)
    assert recorded.policy is asked.policy
    replayed = replay_record(recorded)
    assert replayed.differences == ()
    assert replayed.decision == event.decision
    assert full_trace(replayed.decision, replayed.plan) == full_trace(event.decision, plan)
    assert (plan is None) == (replayed.plan is None)
    if plan is not None and replayed.plan is not None:
        assert replayed.plan.victim == plan.victim
        assert replayed.plan.victim_points == plan.victim_points


def test_a_record_from_before_scores_were_read() -> None:
    record = record_of(asked_of())
    assert (record.pop("tasks_read"), record.pop("upper_bound_pages")) == (None, None)
    recorded = load_record(in_full(record))
    assert (recorded.snapshot.tasks_read, recorded.snapshot.upper_bound_pages) == (None, None)
    assert replay_record(recorded).differences == ()


@given(records)
def test_a_record_is_text_that_no_terminal_obeys(asked: Asked) -> None:
    text = in_full(record_of(asked)).decode("ascii")
    assert text.isprintable()
    recorded = load_record(text.encode())
    for line in replayed_as_text(recorded, replay_record(recorded)):
        assert line.isprintable()


@given(comms)
def test_a_comm_comes_back_as_it_was(comm: str) -> None:
    shown = printable(comm)
    assert shown.isprintable()
    assert comm_of(shown) == comm


@given(st.text(max_size=20))
def test_an_escape_is_undone_or_refused(text: str) -> None:
    try:
        comm = comm_of(text)
    except ValueError:
        assert "\\" in text
    else:
        assert comm.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") == comm


@pytest.mark.parametrize("policy", ["el7", "mainline"])
def test_who_is_asked_about_by_the_thousand_is_recorded_by_name_only_if_held(policy: str) -> None:
    dying = frozenset(task(pid).ident for pid in range(1_000, 9_000))
    members = [HOG, *(task(pid) for pid in range(1_000, 9_000))]
    memcg = memcg_of(members)
    asked = asked_of(policy, constraint=Constraint.MEMCG, victims=dying | {HOG.ident})
    snapshot = asked.question.snapshot._replace(memcg=memcg)
    asked = asked._replace(question=asked.question._replace(snapshot=snapshot))
    record = record_of(asked)
    assert len(in_full(record)) < 10_000
    assert [10, 10] in record["control"]["victims"]
    assert record["memcg"]["pids"] == [10]
    assert not replay_record(load_record(in_full(record))).differences


def test_of_a_family_the_child_that_dies_is_recorded() -> None:
    record = record_of(asked_of("el7"))
    assert [one["pid"] for one in record["relatives"]["children"]] == [20]
    assert record["victims"][0]["why"] == "child"
    replayed = replay_record(load_record(in_full(record)))
    assert replayed.plan is not None
    assert replayed.plan.victim == CHILD
    assert replayed.plan.chosen == HOG


def test_a_manual_decision_is_not_asked_about_current() -> None:
    record = record_of(asked_of("el7", manual=True, current=current_of(HOG)))
    recorded = load_record(in_full(record))
    assert recorded.oc.manual and recorded.oc.current is None
    assert not replay_record(recorded).differences


# --- what differs is found


CHANGES = [
    (("candidates", 0, "rss_pages"), 499_999, "decision.points: 500000 then, 499999 now"),
    (("decision", "points"), 1, "decision.points: 1 then, 500000 now"),
    (("decision", "chosen"), [11, 11], "decision.chosen[0]: 11 then, 10 now"),
    (
        ("trace", 4, "detail", "root_discount"),
        0,
        "trace[4].detail.root_discount: 0 then, false now",
    ),
    (("trace", 6, "verdict"), "x", 'trace[6].verdict: "x" then, "SIGKILL to a child in place '),
    (("trace", 6, "detail", "more"), 1, "trace[6].detail.more: 1 then, nothing now"),
    (("candidates", 1, "points"), 4, "candidates[1].points: 4 then, 5 now"),
    (("candidates", 0, "reason"), "x", 'candidates[0].reason: "x" then, "" now'),
    (("sysctls", "panic_on_oom"), 1, 'decision.verdict: "kill" then, "panic" now'),
    (("relatives", "children", 0, "rss_pages"), 7, "trace[6].detail.victim_points: 400000 then, 7"),
    (("policy",), "mainline", "trace[4].detail.policy: "),
]


def changed(record: Record, path: tuple[str | int, ...], value: object) -> Record:
    record = copy.deepcopy(record)
    inside: Any = record
    for name in path[:-1]:
        inside = inside[name]
    inside[path[-1]] = value
    return record


@pytest.mark.parametrize(("path", "value", "said"), CHANGES, ids=[str(c[0]) for c in CHANGES])
def test_one_changed_bit_is_named(path: tuple[str | int, ...], value: object, said: str) -> None:
    record = changed(record_of(asked_of()), path, value)
    recorded = load_record(in_full(record))
    replayed = replay_record(recorded)
    lines = list(replayed_as_text(recorded, replayed))
    assert any(line.strip().startswith(said) for line in lines), lines
    assert any(line.startswith("   DIFFERS in ") for line in lines)
    assert not replayed_as_json(recorded, replayed)["same"]


def test_the_order_of_the_numbers_counts_too() -> None:
    record = record_of(asked_of())
    detail = record["trace"][4]["detail"]
    record["trace"][4]["detail"] = dict(reversed(detail.items()))
    (found,) = replay_record(load_record(in_full(record))).differences
    assert isinstance(found, Difference)
    assert found.where == "trace[4].detail"


# --- words


@pytest.mark.parametrize("policy", [EL7, MAINLINE], ids=lambda policy: str(policy.name))
def test_what_is_said_of_a_kill(policy: Any) -> None:
    record = record_of(asked_of(policy.name))
    record["time"] = 1_800_000_000.5
    ident = [record["victims"][0]["pid"], record["victims"][0]["starttime_ticks"]]
    settled = {"kind": "settled", "time": 1.0, "text": "gone after 5 ms", "fields": {}}
    (record,) = joined([record, {**settled, "task": ident}])
    recorded = load_record(in_full(record))
    lines = list(replayed_as_text(recorded, replay_record(recorded)))
    victim = "20 (child, child)" if policy is EL7 else "10 (hog, chosen)"
    assert lines[0] == f"2027-01-15 08:00:00 UTC, at exhaustion: kill {victim}"
    assert lines[1] == f"   kernel 6.1.0, policy {policy.name}"
    assert lines[2] == "   gone after 5 ms"
    assert lines[3].startswith("   1  oom_notify_list           ")
    assert lines[-1] == "   the same decision again, bit by bit: 7 steps, 2 candidates"
    assert replayed_as_json(recorded, replay_record(recorded))["same"]


def test_a_record_is_told_from_a_log() -> None:
    data = in_full(record_of(asked_of()))
    pretty = json.dumps(json.loads(data), indent=2).encode()
    for one in (data, pretty, b"\n" + data):
        assert begins_as_record(one[:64])
    for other in (b"", b"{", b'{"__CURSOR":"x"}', b"[12.3] x invoked oom-killer: ", b"\xff\0"):
        assert not begins_as_record(other)
    assert split_records(pretty) == [pretty]
    assert split_records(data + b"\n" + data + b"\n") == [data, data]
    for one in (data, pretty):
        assert isinstance(replay_record(load_record(one)).decision, Kill)


def test_one_error_for_all_that_is_wrong() -> None:
    with pytest.raises(BadRecord) as caught:
        load_record(b"{}")
    assert str(caught.value) == "not the record of a decision"
