"""The kernel's own PSI triggers, on the machine that runs the tests."""

import os
from pathlib import Path

import pytest

from oomd.proc.psi_trigger import Trigger, open_trigger
from oomd.proc.root import Root
from oomd.settings import Settings
from oomd.watch import Watch
from tests.effects.children import open_fds

pytestmark = pytest.mark.live

PRESSURE = "proc/pressure/memory"
CAP_SYS_RESOURCE = 24


def may_have_any_window() -> bool:
    """Whether this process has CAP_SYS_RESOURCE."""
    status = Path("/proc/self/status").read_text()
    (caps,) = (line.split()[1] for line in status.splitlines() if line.startswith("CapEff"))
    return bool(int(caps, 16) >> CAP_SYS_RESOURCE & 1)


def has_pressure() -> bool:
    return os.path.exists(f"/{PRESSURE}")


@pytest.mark.parametrize("kind", ["some", "full"])
def test_a_short_window_falls_back_to_one_that_anybody_may_have(kind: str) -> None:
    before = open_fds()
    trigger = open_trigger(Root(), PRESSURE, kind, 70, 500)
    if not has_pressure():
        assert trigger == f"{PRESSURE}: ENOENT"
        return
    assert isinstance(trigger, Trigger)
    # Since Linux 6.5 a trigger of a cgroup may; one of the machine needs the capability.
    assert trigger.window_ms == (500 if may_have_any_window() else 2000)
    os.close(trigger.fd)
    assert open_fds() == before


@pytest.mark.parametrize(
    ("window_ms", "granted_ms"), [(2000, 2000), (3000, 4000), (10_000, 10_000)]
)
def test_a_window_is_rounded_up_only_where_it_has_to_be(window_ms: int, granted_ms: int) -> None:
    trigger = open_trigger(Root(), PRESSURE, "full", 100, window_ms)
    if isinstance(trigger, str):
        assert not has_pressure()
        return
    os.close(trigger.fd)
    assert trigger.window_ms == (window_ms if may_have_any_window() else granted_ms)


@pytest.mark.parametrize(
    ("kind", "stall_ms", "window_ms"), [("all", 70, 2000), ("some", 70, 60_000), ("some", 9, 4)]
)
def test_what_the_kernel_refuses_is_said_and_leaves_nothing_open(
    kind: str, stall_ms: int, window_ms: int
) -> None:
    before = open_fds()
    refused = open_trigger(Root(), PRESSURE, kind, stall_ms, window_ms)
    assert refused == f"{PRESSURE}: {'EINVAL' if has_pressure() else 'ENOENT'}"
    assert open_fds() == before


def test_on_a_live_machine_the_notes_say_what_wakes_it_up() -> None:
    before = open_fds()
    watch = Watch(Root(), Settings(), cpus=2)
    if has_pressure():
        tripwire, stall = watch.notes
        assert tripwire.startswith("PSI tripwire: some 70 ms in 500 ms")
        assert ("seen over 2000 ms (no CAP_SYS_RESOURCE)" in tripwire) != may_have_any_window()
        assert stall == "PSI stall trigger: full 20 % of 2000 ms"
    else:
        assert watch.notes == (
            "no pressure stall information: MemAvailable is polled in its place",
        )
    watch.close()
    watch.close()
    assert open_fds() == before


def test_a_stall_that_is_switched_off_asks_the_kernel_for_nothing() -> None:
    settings = Settings()
    settings = settings._replace(stall=settings.stall._replace(full_percent=0.0))
    watch = Watch(Root(), settings, cpus=2)
    assert "the stall threshold is switched off" in watch.notes or not has_pressure()
    watch.close()
