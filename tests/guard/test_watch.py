"""What wakes the daemon up, what a look says, and how long it may sleep."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from oomd.event import Look
from oomd.proc.psi_trigger import Trigger
from oomd.proc.root import ReadError, Root
from oomd.settings import Settings, WatchSettings
from oomd.stalls import SAMPLE_MS
from tests.audit.machines import AMPLE, SHORT
from tests.effects.children import open_fds
from tests.guard.watched import LOW, PRESSURE, Machine


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_without_pressure_memory_alone_is_polled(tmp_path: Path) -> None:
    machine = Machine(tmp_path, pressure=None)
    assert machine.watch.notes == (
        "no pressure stall information: MemAvailable is polled in its place",
    )
    look = machine.watch.look(0)
    assert look.pressure is None
    assert look.thresholds[1].value is None
    assert look.thresholds[1].verdict == "not observable: no pressure stall information"
    # Nothing else is there to be polled, and memory cannot be used up sooner.
    assert machine.watch.sleep_ms(look) == look.headroom_kib * 1000 // (3600 * 1024)


def test_a_trees_pressure_is_read_and_never_written(machine: Machine) -> None:
    before = (machine.path / PRESSURE).read_bytes()
    assert machine.watch.notes == ("not the live machine: pressure and MemAvailable are polled",)
    assert machine.watch.look(0).pressure is not None
    assert (machine.path / PRESSURE).read_bytes() == before


def test_where_pressure_is_polled_no_window_is_slept_through(tmp_path: Path) -> None:
    settings = Settings(watch=WatchSettings(fill_rate_mib_per_s=100))
    machine = Machine(tmp_path, settings)
    look = machine.watch.look(0)
    assert look.headroom_kib // 102_400 > 2
    assert machine.watch.sleep_ms(look) == settings.stall.window_ms


def test_a_look_says_how_short_memory_is_for_either_threshold(machine: Machine) -> None:
    machine.memory(SHORT)
    look = machine.watch.look(0)
    assert look.crossed == "exhaustion"
    assert (look.limit_kib, look.guard_kib) == (200_000, 500_000)
    assert look.shortfall_kib("exhaustion") == look.shortfall_kib("manual") == 50_000
    assert look.shortfall_kib("stall") == 350_000
    assert look.headroom_kib == 0
    machine.memory(AMPLE)
    look = machine.watch.look(0)
    assert look.crossed is None
    assert look.shortfall_kib("exhaustion") == look.shortfall_kib("stall") == 0
    assert look.headroom_kib == 1_800_000


def test_pages_in_the_lists_of_the_processors_are_free(machine: Machine) -> None:
    # 20,000 pages are 80,000 KiB: more than what is missing.
    zone = "Node 0, zone   Normal\n  pagesets\n    cpu: 0\n              count: 20000\n"
    (machine.path / "proc/zoneinfo").write_text(zone)
    machine.memory(SHORT)
    look = machine.watch.look(0)
    assert look.crossed is None
    assert look.pcp_kib == 80_000
    assert look.shortfall_kib("exhaustion") == 0
    assert look.meminfo == SHORT
    assert not machine.watch.still("exhaustion")


TORN = (
    "",
    "MemTotal: much\n",
    "MemTotal: 4000000 kB\n",
    "MemTotal: 4000000 kB\nMemFree: 9 kB\nSwapTotal: 9 kB\n",
)


@pytest.mark.parametrize("text", TORN)
def test_a_torn_meminfo_is_an_error_and_no_crossing(machine: Machine, text: str) -> None:
    (machine.path / "proc/meminfo").write_text(text)
    with pytest.raises(ReadError):
        machine.watch.look(0)
    with pytest.raises(ReadError):
        machine.watch.still("exhaustion")


# --- waking up


class Wired(Machine):
    """A machine with descriptors in the place of the kernel's triggers.

    Out-of-band data on a socket is POLLPRI, as a stall is; a pipe without a reader is POLLERR,
    as a trigger of a cgroup is that has gone.
    """

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ends: dict[str, socket.socket] = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.asked: list[str] = []
        monkeypatch.setattr("oomd.watch.open_trigger", self._open_trigger)
        monkeypatch.setattr(Root, "live", True)
        super().__init__(path)

    def _open_trigger(self, root: Root, path: str, kind: str, *times: int) -> Trigger:
        self.asked.append(kind)
        if kind in self.ends:
            self.ends[kind].close()
        self.ends[kind] = socket.create_connection(self._listener.getsockname())
        receiver, _ = self._listener.accept()
        # As long as any test takes.
        return Trigger(receiver.detach(), 3_600_000)

    def fire(self, kind: str) -> None:
        self.ends[kind].send(b"!", socket.MSG_OOB)
        assert self.watch.wait(60_000) == ()

    def break_down(self, kind: str) -> None:
        """POLLERR on the trigger's descriptor."""
        read_fd, write_fd = os.pipe()
        os.close(read_fd)
        triggers = {"some": self.watch._tripwire, "full": self.watch._stall}
        trigger = triggers[kind]
        assert trigger is not None
        os.dup2(write_fd, trigger.fd)
        os.close(write_fd)
        # poll(2) knows numbers, not files.
        assert self.watch.wait(60_000) == ()

    def look(self, later_ms: int = 0) -> Look:
        return self.watch.look(time.monotonic_ns() // 1_000_000 + later_ms)

    def close(self) -> None:
        self.watch.close()
        self._listener.close()
        for end in self.ends.values():
            end.close()


@pytest.fixture
def wired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Wired]:
    before = open_fds()
    one = Wired(tmp_path, monkeypatch)
    yield one
    one.close()
    assert open_fds() == before


def test_the_tripwire_makes_it_look_closer_while_there_is_little_memory(wired: Wired) -> None:
    wired.memory(LOW)
    assert not wired.watch.near(wired.look())
    wired.fire("some")
    look = wired.look()
    assert wired.watch.near(look)
    assert wired.watch.sleep_ms(look) <= SAMPLE_MS
    # It is not crossed: somebody waits for memory, no more.
    assert look.crossed is None
    # With enough of it, or long after, there is no need.
    assert not wired.watch.near(wired.look(later_ms=3_700_000))
    wired.memory(AMPLE)
    assert not wired.watch.near(wired.look())


def test_twice_the_guard_is_near_enough(wired: Wired) -> None:
    wired.fire("some")
    wired.memory(AMPLE._replace(mem_available_kib=1_000_000))
    assert wired.watch.near(wired.look())
    wired.memory(AMPLE._replace(mem_available_kib=1_000_001))
    assert not wired.watch.near(wired.look())


def test_a_crossing_is_near_whatever_woke_it_up(machine: Machine) -> None:
    machine.memory(SHORT)
    assert machine.watch.near(machine.watch.look(0))


def test_the_kernels_event_wakes_and_is_not_taken_for_a_stall(wired: Wired) -> None:
    # It may come late, for a stall that is long past: only the count of the window counts.
    wired.memory(LOW)
    wired.look()
    assert wired.look().crossed is None
    wired.fire("full")
    look = wired.look()
    assert look.crossed is None
    assert look.thresholds[1].value == 0.0
    # But there is a look in time to count from.
    assert wired.watch.sleep_ms(look) <= Settings().stall.window_ms // 4


@pytest.mark.parametrize("kind", ["some", "full"])
def test_triggers_that_are_lost_are_no_stall_and_are_asked_for_again(
    wired: Wired, kind: str
) -> None:
    wired.memory(LOW)
    assert wired.asked == ["some", "full"]
    wired.break_down(kind)
    # No busy loop: there is nothing left that is ready.
    assert wired.watch.wait(0) == ()
    look = wired.look()
    assert look.crossed is None
    assert not wired.watch.near(look)
    # Polled, until they are back.
    assert wired.watch.sleep_ms(look) <= Settings().stall.window_ms
    assert wired.asked == ["some", "full"]
    wired.look(later_ms=1100)
    assert wired.asked == ["some", "full"] * 2
    wired.fire("full")
    assert wired.watch.near(wired.look())


# --- descriptors of others


def test_what_is_registered_wakes_it_up_until_it_is_unregistered(machine: Machine) -> None:
    read_fd, write_fd = os.pipe()
    machine.watch.register(read_fd)
    assert machine.watch.wait(0) == ()
    os.write(write_fd, b"x")
    assert machine.watch.wait(60_000) == (read_fd,)
    machine.watch.unregister(read_fd)
    assert machine.watch.wait(0) == ()
    # Twice is no error: it may have been lost.
    machine.watch.unregister(read_fd)
    os.close(read_fd)
    os.close(write_fd)


def test_a_descriptor_that_was_closed_does_not_keep_it_awake(machine: Machine) -> None:
    read_fd, write_fd = os.pipe()
    machine.watch.register(read_fd)
    os.close(read_fd)
    os.close(write_fd)
    assert machine.watch.wait(60_000) == ()
    assert machine.watch._poll.poll(0) == []


def test_those_whose_end_is_waited_for_change_from_turn_to_turn(machine: Machine) -> None:
    pipes = [os.pipe() for _ in range(2)]
    for _, write_fd in pipes:
        os.write(write_fd, b"x")
    (first, _), (second, _) = pipes
    machine.watch.follow([first])
    assert machine.watch.wait(60_000) == (first,)
    machine.watch.follow([second])
    assert machine.watch.wait(60_000) == (second,)
    machine.watch.follow([first, second])
    assert set(machine.watch.wait(60_000)) == {first, second}
    machine.watch.follow([])
    assert machine.watch.wait(0) == ()
    for fds in pipes:
        for fd in fds:
            os.close(fd)
