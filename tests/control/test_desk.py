"""When the daemon answers, and when it has other things to do."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from oomd.clock import monotonic_ms
from oomd.control.chronicle import Chronicle
from oomd.control.desk import Desk, open_desk
from oomd.event import Look
from oomd.guard import Guard
from oomd.helpers import Helpers
from oomd.log import Log
from oomd.notifier.worker_process import WorkerProcess
from oomd.proc.errors import ReadError
from oomd.sd_notify import SdNotify
from oomd.settings import ControlSettings, Settings
from oomd.teller import Teller
from oomd.watch import Watch
from tests.guard.acting import Acting
from tests.notifier.attended import look as look_of


class Machine:
    """Memory as the test wants it: stands for the watch and for the loop."""

    def __init__(self) -> None:
        self.crossed: str | None = None
        self.blind = False
        self.looks = 0

    def look(self, now_ms: int) -> Look:
        self.looks += 1
        if self.blind:
            raise ReadError("proc/meminfo", "EIO")
        return look_of()._replace(now_ms=now_ms, crossed=self.crossed)


class Asked:
    """A desk with a socket, on that machine."""

    def __init__(self, path: Path) -> None:
        self.path = str(path / "control.sock")
        self.machine, self.acting = Machine(), Acting(())
        self.loop = SimpleNamespace(blind=False, seen=None)
        log = Log()
        teller = Teller(Helpers(), log)
        self.chronicle = Chronicle(teller.tell)
        say = log.say
        self.desk: Desk = open_desk(
            self.acting.root,
            self.path,
            act=self.acting.act,
            worker=WorkerProcess(self.acting.root, say, monotonic_ms, ""),
            chronicle=self.chronicle,
            teller=teller,
            log=log,
            notify=SdNotify(),
            config_file=None,
        )
        watch = SimpleNamespace(look=self.machine.look, notes=("a timer",), sleep_ms=lambda look: 7)
        # Nobody's group: it is this user's alone.
        settings = Settings(control=ControlSettings(""))
        self.desk.configure(settings, cast(Watch, watch), cast(Guard, self.loop))

    def ask(self, op: str = "status") -> socket.socket:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        one.settimeout(0)
        one.connect(self.path)
        one.send(json.dumps({"op": op}).encode())
        return one

    def loop_looks(self) -> None:
        """As at the beginning of each of its turns."""
        self.loop.seen(self.machine.look(monotonic_ms()))

    def turn(self) -> None:
        self.desk.attend(self.desk.fds())


def answered(client: socket.socket) -> list[dict[str, Any]] | None:
    """None: not yet."""
    found: list[dict[str, Any]] = []
    while True:
        try:
            data = client.recv(5000)
        except BlockingIOError:
            return None
        if not data:
            client.close()
            return found
        found.append(json.loads(data))


@pytest.fixture
def asked(tmp_path: Path) -> Iterator[Asked]:
    one = Asked(tmp_path)
    yield one
    one.desk.close()


def test_memory_is_looked_at_for_each_answer(asked: Asked) -> None:
    for number in (1, 2):
        client = asked.ask()
        asked.turn()
        assert asked.machine.looks == number
        told = answered(client)
        assert told is not None
        assert told[-1] == {"op": "end"}
        assert told[0]["state"] == "guarding"
    # And not where nobody asks.
    asked.desk.attend(())
    assert asked.machine.looks == 2


def test_nobody_is_answered_while_somebody_has_to_be_killed(asked: Asked) -> None:
    # It was not so at the loop's last look, and it is now.
    asked.machine.crossed = "exhaustion"
    client = asked.ask()
    asked.turn()
    assert answered(client) is None
    # Whoever knocks does not even wake it up.
    assert asked.desk.fds() == ()
    asked.machine.crossed = None
    asked.loop_looks()
    asked.turn()
    assert answered(client)


def test_right_after_the_kill_it_answers(asked: Asked) -> None:
    asked.machine.crossed = "exhaustion"
    asked.loop_looks()
    # As after a kill: the machine is left alone for a while.
    asked.acting.act._hold_until_ms = monotonic_ms() + 60_000
    client = asked.ask()
    asked.turn()
    told = answered(client)
    assert told is not None
    (memory,) = (one for one in told if one["op"] == "status_memory")
    assert memory["crossed"] == "exhaustion"


@pytest.mark.parametrize("why", ["paused", "of no use"])
def test_where_nobody_is_killed_it_answers_however_little_there_is(asked: Asked, why: str) -> None:
    asked.machine.crossed = "exhaustion"
    asked.loop_looks()
    assert asked.desk.fds() == ()
    if why == "paused":
        asked.desk._pause.begin(60)
    else:
        available_kib = look_of().meminfo.mem_available_kib
        asked.acting.act._futile.kill_settled(
            freed_kib=0,
            held_kib=100_000,
            shortfall_kib=1000,
            now_ns=0,
            available_kib=available_kib,
        )
    client = asked.ask()
    asked.turn()
    assert answered(client)


def test_blind_it_says_so(asked: Asked) -> None:
    asked.machine.crossed = "exhaustion"
    asked.loop_looks()
    asked.machine.blind = asked.loop.blind = True
    client = asked.ask()
    asked.turn()
    told = answered(client)
    assert told is not None
    ops = [one["op"] for one in told]
    assert ops[0] == "status_blind"
    assert "status_memory" not in ops
    assert "status_counters" in ops


def test_a_pause_shortens_the_sleep_and_a_decision_too(asked: Asked) -> None:
    assert asked.desk.longest_ms(20_000) == 20_000
    client = asked.ask("resume")
    asked.turn()
    told = answered(client)
    assert told == [{"op": "resumed", "was_paused": False}, {"op": "end"}]
    asked.desk._pause.begin(5)
    assert 4000 < asked.desk.longest_ms(20_000) <= 5000
    asked.desk._pause.end()
    # What comes of a decision is looked at for a second.
    asked.chronicle.tell({"kind": "settled", "fields": {}, "text": "x"})
    assert asked.desk.longest_ms(20_000) == 200


def test_the_rehearsal_needs_nobody(asked: Asked) -> None:
    asked.desk.rehearse()
    asked.machine.blind = True
    asked.desk.rehearse()
    assert asked.machine.looks == 2
