"""What is kept of a decision, and what the journal is told of it."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given

from oomd.event import Event
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import Sysctls, Task
from oomd.oom import Companion, Kill, NotifierChain, OomControl
from oomd.report.kernel_log import companion_lines, invoked_line, kill_lines
from oomd.report.record import Record, decision_record, settled_record
from oomd.report.trace import verdict_of
from oomd.tell import journal
from tests.mm.machine import MEMINFO, machine, task
from tests.mm.strategies import Question
from tests.report.events import event_of, events, plan_of

TREE = Path(__file__).resolve().parents[2]
FIELD = re.compile(r"[A-Z][A-Z0-9_]*")
EVIL = "\x1b[31m\n\udcff"


def killed(policy: Policy, *companions: Companion, comm: str = "hog") -> tuple[Event, Record]:
    """A kill, told as the daemon tells it."""
    hog: Task = task(10, 500_000, comm=comm, uid=26)
    question = Question(OomControl(), machine([task(1), hog, task(11, 5)]))
    event = event_of(question, policy, Sysctls(), NotifierChain(), None)
    plan = plan_of(event)
    assert isinstance(event.decision, Kill) and plan is not None
    lines = (
        invoked_line(None, "", -1000),
        *kill_lines(policy.name, event.decision, plan, 500, 4096),
        *companion_lines(policy.name, "Out of memory", companions, 4096),
    )
    return event, decision_record(event, plan, companions, lines)


def entries(record: Record) -> list[tuple[int, str, Record]]:
    """By way of JSON, as the helper gets it."""
    return list(journal.entries(json.loads(json.dumps(record))))


@given(events)
def test_any_event_can_be_kept_and_told(event: Event) -> None:
    record = decision_record(event, plan_of(event), (), ())
    again = json.loads(json.dumps(record))
    assert again["verdict"] == verdict_of(event.decision)
    assert [step["step"] for step in again["trace"]] == [1, 2, 3, 4, 5, 6, 7]
    assert len(again["candidates"]) == len(event.snapshot.tasks)
    told = entries(record)
    assert told
    for priority, message, fields in told:
        assert 0 <= priority <= 7
        assert message.isprintable()
        for name, value in fields.items():
            assert FIELD.fullmatch(name)
            assert isinstance(value, str) and value.isprintable()
    ids = [fields["MESSAGE_ID"] for _, _, fields in told if "MESSAGE_ID" in fields]
    assert ids == [journal.MESSAGE_IDS["other"]]


def test_what_a_record_of_a_kill_holds() -> None:
    _, record = killed(EL7)
    assert record["kind"] == "decision"
    assert record["trigger"] == "exhaustion"
    assert record["verdict"] == "kill"
    assert record["policy"] == "el7"
    assert (record["points"], record["score"], record["totalpages"]) == (500_000, 500, 1_000_000)
    assert record["victims"] == [
        {"pid": 10, "starttime_ticks": 10, "comm": "hog", "uid": 26, "why": "chosen"}
    ]
    assert record["meminfo"] == MEMINFO._asdict()
    assert [row["points"] for row in record["candidates"]] == [None, 500_000, 5]
    assert [row["reason"] for row in record["candidates"]] == ["global init", "", ""]
    assert len(record["table"]) == 4


def test_no_table_if_oom_dump_tasks_is_off() -> None:
    event, _ = killed(EL7)
    event = event._replace(sysctls=Sysctls(oom_dump_tasks=0))
    assert "table" not in decision_record(event, plan_of(event), (), ())


SHARER = Companion(task(11, 500_000, comm="sharer"), "sharing_mm")
MEMBER = Companion(task(11, 500_000, comm="member"), "oom_group")


@pytest.mark.parametrize(("policy", "companion"), [(EL7, SHARER), (MAINLINE, MEMBER)])
def test_one_entry_of_a_kill_carries_its_identity(policy: Policy, companion: Companion) -> None:
    _, record = killed(policy, companion)
    told = entries(record)
    (named,) = (one for one in told if "MESSAGE_ID" in one[2])
    assert named is told[0]
    priority, message, fields = named
    assert priority == 5
    assert message == (
        f"decided at exhaustion: kill 10 (hog, chosen), 11 ({companion.task.comm}, {companion.why})"
    )
    assert fields == {
        "MESSAGE_ID": journal.MESSAGE_IDS["kill"],
        "OOMD_VERDICT": "kill",
        "OOMD_TRIGGER": "exhaustion",
        "OOMD_POLICY": policy.name,
        "OOMD_CONSTRAINT": "CONSTRAINT_NONE",
        "OOMD_TOTALPAGES": "1000000",
        "OOMD_SCAN_USEC": "0",
        "OOMD_TASKS_SEEN": "0",
        "OOMD_MEM_AVAILABLE_KIB": "20000",
        "OOMD_SWAP_FREE_KIB": "0",
        "OOMD_POINTS": "500000",
        "OOMD_SCORE": "500",
        "OOMD_VICTIM_PID": "10",
        "OOMD_VICTIM_COMM": "hog",
        "OOMD_VICTIM_UID": "26",
        "OOMD_VICTIMS": "10 11",
    }


def test_a_kill_that_missed_is_told_as_something_else() -> None:
    event, _ = killed(EL7)
    (first, *_) = entries(decision_record(event, plan_of(event), (), ()))
    assert first[2]["MESSAGE_ID"] == journal.MESSAGE_IDS["other"]


def test_after_its_name_a_kill_has_the_table_then_the_steps() -> None:
    _, record = killed(EL7)
    messages = [message for _, message, _ in entries(record)]
    assert messages[1:5] == record["table"]
    assert [message.split(":")[0] for message in messages[5:]] == [
        "step 1 oom_notify_list",
        "step 2 task_will_free_mem",
        "step 3 check_panic_on_oom",
        "step 4 oom_kill_allocating_task",
        "step 5 select_bad_process",
        "step 6 no_killable_process",
        "step 7 oom_kill_process",
    ]


def test_a_hostile_name_reaches_nothing_that_is_told() -> None:
    _, record = killed(EL7, comm=EVIL)
    shown = "\\x1b[31m\\x0a\\xff"
    assert record["victims"][0]["comm"] == shown
    for _, message, fields in entries(record):
        assert message.isprintable()
        assert all(value.isprintable() for value in fields.values())


def test_how_a_kill_ended() -> None:
    record = settled_record("10 (hog) gone after 5 ms", {"victim_pid": 10, "end": "gone"})
    assert entries(record) == [
        (
            5,
            "10 (hog) gone after 5 ms",
            {
                "MESSAGE_ID": journal.MESSAGE_IDS["settled"],
                "OOMD_VICTIM_PID": "10",
                "OOMD_END": "gone",
            },
        )
    ]


def test_without_a_journal_the_helper_says_it_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [killed(EL7)[1], settled_record("10 (hog) gone", {})]
    monkeypatch.setattr(journal, "JOURNAL_SOCKET", "/nowhere/socket")
    journal.tell_journal(records)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "oomd: decided at exhaustion: kill 10 (hog, chosen)"
    assert lines[-1] == "oomd: 10 (hog) gone"


def test_the_helper_fails_on_what_is_no_record() -> None:
    # So that the daemon, which still has the records, says their bare lines itself.
    for nonsense in ("", "{}]", '[{"kind": "decision"}]'):
        ran = subprocess.run(
            [sys.executable, "-m", "oomd.tell.helper", "0", "16"],
            cwd=TREE,
            input=nonsense,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode != 0
