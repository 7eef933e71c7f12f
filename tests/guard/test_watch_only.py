"""``oomd --dry-run --watch``: each crossing is told once, and nothing is done about it."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oomd.guard import Guard
from oomd.mm.policy import EL7
from oomd.oom import Notified, NotifierChain
from oomd.settings import Settings
from oomd.watch_only import RECOVERED_MS, REPEAT_MS, WatchOnly, text_of
from tests.audit.commands import TREE, Json
from tests.audit.machines import AMPLE, HOG, INIT, SHORT, TASKS
from tests.guard.fake_act import Guarded
from tests.report.events import plan_of
from tests.roots import Row, make_root

NONE = NotifierChain()
CHILD: Row = {"pid": 20, "comm": "worker", "ppid": 10, "rss_pages": 100}


def short_event(path: Path, *tasks: Row) -> Guarded:
    guarded = Guarded(path, tasks=[INIT, HOG, *tasks])
    guarded.memory(SHORT)
    guarded.turn()
    return guarded


def test_what_is_told_is_what_the_daemon_would_do(tmp_path: Path) -> None:
    guarded = short_event(tmp_path, CHILD)
    (event,) = guarded.act.events
    told: list[Json] = []
    WatchOnly(guarded.root, told.append, NONE).decided(event)
    (record,) = told
    assert record["victims"] == [
        {"pid": 20, "starttime_ticks": 2000, "comm": "worker", "uid": 0, "why": "child"}
    ]
    assert text_of(record) == "exhaustion crossed: would kill 20 (worker, child), score 500"
    # The last step too, which the decision alone does not know.
    assert record["trace"][6]["detail"]["victim_pid"] == 20
    json.dumps(record)


def test_the_notifiers_that_the_daemon_would_call_are_handed_over_uncalled(tmp_path: Path) -> None:
    guarded = short_event(tmp_path)
    (event,) = guarded.act.events
    chain = NotifierChain((Notified("balloon", 80), Notified("mine.py", None)))
    act = WatchOnly(guarded.root, lambda record: None, chain)
    assert act.notify("exhaustion", event.look) == chain
    assert not chain.called


def test_what_ends_without_a_kill_is_told_in_a_word(tmp_path: Path) -> None:
    dying: Row = {"pid": 20, "rss_pages": 5_000, "sigkill_pending": True}
    guarded = short_event(tmp_path, dying)
    (event,) = guarded.act.events
    assert plan_of(event) is None
    told: list[Json] = []
    WatchOnly(guarded.root, told.append, NONE).decided(event)
    assert text_of(told[0]) == "exhaustion crossed: would wait"


def test_it_is_quiet_for_a_minute_or_until_memory_is_in_order_again(tmp_path: Path) -> None:
    guarded = short_event(tmp_path)
    (event,) = guarded.act.events
    act = WatchOnly(guarded.root, lambda record: None, NONE)
    now_ms = event.look.now_ms
    assert act.hold_ms(now_ms) is None
    act.decided(event)
    assert act.hold_ms(now_ms) == 1000
    assert act.hold_ms(now_ms + REPEAT_MS - 1) == 1
    assert act.hold_ms(now_ms + REPEAT_MS) is None
    act.decided(event)
    act.seen(True, now_ms)
    act.seen(False, now_ms + RECOVERED_MS - 1)
    assert act.hold_ms(now_ms) is not None
    act.seen(False, now_ms + RECOVERED_MS)
    assert act.hold_ms(now_ms) is None


def test_each_crossing_is_told_once(tmp_path: Path) -> None:
    guarded = Guarded(tmp_path)
    told: list[Json] = []
    act = WatchOnly(guarded.root, told.append, NONE)
    guard = Guard(guarded.root, Settings(), EL7, guarded.watch, act)
    guard.longest_ms = 0
    now_ms = 0
    for meminfo, count in ((AMPLE, 0), (SHORT, 1), (SHORT, 1), (AMPLE, 1), (SHORT, 2), (SHORT, 2)):
        guarded.memory(meminfo)
        guard.turn()
        now_ms += RECOVERED_MS
        act.seen(guard.crossed, now_ms)
        assert len(told) == count


def test_it_would_not_kill_itself(tmp_path: Path) -> None:
    own: Row = {"pid": os.getpid(), "comm": "pytest", "rss_pages": 900_000}
    guarded = Guarded(tmp_path, tasks=[INIT, HOG, own])
    control = WatchOnly(guarded.root, lambda record: None, NONE).control()
    assert {ident.pid for ident in control.spared} == {os.getpid()}


# --- the process

WATCH = """
import sys
sys.path.insert(0, sys.argv[1])
from oomd.proc.record import open_root
from oomd.settings import Settings, WatchSettings
from oomd.guard import Guard
from oomd.mm.policy import EL7
from oomd.oom import Notified, NotifierChain
from oomd.settings import Settings
from oomd.watch_only import watch
# A look at least every second, however much memory there is.
settings = Settings(watch=WatchSettings(max_sleep_s=1))
sys.exit(watch(open_root(sys.argv[2]), settings, policy=sys.argv[3], as_json=sys.argv[4] == "json"))
"""


class Watching:
    def __init__(self, tree: Path, policy: str = "el7", form: str = "text") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WATCH, str(TREE), str(tree), policy, form],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    def line(self) -> str:
        pipe = self.process.stdout
        assert pipe is not None
        assert select.select([pipe], [], [], 60)[0], "nothing was said"
        return pipe.readline().decode().rstrip("\n")

    def lines(self, count: int) -> list[str]:
        return [self.line() for _ in range(count)]

    def stop(self, signum: signal.Signals) -> int:
        self.process.send_signal(signum)
        return self.process.wait(60)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_each_crossing_is_told_with_its_steps(tmp_path: Path, signum: signal.Signals) -> None:
    make_root(tmp_path, TASKS, meminfo=SHORT)
    watching = Watching(tmp_path)
    try:
        told = watching.lines(8)
        assert told[0] == "exhaustion crossed: would kill 10 (hog, chosen), score 500"
        assert told[1] == "  step 1 oom_notify_list: no notifier is registered"
        assert told[7].startswith("  step 7 oom_kill_process: SIGKILL to the chosen process")
        assert watching.stop(signum) == 0
    finally:
        watching.close()


def test_as_json_each_line_is_a_record(tmp_path: Path) -> None:
    make_root(tmp_path, [*TASKS, CHILD], meminfo=SHORT)
    watching = Watching(tmp_path, "mainline", "json")
    try:
        record = json.loads(watching.line())
        assert (record["policy"], record["verdict"]) == ("mainline", "kill")
        assert record["victims"] == [
            {"pid": 10, "starttime_ticks": 1000, "comm": "hog", "uid": 1000, "why": "chosen"}
        ]
        assert watching.stop(signal.SIGTERM) == 0
    finally:
        watching.close()


@pytest.mark.live
def test_on_this_machine_it_stays_until_it_is_told_to_stop(tmp_path: Path) -> None:
    config = tmp_path / "oomd.toml"
    config.write_text("[exhaustion]\navailable_percent = 0.1\n[stall]\nfull_percent = 0\n")
    command = [sys.executable, "-m", "oomd", "--dry-run", "--watch", "--config", str(config)]
    with subprocess.Popen(
        command, cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        lines: list[str] = []
        while not lines or "watching" not in lines[-1]:
            lines.append(process.stderr.readline())
            assert lines[-1], f"it has ended: {lines}"
        assert lines[0].startswith("oomd: acts when MemAvailable falls to 0.1 %")
        assert lines[-1] == "oomd: watching, nothing is killed\n"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
