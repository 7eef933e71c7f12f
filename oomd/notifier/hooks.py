"""Runs the programs of the settings ``[hooks]``, and tells those who are logged in.

In a thread of its own, one after the other: the notifiers' chain does not wait for them.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Final, NamedTuple

from oomd import wire
from oomd.config import one_line
from oomd.log import ERR, INFO, WARNING
from oomd.notifier.builtin.program import Runner
from oomd.notifier.plan import HookPlan
from oomd.notifier.plugin_file import Untrusted, check_program
from oomd.proc.root import WritableRoot

__all__ = ["Hooks", "environment", "sentence", "wall_argv"]

# The guard sends no more than it has to tell of; so many may wait for the one that runs.
_WAITING: Final = 16
# Of a message: so many facts, and of each so many characters.
_FACTS: Final = 40
_CHARACTERS: Final = 600
# Of what a program says when it fails.
_LAST_LINE: Final = 200

# wall(1) waits for a terminal that is not read.
_WALL_S: Final = 10
_WALL: Final = ("/usr/bin/wall", "/bin/wall")
_SYSTEMD_RUN: Final = "/usr/bin/systemd-run"
_SYSTEMD: Final = "/run/systemd/system"

Facts = Mapping[str, int | str]


class _Job(NamedTuple):
    event: str
    facts: Facts


def _facts(value: object) -> dict[str, int | str]:
    """Raises WireError."""
    if not isinstance(value, dict) or len(value) > _FACTS:
        raise wire.WireError('"facts" is no object, or too large')
    facts: dict[str, int | str] = {}
    for name, one in value.items():
        if not (name.isascii() and name.replace("_", "a").isalnum() and name.islower()):
            raise wire.WireError('"facts" has a name that is none')
        if isinstance(one, bool) or not isinstance(one, int | str | None):
            raise wire.WireError(f'"{name}" is neither a number nor a string')
        if one is not None:
            # A comm comes escaped, and a program's environment takes no NUL whatever comes.
            facts[name] = one_line(one[:_CHARACTERS]) if isinstance(one, str) else one
    return facts


def _mib(facts: Facts, name: str) -> str:
    kib = facts.get(name, 0)
    return str(int(kib) >> 10) if isinstance(kib, int) else "?"


def sentence(event: str, facts: Facts) -> str:
    """What a person is told."""
    if event == "warn":
        text = f"memory is getting short: {_mib(facts, 'mem_available_kib')} of "
        text += f"{_mib(facts, 'mem_total_kib')} MiB are available"
        if facts.get("swap_total_kib"):
            text += f", {_mib(facts, 'swap_free_kib')} MiB of swap are free"
        return f"{text}. Below {_mib(facts, 'limit_kib')} MiB the largest process is killed."
    text = f"process {facts.get('victim_pid')} ({facts.get('victim_comm')}) of uid "
    text += f"{facts.get('victim_uid')} was killed because memory was used up"
    unit = facts.get("victim_unit")
    text += f" (unit {unit})" if unit else ""
    return f"{text}. {_mib(facts, 'freed_kib')} MiB came back."


def environment(event: str, facts: Facts) -> dict[str, str]:
    """A program's: ``OOMD_EVENT``, ``OOMD_MESSAGE``, and each fact by its name."""
    named = {f"OOMD_{name.upper()}": str(value) for name, value in facts.items()}
    return {**named, "OOMD_EVENT": event, "OOMD_MESSAGE": sentence(event, facts)}


def wall_argv(text: str) -> list[str]:
    """The command that tells everybody who is logged in; empty: there is none.

    By way of systemd where it runs: our own sandbox has no access to the console's terminals.
    """
    wall = next((path for path in _WALL if os.path.exists(path)), "")
    if not wall:
        return []
    # systemd would put a variable's value there.
    command = [wall, "oomd: " + text.replace("$", "\\x24")]
    if not (os.path.isdir(_SYSTEMD) and os.path.exists(_SYSTEMD_RUN)):
        return command
    options = ["--quiet", "--collect", "--no-block", f"--property=RuntimeMaxSec={_WALL_S}"]
    return [_SYSTEMD_RUN, *options, "--", *command]


class Hooks:
    """Told by the guard what has happened, it tells programs and people."""

    def __init__(
        self,
        root: WritableRoot,
        plan: HookPlan,
        say: Callable[[int, str], None],
        wall: Callable[[str], Sequence[str]] = wall_argv,
    ) -> None:
        """``wall`` gives the command that tells those who are logged in."""
        self._plan = plan
        self._say = say
        self._wall = wall
        self._runner = Runner(root, "hooks")
        self._jobs: SimpleQueue[_Job] = SimpleQueue()

    def start(self) -> None:
        """Start the thread; what is wrong with a program is said now, and not at night."""
        for event, program in (("warn", self._plan.warn), ("killed", self._plan.killed)):
            if program:
                self._is_good(event, program)
        if self._plan.wall and not self._wall(""):
            self._say(ERR, "hooks.wall: there is no program wall (package bsdutils or util-linux)")
        threading.Thread(target=self._work, name="hooks", daemon=True).start()

    def hear(self, message: wire.Message) -> None:
        """A message of the guard's, ``hook``. Raises WireError."""
        event = wire.text(message, "event")
        if event not in ("warn", "killed"):
            raise wire.WireError('"event" is neither warn nor killed')
        job = _Job(event, _facts(message.get("facts")))
        if self._jobs.qsize() >= _WAITING:
            self._say(WARNING, f"hook {event}: not run, {_WAITING} others wait")
            return
        self._jobs.put(job)

    # --- in the thread

    def _work(self) -> None:
        self._runner.open()
        while True:
            event, facts = self._jobs.get()
            try:
                if self._plan.wall:
                    self._broadcast(sentence(event, facts))
                program = self._plan.warn if event == "warn" else self._plan.killed
                if program and self._is_good(event, program):
                    self._run(f"hook {event}", [program], environment(event, facts))
            except Exception as error:
                # The next one has another chance.
                self._say(ERR, one_line(f"hook {event}: {error!r}"))

    def _is_good(self, event: str, program: str) -> bool:
        try:
            check_program(program)
        except Untrusted as error:
            why = str(error)
        except OSError as error:
            why = error.strerror or "cannot be read"
        else:
            return True
        self._say(ERR, one_line(f"hooks.{event}: {program}: {why}; it is not run"))
        return False

    def _broadcast(self, text: str) -> None:
        argv = self._wall(text)
        if argv:
            self._run("wall", argv, {}, quiet=True)

    def _run(
        self, what: str, argv: Sequence[str], variables: Mapping[str, str], *, quiet: bool = False
    ) -> None:
        began = time.monotonic()
        deadline_ms = self._plan.deadline_ms
        program = argv[0]
        try:
            status, output = self._runner.run(argv, variables, began + deadline_ms / 1000)
        except OSError as error:
            self._say(ERR, one_line(f"{what}: {program} cannot be started: {error.strerror}"))
            return
        took_ms = int((time.monotonic() - began) * 1000)
        if status is None:
            text = f"{what}: {program} was still running after {deadline_ms} ms, and was killed"
            self._say(WARNING, one_line(text))
        elif status:
            how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            self._say(WARNING, one_line(f"{what}: {program} {how}{_last_words(output)}"))
        elif not quiet:
            self._say(INFO, one_line(f"{what}: {program} has ended after {took_ms} ms"))


def _last_words(output: bytes) -> str:
    lines = [line.strip() for line in output.decode("utf-8", "replace").split("\n")]
    last = next((line for line in reversed(lines) if line), "")
    return f": {last[:_LAST_LINE]}" if last else ""
