"""The guard is asked, paused and flooded with questions, under its own unit."""

import json
import re
from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree

import pytest

from oomd.control.samples import COLUMNS
from tests.vm.scenarios.guarded import Guarded
from tests.vm.scenarios.kept_records import fetch

pytestmark = pytest.mark.vm

# So early that there is room for the commands, which are ordinary programs.
EARLY_PERCENT = 40
EARLY = f"[exhaustion]\navailable_percent = {EARLY_PERCENT}\n[stall]\nfull_percent = 0\n"

# Connects as fast as it can: junk, questions, silence; reads nothing.
FLOOD = """
import socket
held = []
print("flooding", flush=True)
while True:
    for data in (b"junk", b'{"op":"status"}', b"x" * 5000, None):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            one.connect("/run/oomd/control.sock")
            if data is not None:
                one.send(data)
            held.append(one)
        except OSError:
            one.close()
    while len(held) > 100:
        held.pop(0).close()
"""


def status(guard: Guarded) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(guard.machine.run(["oomd", "status", "--json"]).stdout)
    return found


def test_a_pause_holds_the_kill_until_it_is_over(
    guard: Guarded, figure: Callable[[str], None]
) -> None:
    guard.configure(EARLY)
    said = guard.machine.run(["oomd", "pause", "10m"]).stdout
    assert said == "paused for 600 s; oomd resume ends it before\n"
    assert guard.show("StatusText") == "paused for 10 min, nobody is killed"
    hog = guard.hog(f"--mib {guard.to_limit_mib(EARLY_PERCENT) + 20} --hold")
    entry = guard.wait_said(rf"^paused, nothing is done; would have killed {hog.pid} \(hog\)$")
    assert entry["PRIORITY"] == "4"
    told = status(guard)
    assert told["state"] == "paused"
    assert 0 < told["pause_left_ms"] < 600_000
    assert told["memory"]["crossed"] == "exhaustion"
    assert [one["verdict"] for one in told["decisions"]][-1] == "paused"
    assert hog.alive
    # A reload leaves it alone.
    guard.configure(EARLY + "[log]\ntop = 5\n")
    assert status(guard)["state"] == "paused"
    assert hog.alive

    assert guard.machine.run(["oomd", "resume"]).stdout == "guarding again\n"
    guard.wait_killed(hog.pid)
    assert hog.died_of() == 9
    assert guard.killed_pids() == [hog.pid]
    # Told when it is calm. As a kill, had it not been for the pause; and judged so again.
    recorded = fetch(guard.machine, guard.wait_said(r"^decided at exhaustion: paused"))
    assert (recorded.about.verdict, recorded.about.victims) == ("paused", ())
    assert recorded.answer.decision["verdict"] == "kill"
    guard.wait_said(rf"^{hog.pid} \(hog\) (gone|reaped) after")
    told = status(guard)
    assert told["state"] == "guarding"
    last = told["decisions"][-1]
    assert f"killed {hog.pid} (hog), the worst with " in last["text"]
    assert re.match(rf"{hog.pid} \(hog\) (gone|reaped) after ", last["settled"])
    assert told["counters"]["kills"] >= 1
    figure(f"{told['counters']['wakeups']} wake-ups since the start")
    guard.check_untouched()


def test_the_history_of_a_kill_can_be_drawn(guard: Guarded, figure: Callable[[str], None]) -> None:
    hog = guard.hog("--forever")
    entry = guard.wait_said(rf"^decided at \w+: kill {hog.pid} ")
    fetch(guard.machine, entry)
    path = entry["OOMD_RECORD"]
    record = json.loads(guard.machine.get(path))
    assert record["series"]["columns"] == list(COLUMNS)
    rows = record["series"]["rows"]
    times = [row[0] for row in rows]
    assert times == sorted(set(times))
    # How it came to it, and what came of it.
    assert times[0] < -1000
    assert times[-1] > 500
    before = [row[1] for row in rows if row[0] < 0]
    after = [row[1] for row in rows if row[0] > 0]
    limit_kib = record["thresholds"][0]["limit"]
    assert before[0] > before[-1]
    assert max(after) > limit_kib
    figure(
        f"{len(rows)} samples from {times[0]} to {times[-1]} ms, {len(json.dumps(record))} bytes"
    )

    listed = guard.machine.run(["oomd", "history", "--json", "--kills", "--since", "1h"]).stdout
    newest = json.loads(listed)["decisions"][-1]
    assert newest["record"] == path
    assert newest["victims"] == [{"pid": hog.pid, "comm": "hog", "why": "chosen"}]
    assert newest["settled"]["freed_kib"] > 0
    assert f" kill     hog     {hog.pid} " in guard.machine.run(["oomd", "history", path]).stdout
    guard.machine.run(["oomd", "history", "--plot", "/tmp/kill.svg", path])
    svg = ElementTree.fromstring(guard.machine.get("/tmp/kill.svg"))
    words = [one.text or "" for one in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert any(f"SIGKILL to {hog.pid} (hog)" in one for one in words)
    assert "memory (MiB)" in words
    guard.check_untouched()


def test_who_may_ask_under_the_units_own_sandbox(guard: Guarded) -> None:
    nobody = "setpriv --reuid=nobody --regid=nogroup --clear-groups oomd"
    guard.configure('[control]\ngroup = ""\n')
    done = guard.machine.run(f"{nobody} status", check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "may not be used by this user: see oomd's setting control.group" in done.stderr
    guard.configure('[control]\ngroup = "nogroup"\n')
    told = json.loads(guard.machine.run(f"{nobody} status --json").stdout)
    assert (told["running"], str(told["pid"])) == (True, guard.main_pid)
    done = guard.machine.run(f"{nobody} pause 1m", check=False)
    assert (done.returncode, done.stderr) == (2, "oomd: only root may do that\n")
    assert status(guard)["state"] == "guarding"
    guard.check_untouched()


def descriptors(guard: Guarded) -> int:
    return int(guard.machine.run(f"ls /proc/{guard.main_pid}/fd | wc -l").stdout)


def test_a_flood_of_questions_does_not_keep_it_from_its_work(
    guard: Guarded, figure: Callable[[str], None]
) -> None:
    before, fds_before = status(guard)["counters"], descriptors(guard)
    guard.machine.put("/tmp/flood.py", FLOOD)
    flood = guard.machine.start("python3 /tmp/flood.py")
    try:
        flood.wait_line("^flooding$", 180)
        hog = guard.hog("--forever")
        guard.wait_killed(hog.pid)
        assert hog.died_of() == 9
        entry = guard.wait_said(rf"^decided at \w+: kill {hog.pid} ")
        figure(f"threshold to SIGKILL {entry['OOMD_SIGNAL_AFTER_MS']} ms while it is flooded")
    finally:
        flood.kill()
        flood.wait(180)
    after = status(guard)["counters"]
    assert after["errors"] == before["errors"]
    # But for a question that is just being answered, or a helper that tells of the kill.
    assert descriptors(guard) <= fds_before + 8
    assert guard.killed_pids() == [hog.pid]
    guard.check_untouched()
