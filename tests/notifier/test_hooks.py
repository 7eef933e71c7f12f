"""The programs of ``[hooks]``, run by a real worker; and what they are told, whoever chose it."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from oomd import wire
from oomd.notifier.hooks import Hooks, environment, sentence, wall_argv
from oomd.notifier.plan import HookPlan
from oomd.proc.root import WritableRoot
from tests.notifier.driven import DrivenWorker, builtin, plan, wait_gone

pytestmark = pytest.mark.live

PATIENCE_S = 60.0
EVIL = "\x1b[2J\n$(reboot)`id`\x00\u202e"

FACTS: dict[str, Any] = {
    "victim_pid": 10,
    "victim_comm": "hog",
    "victim_uid": 26,
    "victim_unit": "db.service",
    "freed_kib": 2048,
}


def program(folder: Path, script: str, mode: int = 0o755) -> str:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(mode)
    return str(path)


def until(done: Callable[[], bool], why: Callable[[], object] = lambda: "nothing came") -> None:
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, why()
        time.sleep(0.01)


def hook_plan(**settings: Any) -> dict[str, Any]:
    return {"warn": "", "killed": "", "deadline_ms": 60_000, "wall": False, **settings}


class Ran:
    """The hooks alone, in this process."""

    def __init__(self, wall_program: str = "", **settings: Any) -> None:
        """``wall_program``: in the place of the machine's own, which nobody here wants to hear."""
        self.said: list[str] = []
        self.hooks = Hooks(
            WritableRoot(),
            HookPlan(**hook_plan(**settings)),
            lambda priority, text: self.said.append(text),
            wall=lambda text: [wall_program, text] if wall_program else [],
        )
        self.hooks.start()

    def hear(self, event: str, **facts: object) -> None:
        message = {"op": "hook", "event": event, "facts": facts}
        self.hooks.hear(wire.decode(wire.encode(message)))

    def until_said(self, part: str) -> str:
        until(lambda: any(part in line for line in self.said), lambda: self.said)
        return next(line for line in self.said if part in line)


def test_the_facts_are_in_the_environment(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = Ran(killed=program(tmp_path, f"env | grep ^OOMD_ | sort > {out}; cat >> {out}"))
    ran.hear("killed", **FACTS, nothing=None)
    ran.until_said("has ended after")
    assert out.read_text().splitlines() == [
        "OOMD_EVENT=killed",
        "OOMD_FREED_KIB=2048",
        "OOMD_MESSAGE=process 10 (hog) of uid 26 was killed because memory was used up "
        "(unit db.service). 2 MiB came back.",
        "OOMD_VICTIM_COMM=hog",
        "OOMD_VICTIM_PID=10",
        "OOMD_VICTIM_UID=26",
        "OOMD_VICTIM_UNIT=db.service",
    ]


def test_each_event_has_its_own_program(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = Ran(warn=program(tmp_path, f"echo $OOMD_EVENT >> {out}"))
    ran.hear("killed", **FACTS)
    ran.hear("warn", mem_available_kib=500 << 10, mem_total_kib=8000 << 10, limit_kib=400 << 10)
    ran.until_said("hook warn: ")
    assert out.read_text() == "warn\n"


def test_what_a_stranger_has_chosen_is_one_harmless_line(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = Ran(killed=program(tmp_path, f'printf "%s" "$OOMD_VICTIM_COMM" > {out}'))
    ran.hear("killed", **{**FACTS, "victim_comm": EVIL})
    ran.until_said("has ended after")
    assert out.read_text().isprintable()
    told = environment("killed", {**FACTS, "victim_comm": "x"})
    assert all(value.isprintable() for value in told.values())


def test_a_terminal_is_told_nothing_raw() -> None:
    text = sentence("killed", {**FACTS, "victim_comm": "a$HOME"})
    (*_, last) = wall_argv(text) or [f"oomd: {text}".replace("$", "\\x24")]
    assert last.isprintable()
    # systemd would put its value there.
    assert "$" not in last and "a\\x24HOME" in last


def test_late_it_is_killed_with_all_that_it_has_started(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = f"sleep 1000 & echo $! > {out}.new; mv {out}.new {out}; wait"
    ran = Ran(warn=program(tmp_path, script), deadline_ms=2000)
    ran.hear("warn")
    line = ran.until_said("was still running after 2000 ms, and was killed")
    assert line.startswith("hook warn: ")
    wait_gone(int(out.read_text()))
    # And the next one is run.
    Path(tmp_path / "hook").write_text("#!/bin/sh\nexit 0\n")
    ran.hear("warn")
    ran.until_said("has ended after")


def test_how_it_failed_is_said_in_one_line(tmp_path: Path) -> None:
    ran = Ran(warn=program(tmp_path, "printf 'no\\033[31m mail\\n\\n'; exit 3"))
    ran.hear("warn")
    line = ran.until_said("ended with status 3")
    assert line == f"hook warn: {tmp_path}/hook ended with status 3: no\\x1b[31m mail"
    Path(tmp_path / "hook").write_text(f"#!/bin/sh\nkill -{signal.SIGTERM} $$\n")
    ran.hear("warn")
    ran.until_said(f"was killed by signal {int(signal.SIGTERM)}")


@pytest.mark.parametrize(
    ("mode", "why"),
    [(0o757, "can be written by others"), (0o775, "can be written by others"), (0o644, "chmod +x")],
)
def test_what_others_can_write_is_not_run(tmp_path: Path, mode: int, why: str) -> None:
    out = tmp_path / "out"
    ran = Ran(killed=program(tmp_path, f"touch {out}", mode))
    # Said at once, and not first when it is wanted.
    assert [why in line and line.endswith("it is not run") for line in ran.said] == [True]
    ran.hear("killed", **FACTS)
    until(lambda: len(ran.said) == 2, lambda: ran.said)
    assert not out.exists()
    Path(tmp_path / "hook").chmod(0o755)
    ran.hear("killed", **FACTS)
    ran.until_said("has ended after")
    assert out.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_belongs_to_somebody_else_is_not_run(tmp_path: Path) -> None:
    path = program(tmp_path, "exit 0")
    os.chown(path, 12345, 0)
    ran = Ran(warn=path)
    assert ran.said == [
        f"hooks.warn: {path}: {path} belongs to uid 12345: chown root {path}; it is not run"
    ]


def test_a_link_and_a_program_that_is_not_there_are_not_run(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(program(tmp_path, "exit 0"))
    ran = Ran(warn=str(link), killed=str(tmp_path / "absent"))
    assert "is a symbolic link" in ran.said[0]
    assert "No such file" in ran.said[1]


def test_wall_is_given_the_sentence(tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = program(tmp_path, f'printf "%s\\n" "$1" >> {out}')
    ran = Ran(path, wall=True)
    ran.hear("warn", mem_available_kib=5 << 10)
    ran.hear("killed", **FACTS)
    until(lambda: out.exists() and out.read_text().count("\n") == 2, lambda: ran.said)
    first, second = out.read_text().splitlines()
    assert first.startswith("memory is getting short: 5 of ")
    assert second.startswith("process 10 (hog) of uid 26 was killed")
    assert ran.said == []


def test_without_a_wall_that_is_said() -> None:
    ran = Ran(wall=True)
    assert ran.said and ran.said[0].startswith("hooks.wall: there is no program wall")


def test_only_so_many_wait(tmp_path: Path) -> None:
    gate, out = tmp_path / "gate", tmp_path / "out"
    os.mkfifo(gate)
    ran = Ran(warn=program(tmp_path, f"echo x >> {out}; read x < {gate} || true"))
    ran.hear("warn")
    until(out.exists)
    for _ in range(20):
        ran.hear("warn")
    assert [line for line in ran.said if "not run" in line] == [
        "hook warn: not run, 16 others wait"
    ] * 4
    Path(tmp_path / "hook").write_text(f"#!/bin/sh\necho x >> {out}\n")
    gate.write_text("\n")
    until(lambda: len(out.read_text().split()) == 17)


@pytest.mark.parametrize(
    "message",
    [
        {"event": "reboot", "facts": {}},
        {"event": 5, "facts": {}},
        {"event": "warn"},
        {"event": "warn", "facts": []},
        {"event": "warn", "facts": {"a": {}}},
        {"event": "warn", "facts": {"a": True}},
        {"event": "warn", "facts": {"A B=": 1}},
        {"event": "warn", "facts": {"": 1}},
        {"event": "warn", "facts": {f"a{n}": n for n in range(41)}},
    ],
)
def test_what_no_guard_would_send_is_refused(message: dict[str, Any]) -> None:
    with pytest.raises(wire.WireError):
        Ran().hooks.hear({"op": "hook", **message})


# --- a whole worker


@pytest.fixture
def drive(tmp_path: Path) -> Iterator[Callable[..., DrivenWorker]]:
    with ExitStack() as stack:
        yield lambda **changes: stack.enter_context(DrivenWorker(tmp_path, plan(**changes)))


def test_a_worker_that_has_only_hooks_says_so_and_stays(
    tmp_path: Path, drive: Callable[..., DrivenWorker]
) -> None:
    out = tmp_path / "out"
    path = program(tmp_path, f"echo $OOMD_EVENT >> {out}")
    worker = drive(hooks=hook_plan(warn=path, killed=path))
    assert worker.receive() == {"op": "registered", "count": 0}
    for event in ("warn", "killed"):
        worker.channel.send(wire.encode({"op": "hook", "event": event, "facts": FACTS}))
    until(lambda: out.exists() and out.read_text() == "warn\nkilled\n")


def test_the_chain_does_not_wait_for_a_hook(
    tmp_path: Path, drive: Callable[..., DrivenWorker]
) -> None:
    gate, out = tmp_path / "gate", tmp_path / "out"
    os.mkfifo(gate)
    path = program(tmp_path, f"echo x > {out}; read x < {gate}")
    command = ["/bin/sh", "-c", "echo 4096"]
    worker = drive(hooks=hook_plan(warn=path), builtin=[builtin("command.quick", argv=command)])
    worker.until_registered(1)
    worker.channel.send(json.dumps({"op": "hook", "event": "warn", "facts": {}}).encode())
    until(out.exists)
    worker.send_oom()
    (result,) = worker.results()
    assert result["claimed_bytes"] == 4096
    gate.write_text("\n")


def test_nonsense_is_said_and_outlived(drive: Callable[..., DrivenWorker]) -> None:
    worker = drive(hooks=hook_plan(warn="/absent"))
    assert worker.receive()["op"] == "registered"
    worker.channel.send(json.dumps({"op": "hook", "event": "x", "facts": {}}).encode())
    worker.send_oom()
    assert worker.results() == []
