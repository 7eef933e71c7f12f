"""What is kept of a decision, and what the journal is told of it."""

import json
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given

from oomd.event import Event
from oomd.message_ids import MESSAGE_IDS
from oomd.mm.policy import EL7, MAINLINE, Policy
from oomd.mm_types import Sysctls, Task, TaskId
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
    verdict = verdict_of(event.decision)
    assert ids == [MESSAGE_IDS["missed" if verdict == "kill" else verdict]]


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
        "MESSAGE_ID": MESSAGE_IDS["kill"],
        "OOMD_VERDICT": "kill",
        "OOMD_TRIGGER": "exhaustion",
        "OOMD_STEP": "select_bad_process",
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
    assert first[2]["MESSAGE_ID"] == MESSAGE_IDS["missed"]


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
                "MESSAGE_ID": MESSAGE_IDS["settled"],
                "OOMD_VICTIM_PID": "10",
                "OOMD_END": "gone",
            },
        )
    ]


def test_a_kill_names_the_unit_once_for_its_own_log() -> None:
    _, record = killed(EL7)
    record["victims"][0] |= {"cgroup": "/system.slice/db.service/inner", "unit": "db.service"}
    first, *rest = entries(record)
    assert first[2]["OOMD_VICTIM_UNIT"] == first[2]["OBJECT_SYSTEMD_UNIT"] == "db.service"
    assert first[2]["OOMD_VICTIM_CGROUP"] == "/system.slice/db.service/inner"
    assert rest and not any("OBJECT_SYSTEMD_UNIT" in fields for _, _, fields in rest)
    cgroup = "/user.slice/user-26.slice/user@26.service/app.slice/mail.service"
    record["victims"][0] |= {"cgroup": cgroup, "unit": "mail.service"}
    first = entries(record)[0]
    assert first[2]["OBJECT_SYSTEMD_USER_UNIT"] == "mail.service"
    assert "OBJECT_SYSTEMD_UNIT" not in first[2]


def test_a_name_that_no_unit_can_have_is_not_told_as_one() -> None:
    _, record = killed(EL7)
    record["victims"][0] |= {"cgroup": "/x\\x1b[31m.service", "unit": "\\x1b[31m.service"}
    assert "OOMD_VICTIM_UNIT" not in entries(record)[0][2]
    # Whatever a record holds.
    record["victims"][0] |= {"cgroup": f"/{EVIL}.service", "unit": f"{EVIL}.service"}
    fields = entries(record)[0][2]
    assert "OOMD_VICTIM_UNIT" not in fields
    assert all(value.isprintable() for value in fields.values())


def test_the_end_of_a_kill_has_more_of_the_victim_beside_its_decision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[tuple[int, str, dict[str, str]]] = []
    monkeypatch.setattr(journal, "_sender", lambda: lambda *entry: told.append(entry))
    _, record = killed(EL7)
    record["victims"][0] |= {"cgroup": "/system.slice/db.service", "unit": "db.service"}
    settled = settled_record("10 (hog) gone", {"victim_pid": 10, "took_ms": 5}, TaskId(10, 10))
    journal.tell_journal([record, settled])
    fields = told[-1][2]
    assert fields["OOMD_TOOK_MS"] == "5"
    assert (fields["OOMD_VICTIM_COMM"], fields["OOMD_VICTIM_UNIT"]) == ("hog", "db.service")


def test_without_a_journal_the_helper_says_it_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [killed(EL7)[1], settled_record("10 (hog) gone", {})]
    monkeypatch.setattr(journal, "JOURNAL_SOCKET", "/nowhere/socket")
    journal.tell_journal(records)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "oomd: decided at exhaustion: kill 10 (hog, chosen)"
    assert lines[-1] == "oomd: 10 (hog) gone"


@pytest.mark.parametrize(
    "lives",
    [
        [(b'{"parameters":{}}\0',)],
        [(b'{"para', b'meters":{}}\0')],
        [(b'{"para',), (b'{"parameters":{}}\0',)],
        [(), (), (b'{"parameters":{}}\0',)],
    ],
    ids=["at once", "in pieces", "dies in the midst of it", "is killed twice"],
)
def test_whoever_tells_the_journal_waits_until_it_has_read_it(
    tmp_path: Path, lives: list[tuple[bytes, ...]]
) -> None:
    """``lives``: what each journald says until it dies."""
    path = str(tmp_path / "io.systemd.journal")
    asked = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def answer() -> None:
            for answers in lives:
                peer, _ = listener.accept()
                with peer:
                    asked.append(peer.recv(4096))
                    for piece in answers:
                        peer.sendall(piece)

        thread = threading.Thread(target=answer)
        thread.start()
        assert journal.wait_until_taken(path)
        thread.join()
    assert asked == [b'{"method":"io.systemd.Journal.Synchronize"}\0'] * len(lives)


def test_nor_does_it_wait_for_ever_or_for_one_that_cannot_say(tmp_path: Path) -> None:
    path = str(tmp_path / "io.systemd.journal")
    assert not journal.wait_until_taken(path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        assert not journal.wait_until_taken(path, 0.01)
    # Dead, and nobody starts it again.
    assert not journal.wait_until_taken(path, 0.01)


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
