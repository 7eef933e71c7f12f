"""The sentinel's end: whatever the worker does, the chain ends, and the guard goes on."""

import os
import signal
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomd.oom import NotifierChain
from oomd.proc.root import Root
from oomd.wire import FAULTS
from tests.audit.machines import AMPLE
from tests.notifier.attended import PATIENCE_S, SHORT_MS, Attended, children, look, verdicts
from tests.roots import make_root

pytestmark = pytest.mark.live


@pytest.fixture
def attended(tmp_path: Path) -> Iterator[Attended]:
    one = Attended(tmp_path, Root())
    yield one
    one.close()


def test_with_nothing_planned_nothing_runs_and_nothing_is_called(attended: Attended) -> None:
    before = children()
    attended.configure("", clients="off")
    attended.worker.attend(calm=True)
    assert attended.worker.at_rest
    assert children() == before
    assert attended.call() == NotifierChain()
    # Root's alone: to ask who is registered, not to register.
    assert stat.S_IMODE(os.stat(attended.socket_path).st_mode) == 0o600


def test_what_the_notifiers_answer_is_taken_as_it_is_said(attended: Attended) -> None:
    attended.started("answers")
    chain = attended.call()
    assert chain.called
    assert verdicts(chain) == [("one", "claims 10 pages"), ("two", "claims 5 pages")]
    assert chain.freed_pages == 15
    one = chain.results[0]
    assert (one.priority, one.took_ms) == (3, 1)
    assert (one.mem_free_change_kib, one.mem_available_change_kib) == (-8, 16)
    assert attended.said == []


def test_calm_is_told_once_after_a_storm(attended: Attended) -> None:
    attended.started("answers")
    attended.worker.attend(calm=True)
    assert attended.worker.at_rest
    attended.call()
    attended.worker.attend(calm=False)
    assert attended.worker.changed == []
    # It has to be told when it is calm.
    assert not attended.worker.at_rest
    attended.until(lambda: bool(attended.worker.changed))
    assert attended.worker.at_rest
    # The worker answers in turn, so a second one would be heard before the chain's end.
    attended.worker.attend(calm=True)
    attended.call()
    assert attended.worker.changed == ["heard that it is calm"]


def test_a_chain_that_does_not_end_is_left_at_its_deadline(attended: Attended) -> None:
    attended.started("answers_half", SHORT_MS)
    chain = attended.call()
    assert verdicts(chain) == [
        ("one", "claims 10 pages"),
        ("worker", "left behind: the deadline of the chain has passed"),
    ]
    assert chain.freed_pages == 10
    # It costs the storm that deadline once.
    again = attended.call()
    assert verdicts(again) == [("worker", "left behind by an earlier chain, not called")]
    assert again.freed_pages == 0
    # Nobody kills or starts anything while the storm lasts.
    attended.skew_ms += 10_000
    (pid,) = children()
    attended.worker.attend(calm=False)
    assert children() == [pid]
    assert attended.said == []
    attended.until(lambda: attended.worker.count == 2 and children() != [pid])
    assert attended.said == [
        "the worker was left behind, it did not end the chain in time: "
        "it is started anew when it is calm"
    ]


def test_a_late_answer_is_no_fault(attended: Attended) -> None:
    attended.started("answers_late", SHORT_MS)
    (pid,) = children()
    assert attended.call().freed_pages == 0
    attended.until(lambda: bool(attended.worker.changed))
    assert children() == [pid]
    assert attended.said == []
    # What came too late for that chain is not counted for the next.
    assert attended.call().freed_pages == 0


@pytest.mark.parametrize(
    ("kind", "verdict", "said"),
    [
        ("crashes", "has ended", "the worker was killed by signal 11: "),
        ("hangs_up", "has ended", "the worker was killed by signal 9: "),
        ("talks_nonsense", "talks nonsense", "the worker has sent a message that is not JSON: "),
        ("lies_about_types", "talks nonsense", 'the worker has sent "priority" is not '),
    ],
)
def test_a_broken_worker_is_replaced_when_it_is_calm(
    attended: Attended, kind: str, verdict: str, said: str
) -> None:
    attended.started(kind)
    (pid,) = children()
    assert verdicts(attended.call()) == [("worker", verdict)]
    # What the record says of the next kill in this storm.
    assert verdicts(attended.call()) == [("worker", "not running")]
    # Somebody has to start it anew.
    assert not attended.worker.at_rest
    attended.skew_ms += 10_000
    attended.until(lambda: attended.worker.count == 2)
    assert pid not in children()
    (line,) = attended.said
    assert line.startswith(said)
    assert line.endswith("it is started anew when it is calm")


def test_one_that_babbles_is_left_at_the_deadline_and_keeps_nothing_of_ours(
    attended: Attended,
) -> None:
    attended.started("babbles", SHORT_MS)
    chain = attended.call()
    assert verdicts(chain) == [("worker", "left behind: the deadline of the chain has passed")]
    assert len(attended.worker.changed) <= 10


def test_an_answer_to_another_question_is_none(attended: Attended) -> None:
    attended.started("answers_another", SHORT_MS)
    chain = attended.call()
    assert chain.freed_pages == 0
    assert [one.name for one in chain.results] == ["worker"]


def test_after_three_faults_nobody_is_called_until_a_reload(attended: Attended) -> None:
    attended.configure("crashes")
    for _ in range(FAULTS):
        attended.skew_ms += 10_000
        attended.until(lambda: attended.worker.count == 2)
        attended.call()
        attended.until(lambda: not children(), calm=False)
    attended.skew_ms += 100_000
    attended.worker.attend(calm=True)
    assert not children()
    assert attended.worker.at_rest
    assert attended.worker.fds() == ()
    assert attended.said[-1] == (
        "the worker was killed by signal 11: 3 faults, no notifier is called until a reload"
    )
    off = "not running: 3 faults, off until a reload"
    assert verdicts(attended.call()) == [("worker", off)]
    attended.started("answers")
    assert attended.call().freed_pages == 15


def test_what_lies_in_per_cpu_lists_does_not_end_a_chain(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", meminfo=AMPLE)
    attended = Attended(tmp_path, root)
    attended.started("answers")
    seen = look()._replace(pcp_kib=10 * AMPLE.mem_available_kib)
    assert attended.worker.call("exhaustion", seen).freed_pages == 15
    attended.close()


def test_new_settings_wait_for_the_end_of_a_storm(attended: Attended) -> None:
    attended.started("answers")
    (pid,) = children()
    attended.configure("answers_half", calm=False)
    assert children() == [pid]
    assert attended.call().freed_pages == 15
    attended.until(lambda: attended.worker.count == 2 and pid not in children())
    assert len(children()) == 1
    assert attended.said == []


def test_one_that_babbles_in_the_calm_is_a_fault(attended: Attended) -> None:
    attended.configure("babbles_in_the_calm")
    attended.until(lambda: bool(attended.said))
    assert attended.said == [
        "the worker has sent 201 messages within 10 s, unasked: it is started anew when it is calm"
    ]


def test_one_incident_is_one_fault(attended: Attended) -> None:
    attended.configure("talks_and_dies")
    for _ in range(FAULTS - 1):
        attended.skew_ms += 10_000
        attended.until(lambda: attended.worker.count == 2)
        attended.call()
        attended.until(lambda: not children(), calm=False)
    attended.skew_ms += 10_000
    # Still trusted once more.
    attended.until(lambda: attended.worker.count == 2)
    assert len(attended.said) == FAULTS - 1


def test_a_worker_that_ends_without_a_reason_is_a_fault(attended: Attended) -> None:
    attended.configure("fails_at_once")
    attended.until(lambda: bool(attended.said))
    assert attended.said == [
        "the worker has ended with status 0: it is started anew when it is calm"
    ]


def test_whoever_fills_memory_fast_is_not_waited_for(tmp_path: Path) -> None:
    root = make_root(tmp_path / "root", meminfo=AMPLE)
    attended = Attended(tmp_path, root)
    attended.started("answers_half")
    # Seen with more than twice of what is left now.
    seen = AMPLE._replace(mem_available_kib=AMPLE.mem_available_kib * 2 + 1024)
    chain = attended.worker.call("exhaustion", look(seen))
    assert verdicts(chain)[-1] == ("worker", "left behind: half of what was left is gone")
    attended.close()


def test_a_knock_starts_a_worker_which_may_leave_again(attended: Attended) -> None:
    attended.configure("")
    assert children() == []
    assert os.stat(attended.socket_path).st_mode & 0o777 == 0o600
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
            client.settimeout(PATIENCE_S)
            client.connect(attended.socket_path)
            # Nothing is started while somebody is dying, nor does it keep the loop busy.
            attended.worker.attend(calm=False)
            assert attended.worker.fds() == ()
            assert children() == []
            attended.until(lambda: bool(children()))
            assert client.recv(100) == b"hello"
        attended.until(lambda: not children())
    assert attended.said == []


def test_everybody_may_connect_if_the_settings_say_so(attended: Attended) -> None:
    attended.configure("", clients="all")
    assert os.stat(attended.socket_path).st_mode & 0o777 == 0o666


def test_a_folder_that_takes_no_socket_costs_the_socket_alone(tmp_path: Path) -> None:
    attended = Attended(tmp_path / "missing", Root())
    attended.configure("answers")
    attended.until(lambda: attended.worker.count == 2)
    assert attended.said == [
        f"{attended.socket_path}: No such file or directory: no program can register there"
    ]
    attended.close()


def test_the_worker_is_an_ordinary_process(attended: Attended) -> None:
    attended.started("answers")
    (pid,) = children()
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "0\n"
    # In a group of its own: what is meant for the guard's does not reach it.
    assert os.getpgid(pid) == pid


def test_a_new_configuration_is_a_new_worker(attended: Attended) -> None:
    attended.started("answers")
    (pid,) = children()
    attended.started("answers")
    attended.until(lambda: pid not in children())
    assert attended.said == []
    assert attended.call().freed_pages == 15


def test_a_worker_that_will_not_go_is_made_to(attended: Attended) -> None:
    attended.started("hangs_up", SHORT_MS)
    (pid,) = children()
    os.kill(pid, signal.SIGSTOP)
    attended.configure("", clients="off")
    attended.worker.attend(calm=True)
    assert children() == [pid]
    assert not attended.worker.at_rest
    attended.skew_ms += 10_000
    attended.until(lambda: not children())
