"""Plugins that hang, crash, raise, leak, fork, lie: each costs itself its turn, and nobody else.

The worker, its hosts and the plugins are the real ones; the test is their sentinel.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.notifier.driven import DrivenWorker, children_of, hostile, plan, wait_gone
from tests.notifier.hostile import NONSENSE

# For a plugin that will not answer: short, since the test has to wait for it.
SHORT_MS = 150


def options(**by_name: int) -> dict[str, dict[str, object]]:
    """Tables with nothing in them but a deadline."""
    return {name.replace("_", "-"): {"deadline_ms": ms} for name, ms in by_name.items()}


def between(folder: Path, attribute: str, name: str, **table: object) -> DrivenWorker:
    """A worker with the plugin between two that work."""
    tables: dict[str, Any] = {
        "echo": {"priority": 10},
        name: {"priority": 5, **table},
        "honest": {"priority": 0, "freed": 123},
    }
    plugins = hostile("honest", attribute, "echo")
    worker = DrivenWorker(folder, plan(plugins=plugins, options=tables))
    try:
        worker.until_registered(3)
    except BaseException:
        worker.__exit__(None, None, None)
        raise
    return worker


@pytest.mark.parametrize(
    ("attribute", "name", "table", "verdict"),
    [
        ("hangs", "hangs", {"deadline_ms": SHORT_MS}, "left behind: no answer within"),
        ("spins", "spins", {"deadline_ms": SHORT_MS}, "left behind: no answer within"),
        ("late", "late", {"deadline_ms": SHORT_MS}, "left behind: no answer within"),
        ("exits", "exits", {}, "its process has ended with status 7"),
        ("segfaults", "segfaults", {}, "its process was killed by SIGSEGV"),
        ("kills_itself", "kills-itself", {}, "its process was killed by SIGKILL"),
        ("leaves", "leaves", {}, "failed: SystemExit: I have had enough"),
        ("raises", "raises", {}, r"failed: RuntimeError: a driver's bug\nin \x1b[31mtwo lines"),
        ("moves_out", "moves-out", {"deadline_ms": SHORT_MS}, "left behind: no answer within"),
    ],
)
def test_it_costs_itself_its_turn_and_is_started_anew(
    tmp_path: Path, attribute: str, name: str, table: dict[str, object], verdict: str
) -> None:
    with between(tmp_path, attribute, name, **table) as worker:
        first = worker.oom()
        assert list(first) == ["echo", name, "honest"]
        assert first[name]["verdict"].startswith(verdict)
        assert first[name]["claimed_bytes"] == 0
        assert (first["echo"]["claimed_bytes"], first["honest"]["claimed_bytes"]) == (1 << 30, 123)
        line = worker.logged(f"plugin {name} (entry point {attribute}): {verdict[:20]}")
        assert "fault 1 of 3, it is started anew when it is calm" in line

        # In the same storm nobody loses a moment to it.
        second = worker.oom()
        assert list(second) == ["echo", name, "honest"]
        assert second[name]["verdict"].startswith("not called: ")
        assert second["honest"]["claimed_bytes"] == 123

        worker.calm()
        worker.until_ready(name)
        third = worker.oom()
        assert list(third) == ["echo", name, "honest"]
        assert third[name]["verdict"].startswith(verdict)


def test_an_answer_that_is_no_number_of_bytes_is_a_fault(tmp_path: Path) -> None:
    attributes = [f"says_{kind}".replace("-", "_") for kind in NONSENSE]
    tables = {"honest": {"priority": -1}}
    plugins = hostile(*attributes, "honest")
    with DrivenWorker(tmp_path, plan(plugins=plugins, options=tables)) as worker:
        worker.until_registered(len(NONSENSE) + 1)
        results = worker.oom()
        no_number = ", not the number of bytes freed"
        assert {name: one["verdict"] for name, one in results.items()} == {
            "says-none": f"failed: release() returned None (no return?){no_number}",
            "says-str": f"failed: release() returned a str{no_number}",
            "says-bool": f"failed: release() returned a bool{no_number}",
            "says-negative": "failed: release() returned a negative number of bytes",
            "says-float": f"failed: release() returned a float{no_number}",
            "says-stop-negative": "failed: release() returned a negative number of bytes",
            "says-stop-str": f"failed: release() returned a str{no_number}",
            "says-huge": "failed: release() returned an impossible number of bytes",
            "says-endless": "failed: release() returned an impossible number of bytes",
            "says-more-than-there-is": f"claims {2**62} bytes, more than this machine has",
            "honest": "claims 4096 bytes",
        }
        assert {one["claimed_bytes"] for one in results.values()} == {0, 4096}
        listed = worker.listing()
        assert [listed[name]["faults"] for name in results] == [1] * len(NONSENSE) + [0]


def test_one_that_was_left_behind_is_ended_when_it_is_calm(tmp_path: Path) -> None:
    tables = options(hangs=SHORT_MS, spins=SHORT_MS)
    with DrivenWorker(tmp_path, plan(plugins=hostile("hangs", "spins"), options=tables)) as worker:
        worker.until_registered(2)
        before = children_of(worker.pid)
        worker.oom()
        # In the storm it may still free something: nobody has touched it.
        assert children_of(worker.pid) == before
        worker.calm()
        for pid in before:
            wait_gone(pid)
        worker.until_ready("hangs")
        worker.until_ready("spins")
        assert len(children_of(worker.pid)) == 2


def test_a_leak_ends_at_the_plugins_own_limit(tmp_path: Path) -> None:
    with between(tmp_path, "leaks", "leaks") as worker:
        first = worker.oom()
        # An honest MemoryError; or the interpreter could not even say that.
        verdict = first["leaks"]["verdict"]
        assert verdict.startswith(("failed: MemoryError", "its process "))
        assert first["honest"]["claimed_bytes"] == 123
        worker.calm()
        worker.until_ready("leaks")


def test_what_a_plugin_has_forked_goes_with_it(tmp_path: Path) -> None:
    report = tmp_path / "pid"
    with between(tmp_path, "forks", "forks", report=str(report)) as worker:
        # Its child holds the channel open, so that the end of it shows nobody anything.
        first = worker.oom(deadline_ms=2000)
        assert first["forks"]["verdict"] == "its process has ended with status 3"
        assert worker.logged("plugin forks (entry point forks): its process has ended")
        wait_gone(int(report.read_text()))
        worker.calm()
        worker.until_ready("forks")
        assert worker.listing()["forks"]["faults"] == 1


def test_what_a_plugin_has_started_and_left_goes_with_the_worker(tmp_path: Path) -> None:
    report = tmp_path / "pid"
    with between(tmp_path, "forks_and_goes_on", "forks-and-goes-on", report=str(report)) as worker:
        assert worker.oom()["forks-and-goes-on"]["claimed_bytes"] == 4096
        child = int(report.read_text())
        assert os.path.exists(f"/proc/{child}")
        assert worker.hang_up() == 0
        wait_gone(child)


def test_one_that_closes_all_it_has_is_cut_off(tmp_path: Path) -> None:
    with between(tmp_path, "closes", "closes") as worker:
        first = worker.oom()
        assert first["closes"]["verdict"] == "its process has closed its connection to oomd"
        assert first["honest"]["claimed_bytes"] == 123
        worker.calm()
        worker.until_ready("closes")


def test_a_lie_is_told_with_what_was_measured(tmp_path: Path) -> None:
    with between(tmp_path, "lies", "lies") as worker:
        result = worker.oom()["lies"]
        assert result["claimed_bytes"] == 64 << 20
        for measured in ("mem_free_change_kib", "mem_available_change_kib"):
            assert type(result[measured]) is int


def test_stop_ends_the_chain(tmp_path: Path) -> None:
    with between(tmp_path, "stops", "stops") as worker:
        result = worker.oom()
        assert result["stops"]["claimed_bytes"] == 8192
        assert result["honest"]["verdict"] == "not called: stops ended the chain"


@pytest.mark.parametrize(
    ("attribute", "name"), [("babbles", "babbles"), ("talks_in_the_calm", "talks-in-the-calm")]
)
def test_one_that_talks_unasked_is_cut_off(tmp_path: Path, attribute: str, name: str) -> None:
    with between(tmp_path, attribute, name) as worker:
        first = worker.oom()
        assert first["honest"]["claimed_bytes"] == 123
        assert worker.logged(f"plugin {name} (entry point {attribute}): has sent")
        worker.calm()
        worker.until_ready(name)


def test_the_chain_ends_at_its_deadline_however_many_hang(tmp_path: Path) -> None:
    tables = {
        "hangs": {"priority": 9},
        "spins": {"priority": 8},
        "moves-out": {"priority": 7},
        "honest": {"priority": -1},
    }
    plugins = hostile("hangs", "spins", "moves_out", "honest")
    with DrivenWorker(tmp_path, plan(plugins=plugins, options=tables)) as worker:
        worker.until_registered(4)
        # Each of them may take a minute, all of them together half a second.
        results = worker.oom(deadline_ms=500)
        assert results["hangs"]["verdict"].startswith("left behind: no answer within")
        for name in ("spins", "moves-out", "honest"):
            assert results[name]["verdict"] == "not called: the chain's time is used up"
        # Those that never had their turn have done nothing wrong.
        again = worker.oom(deadline_ms=500)
        assert again["hangs"]["verdict"] == "not called: left behind earlier in this storm"
        assert again["spins"]["verdict"].startswith("left behind: no answer within")


def chains_until_quarantined(worker: DrivenWorker, name: str) -> Iterator[dict[str, Any]]:
    for _ in range(3):
        worker.until_ready(name)
        yield worker.oom()[name]
        worker.calm()


@pytest.mark.parametrize(("attribute", "name"), [("exits", "exits"), ("hangs", "hangs")])
def test_after_three_faults_it_is_not_called_again(
    tmp_path: Path, attribute: str, name: str
) -> None:
    with between(tmp_path, attribute, name, deadline_ms=SHORT_MS) as worker:
        verdicts = [one["verdict"] for one in chains_until_quarantined(worker, name)]
        assert len(verdicts) == 3
        assert "not called" not in " ".join(verdicts)
        line = worker.logged("quarantined")
        assert f"plugin {name} (entry point {attribute}): " in line
        assert line.endswith("quarantined (3 faults) until oomd is reloaded")
        # Still there for an admin to see, and of no more cost to anybody.
        after = worker.oom()
        assert after[name]["verdict"].startswith("not called: quarantined (3 faults): ")
        assert after["honest"]["claimed_bytes"] == 123
        worker.calm()
        listed = worker.listing()[name]
        assert listed["faults"] == 3
        assert listed["state"].startswith("quarantined (3 faults): ")
        assert listed["last"]["verdict"] == verdicts[-1]
        # The two that work have their processes, and nobody else has one.
        assert len(children_of(worker.pid)) == 2


def test_three_crashes_in_the_calm_are_three_faults_too(tmp_path: Path) -> None:
    plugins = hostile("talks_in_the_calm")
    with DrivenWorker(tmp_path, plan(plugins=plugins)) as worker:
        worker.until_registered(1)
        for _ in range(3):
            worker.until_ready("talks-in-the-calm")
            (answer,) = worker.client().ask(op="run", name="talks-in-the-calm")
            assert answer["claimed_bytes"] == 4096
            worker.logged("plugin talks-in-the-calm (entry point talks_in_the_calm): has sent")
        worker.until(lambda listed: listed["talks-in-the-calm"]["faults"] == 3)


def test_one_that_cannot_be_loaded_is_named_once_and_the_rest_register(tmp_path: Path) -> None:
    gone = {"source": "entry point gone", "module": "tests.notifier.nowhere", "attr": "x"}
    undecorated = {"source": "entry point os", "module": "os", "attr": "getpid"}
    plugins = [gone, undecorated, *hostile("honest")]
    with DrivenWorker(tmp_path, plan(plugins=plugins)) as worker:
        worker.until_registered(1)
        assert "ModuleNotFoundError" in worker.logged("plugin entry point gone: ")
        assert "is not decorated" in worker.logged("plugin entry point os: ")
        listed = worker.listing()
        assert listed["entry point gone"]["state"].startswith("refused: entry point gone: ")
        assert listed["honest"]["state"] == "ready"
        assert list(worker.oom()) == ["honest"]


def test_one_that_is_switched_off_is_neither_called_nor_missed(tmp_path: Path) -> None:
    tables = {"echo": {"enabled": False}}
    plugins = hostile("echo", "honest")
    with DrivenWorker(tmp_path, plan(plugins=plugins, options=tables)) as worker:
        worker.until_registered(1)
        worker.until(lambda listed: len(listed) == 2)
        assert worker.listing()["entry point echo"]["state"] == "switched off"
        assert list(worker.oom()) == ["honest"]


def test_two_of_one_name_the_second_is_refused(tmp_path: Path) -> None:
    plugins = hostile("honest", "honest")
    with DrivenWorker(tmp_path, plan(plugins=plugins)) as worker:
        line = worker.logged("a notifier named honest is registered already")
        assert "quarantined until oomd is reloaded" in line
        assert list(worker.oom()) == ["honest"]
