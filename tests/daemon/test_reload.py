"""SIGHUP, and a configuration that is broken: the daemon goes on guarding, and says with what."""

import signal
from pathlib import Path

import pytest

from tests.daemon.sentinel import SAFE, Sentinel, argv, sentinel

pytestmark = pytest.mark.live

NOT_TAKEN = ["READY=1", "STATUS=guarding; the last reload failed, see the log"]


def reload(daemon: Sentinel) -> list[str]:
    """SIGHUP; what systemd hears when it is through."""
    daemon.send(signal.SIGHUP)
    heard = daemon.heard()
    assert heard[0] == "RELOADING=1"
    assert heard[1].startswith("MONOTONIC_USEC=")
    return daemon.heard()


def children(pid: int) -> list[str]:
    """Processes that it has started and not collected."""
    tasks = Path(f"/proc/{pid}/task")
    return [pid for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


def test_a_good_file_comes_into_force(running: Sentinel, config: Path) -> None:
    config.write_text(SAFE.replace("0.1", "0.2"))
    ready, status = reload(running)
    assert ready == "READY=1"
    assert status.startswith("STATUS=acts when MemAvailable falls to 0.2 % (at most 16 MiB)")
    assert running.stop() == 0
    assert "oomd: reloaded: acts when MemAvailable falls to 0.2 % (at most 16 MiB)" in running.log


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (f"{SAFE}top = 'all'\n", ":9: log.top: "),
        (f"{SAFE}[watch]\ntrip = 1\n", ":10: watch.trip: "),
        ("\n[log", ":2: is not TOML: "),
    ],
)
def test_a_broken_file_changes_nothing_and_is_named(
    running: Sentinel, config: Path, text: str, names: str
) -> None:
    config.write_text(text)
    assert reload(running) == NOT_TAKEN
    # It is not worse for it: the next good one is taken.
    config.write_text(SAFE)
    assert reload(running)[1].startswith("STATUS=acts when MemAvailable falls to 0.1 %")
    assert running.stop() == 0
    assert f"{config}{names}" in running.log
    said = "reload: the configuration is not usable (the line above says where); "
    assert f"oomd: {said}the settings from before stay in force\n" in running.log


def test_a_file_that_has_gone_changes_nothing(running: Sentinel, config: Path) -> None:
    config.unlink()
    assert reload(running) == NOT_TAKEN
    assert running.stop() == 0
    assert f"{config}: cannot be read" in running.log


def test_a_second_sighup_is_heard_after_the_first(running: Sentinel, config: Path) -> None:
    running.send(signal.SIGHUP)
    assert running.heard()[0] == "RELOADING=1"
    config.write_text(SAFE.replace("0.1", "0.3"))
    running.send(signal.SIGHUP)
    assert running.heard()[0] == "READY=1"
    assert running.heard()[0] == "RELOADING=1"
    assert running.heard()[1].startswith("STATUS=acts when MemAvailable falls to 0.3 %")
    assert running.stop() == 0


def test_nothing_is_left_of_a_reload(running: Sentinel, config: Path) -> None:
    pid = running.process.pid
    reload(running)
    fds = running.descriptors()
    for text in (SAFE, "nonsense", SAFE, SAFE):
        config.write_text(text)
        assert reload(running)[0] == "READY=1"
        # Collected: no zombie, and every descriptor closed.
        assert children(pid) == []
        assert running.descriptors() == fds
    assert running.stop() == 0


def test_the_watchdog_is_fed_after_a_reload_too(config: Path, tmp_path: Path) -> None:
    with sentinel(argv(config), tmp_path, env={"WATCHDOG_USEC": "300000"}) as daemon:
        daemon.wait_for("READY=1")
        daemon.send(signal.SIGHUP)
        daemon.wait_for("RELOADING=1")
        daemon.wait_for("READY=1")
        assert [daemon.heard() for _ in range(3)] == [["WATCHDOG=1"]] * 3
        assert daemon.stop() == 0


@pytest.mark.parametrize("text", ["nonsense = 1\n", None], ids=["broken", "missing"])
def test_it_starts_with_the_defaults_where_nothing_better_is_to_be_had(
    config: Path, tmp_path: Path, text: str | None
) -> None:
    if text is None:
        config.unlink()
    else:
        config.write_text(text)
    # Those may act on a machine that is nearly full: here it sees nobody but itself.
    with sentinel(argv(config), tmp_path, alone=True) as daemon:
        ready, status = daemon.heard()
        assert ready == "READY=1"
        assert status.startswith("STATUS=acts when MemAvailable falls to 5 % (at most 1024 MiB)")
        # And a reload mends it.
        config.write_text(SAFE)
        assert reload(daemon)[1].startswith("STATUS=acts when MemAvailable falls to 0.1 %")
        assert daemon.stop() == 0
    assert f"{config}:1: nonsense: " in daemon.log or f"{config}: cannot be read" in daemon.log
    assert "oomd: the configuration is not usable (the line above says where)\n" in daemon.log
    assert "oomd: guarding with the defaults\n" in daemon.log
