"""``oomd notifiers``: who can be asked for memory, whether they load, and what one of them frees.

A daemon that runs is asked over its socket. Without one, plugins are loaded in processes of
their own, as the daemon would.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

from oomd.cli_words import Parser, UsageError
from oomd.client import SOCKET, ClientError
from oomd.client.protocol import NobodyThere
from oomd.client.question import ask
from oomd.config import Configured, bare_plan, one_line
from oomd.config_load import load
from oomd.config_plan import listed, make_plan, warnings
from oomd.config_plugins import Found, discover
from oomd.notifier.builtin import make
from oomd.notifier.own_worker import OwnWorker, OwnWorkerError, Released
from oomd.notifier.trial import Introduced, TrialError, introduce
from oomd.notifier_options import builtin_named
from oomd.notifiers_words import print_checked, print_notifiers, print_released
from oomd.proc.errors import ReadError
from oomd.proc.root import WritableRoot
from oomd.testing import draft_entry

__all__ = ["NotifiersError", "main", "parser"]

EXIT_OK, EXIT_FAULT, EXIT_BAD = 0, 1, 2

# The longest deadline there can be, and an emergency that comes first.
RUN_S = 90.0

Message = Mapping[str, Any]


class NotifiersError(UsageError):
    """A notifier that cannot be asked."""


def _mib(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 1 << 40:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of MiB from 1")
    return int(text)


def _common() -> Parser:
    """What may stand before the word and after it."""
    common = Parser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("--config", metavar="FILE", help="read this configuration and no other")
    common.add_argument("--socket", metavar="PATH", help=f"in the place of {SOCKET}")
    common.add_argument("--json", action="store_true", help="list and run: as JSON, schema 1")
    return common


def parser() -> Parser:
    """The arguments of ``oomd notifiers``."""
    common = _common()
    parser = Parser(
        prog="oomd notifiers",
        parents=[common],
        description="Who is asked for memory before anyone has to die.",
        epilog="Exit status: 0 good, 1 the notifier that was run has failed or was not called, "
        "2 usage error, refused, or a notifier that check found to be bad, 70 internal error.",
    )
    what = parser.add_subparsers(dest="what", metavar="{list,check,run}")
    words = "those that are registered, in the order in which they are asked; the default"
    what.add_parser("list", parents=[common], help=words)
    words = "load and check each that is configured, and call none"
    check = what.add_parser("check", parents=[common], help=words)
    check.add_argument("files", nargs="*", metavar="FILE", help="check these plugins instead")
    words = "ask one for memory, for real; of an oomd that is running, as root"
    run = what.add_parser("run", parents=[common], help=words)
    run.add_argument("name", metavar="NAME", help="as oomd notifiers list has it")
    run.add_argument("--mib", type=_mib, default=64, metavar="N", help="how much (64)")
    return parser


# --- what is configured


class _Planned(NamedTuple):
    """What a daemon would run."""

    configured: Configured
    found: Found
    text: str
    """The plan. Empty: nothing."""
    content: Mapping[str, Any]
    """The same, parsed."""


def _planned(config: str | None) -> _Planned:
    """Raises ConfigError."""
    configured = load(config)
    found = discover()
    text = make_plan(configured, found)
    # Also where there is nothing to run: a draft has a table before it is installed.
    options = {
        name: {key: given.value for key, given in table.given.items()}
        for name, table in configured.tables.items()
        if builtin_named(name) is None
    }
    content = json.loads(text or bare_plan(configured.settings.notifiers))
    empty = {"builtin": [], "plugins": [], "options": options}
    return _Planned(configured, found, text, {**empty, **content})


# --- list


def _configured(planned: _Planned) -> list[dict[str, Any]]:
    """What is configured, in the words of the worker's own list."""
    fixed = {"op": "notifier", "state": "not running", "faults": 0, "last": None}
    return [{**one._asdict(), **fixed} for one in listed(planned.text)]


def _list(options: argparse.Namespace) -> int:
    running, note = True, ""
    try:
        notifiers = ask(options.socket, {"op": "list"})
    except ClientError as error:
        running = not isinstance(error, NobodyThere)
        why = str(error) if running else "oomd is not running"
        notifiers = _configured(_planned(options.config))
        note = f"{why}; {'what is configured:' if notifiers else 'nothing is configured'}"
    if options.json:
        fields = [{k: v for k, v in one.items() if k != "op"} for one in notifiers]
        print(json.dumps({"schema": 1, "running": running, "notifiers": fields}, indent=2))
    else:
        print_notifiers(notifiers, note)
    return EXIT_OK


# --- check


class _Check:
    """Checks one after the other, and says what came of each at once."""

    def __init__(self, planned: _Planned) -> None:
        self._planned = planned
        self._names: dict[str, str] = {}
        self.bad = 0

    def _good(self, name: str, source: str, priority: int, deadline_ms: int | None) -> None:
        taken = self._names.setdefault(name, source)
        if taken != source:
            self._bad(source, f"{source}: {name}: {taken} has registered this name already")
            return
        settings = self._planned.configured.settings.notifiers
        given_ms = deadline_ms or settings.deadline_ms
        print_checked(True, f"{name}  {source}, priority {priority}, {given_ms} ms")

    def _bad(self, source: str, problem: str) -> None:
        self.bad += 1
        print_checked(False, problem if problem.startswith(source) else f"{source}: {problem}")

    def builtin(self, entry: Message) -> None:
        name = str(entry["name"])
        try:
            make(name, entry["options"], WritableRoot())
        except (ValueError, OSError, ReadError) as error:
            self._bad(name, one_line(str(error)))
            return
        self._good(name, "built in", entry["priority"], entry["deadline_ms"])

    def plugin(self, entry: Message) -> None:
        source = one_line(str(entry["source"]))
        settings = self._planned.configured.settings.notifiers
        try:
            tables = self._planned.content["options"]
            found = introduce(entry, tables, memory_mib=settings.plugin_memory_mib)
        except TrialError as error:
            self._bad(source, str(error))
            return
        if found.enabled:
            self._good(found.name, source, found.priority, found.deadline_ms)
        else:
            print_checked(True, f"{source}: switched off")

    def leftovers(self) -> None:
        """What no notifier has asked for: tables of names that are not there."""
        planned = self._planned
        for problem in planned.found.problems:
            self._bad("", problem)
        said = [
            one
            for one in warnings(planned.configured, planned.found)
            if one not in planned.found.problems
        ]
        for name in planned.content["options"]:
            if name in self._names or any(f"notifiers.{name}:" in one for one in said):
                continue
            origin = planned.configured.tables[name].origin
            close = get_close_matches(name, self._names, 1)
            hint = f", did you mean {close[0]}?" if close else ""
            said.append(f"{origin}: notifiers.{name}: no notifier has registered this name{hint}")
        for one in said:
            print_checked(None, one_line(one))


def _check(options: argparse.Namespace) -> int:
    planned = _planned(options.config)
    check = _Check(planned)
    if options.files:
        for file in options.files:
            check.plugin(draft_entry(file if file.endswith(".py") else os.path.abspath(file)))
        return EXIT_BAD if check.bad else EXIT_OK
    for entry in planned.content["builtin"]:
        check.builtin(entry)
    for entry in planned.content["plugins"]:
        check.plugin(entry)
    check.leftovers()
    if not planned.text and not check.bad:
        print("no notifier is configured, and no plugin is installed")
    return EXIT_BAD if check.bad else EXIT_OK


# --- run


def _loaded(planned: _Planned) -> Iterator[tuple[Message, Introduced]]:
    """The plugins that load. What is wrong with the others is said."""
    memory_mib = planned.configured.settings.notifiers.plugin_memory_mib
    for entry in planned.content["plugins"]:
        try:
            found = introduce(entry, planned.content["options"], memory_mib=memory_mib)
        except TrialError as error:
            print(f"oomd: {error}", file=sys.stderr)
            continue
        yield entry, found


def _alone(name: str, planned: _Planned) -> dict[str, Any]:
    """The plan with this notifier and no other. Raises NotifiersError."""
    plan = {**planned.content, "builtin": [], "plugins": [], "watch_devices": False}
    for entry in planned.content["builtin"]:
        if entry["name"] == name:
            return {**plan, "builtin": [entry]}
    names = [entry["name"] for entry in planned.content["builtin"]]
    for entry, found in _loaded(planned):
        if found.name == name:
            return {**plan, "plugins": [entry]}
        names.append(found.name)
    there = f"there are {', '.join(filter(None, names))}" if names else "there is none"
    raise NotifiersError(f"no notifier is named {name}: {there} (oomd notifiers check)")


def _run_here(name: str, wanted_bytes: int, planned: _Planned) -> Released:
    """Raises NotifiersError."""
    try:
        with OwnWorker(_alone(name, planned)) as worker:
            worker.wait_until_ready(name)
            results = worker.chain(wanted_bytes, reason="manual", calm=False)
    except OwnWorkerError as error:
        raise NotifiersError(str(error)) from None
    return results[0]


def _run(options: argparse.Namespace) -> int:
    wanted_bytes = options.mib << 20
    question = {"op": "run", "name": options.name, "wanted_bytes": wanted_bytes}
    try:
        answer, *_ = ask(options.socket, question, RUN_S)
        deadlines = {one["name"]: one["deadline_ms"] for one in ask(options.socket, {"op": "list"})}
        released = Released.from_message(answer, deadlines)
        by = "the oomd that is running"
    except NobodyThere:
        released = _run_here(options.name, wanted_bytes, _planned(options.config))
        by = "this command: oomd is not running"
    except ClientError as error:
        raise NotifiersError(str(error)) from None
    if options.json:
        print(json.dumps({"schema": 1, **released._asdict()}, indent=2))
    else:
        print_released(released, by)
    return EXIT_FAULT if released.fault or not released.called else EXIT_OK


def main(argv: Sequence[str]) -> int:
    """The exit status. Raises NotifiersError and ConfigError."""
    options = argparse.Namespace(config=None, socket=SOCKET, json=False)
    parser().parse_args(argv, options)
    if options.json and options.what == "check":
        raise NotifiersError("--json goes with list and run")
    status = {"check": _check, "run": _run}.get(options.what, _list)(options)
    sys.stdout.flush()
    return status
