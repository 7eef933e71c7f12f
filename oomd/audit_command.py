"""``oomd --dry-run``: its arguments, one audit, and its output."""

import argparse
import io
import json
import os
import sys

from oomd import __version__
from oomd.audit import Question, audit
from oomd.cli_words import ExitCode, UsageError
from oomd.config_load import load_all, load_for
from oomd.config_plan import not_called
from oomd.oom import Constraint, Notified, NotifierChain
from oomd.proc.record import BadRecording, RecordedRoot, RecordingRoot, open_root
from oomd.proc.root import Root
from oomd.report.as_json import as_json
from oomd.report.findings import Findings
from oomd.settings import Settings

__all__ = ["add_arguments", "dry_run"]

PIPE_COLUMNS = 120

# MAX_NUMNODES, include/linux/numa.h.
MAX_NODES = 1024

ASSUMABLE = ("panic_on_oom", "oom_kill_allocating_task", "oom_dump_tasks")


def _assumption(text: str) -> tuple[str, int]:
    name, _, value = text.partition("=")
    name = name.removeprefix("vm.")
    if name not in ASSUMABLE or not value.isdecimal():
        known = ", ".join(f"vm.{one}" for one in ASSUMABLE)
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=NUMBER, NAME one of {known}")
    return name, int(value)


def _nodes(text: str) -> tuple[Constraint, int]:
    kind, colon, rest = text.partition(":")
    constraint = {"cpuset": Constraint.CPUSET, "mempolicy": Constraint.MEMORY_POLICY}.get(
        kind if colon else "cpuset"
    )
    mask = 0
    try:
        for part in (rest if colon else text).split(","):
            first, dash, last = part.partition("-")
            for nid in range(int(first), int(last if dash else first) + 1):
                if nid >= MAX_NODES:
                    raise ValueError
                mask |= 1 << nid
    except ValueError:
        mask = 0
    if constraint is None or not mask:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected a list of NUMA nodes such as 0-1,3, "
            "with cpuset: or mempolicy: before it"
        )
    return constraint, mask


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1")
    return int(text)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Those that go with --dry-run."""
    dry = parser.add_argument_group("the audit")
    dry.add_argument("--dry-run", action="store_true", help="one snapshot, one decision, no kill")
    dry.add_argument("--json", action="store_true", help="as JSON, schema 1")
    dry.add_argument("--policy", choices=("el7", "mainline", "auto"), help="whose rules")
    dry.add_argument("--top", type=_positive, metavar="N", help="rows of the ranking (10)")
    dry.add_argument("--root", metavar="DIR", help="judge a recorded or hand-made tree")
    dry.add_argument("--record", metavar="DIR", help="keep what was read, for --root")
    dry.add_argument(
        "--assume",
        action="append",
        default=[],
        type=_assumption,
        metavar="SYSCTL=N",
        help="what if, e.g. vm.panic_on_oom=1; may be repeated",
    )
    dry.add_argument(
        "--current", type=_positive, metavar="PID", help="what if this process were allocating"
    )
    where = dry.add_mutually_exclusive_group()
    where.add_argument("--memcg", metavar="PATH", help="judge an OOM of this memory cgroup")
    where.add_argument(
        "--nodes",
        type=_nodes,
        metavar="LIST",
        help="judge an OOM of these NUMA nodes: [cpuset:|mempolicy:]LIST",
    )
    where.add_argument("--manual", action="store_true", help="judge an OOM asked for by sysrq-f")
    dry.add_argument(
        "--watch",
        action="store_true",
        help="stay, and say what would be done each time a threshold is crossed",
    )


def _question(options: argparse.Namespace) -> Question:
    question = Question(
        policy=options.policy or "",
        memcg=options.memcg or "",
        assumed=tuple(options.assume),
        current_pid=options.current or 0,
        manual=options.manual,
    )
    if options.nodes:
        constraint, nodemask = options.nodes
        question = question._replace(nodemask=nodemask, node_constraint=constraint)
    return question


def _print(findings: Findings, settings: Settings, options: argparse.Namespace) -> None:
    if options.json:
        json.dump(as_json(findings), sys.stdout, indent=2)
        print()
        return
    # Half of the start-up time, and --json does without it.
    from rich.console import Console  # noqa: PLC0415

    from oomd.report.as_text import print_findings  # noqa: PLC0415

    top = options.top or settings.log.top
    if sys.stdout.isatty():
        print_findings(findings, top, Console(highlight=False))
        return
    # For a file or a pipe: one width everywhere, and nothing at the end of a line.
    console = Console(width=PIPE_COLUMNS, highlight=False, file=io.StringIO())
    with console.capture() as captured:
        print_findings(findings, top, console)
    for line in captured.get().splitlines():
        print(line.rstrip())


def _output(findings: Findings, settings: Settings, options: argparse.Namespace) -> None:
    """Print the audit, all of it. A reader that has seen enough is no error."""
    try:
        _print(findings, settings, options)
        sys.stdout.flush()
    except OSError as error:
        # What is left in the buffer would fail again at exit, where nobody answers for it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            raise UsageError(f"cannot write the output: {error.strerror}") from None


def _recorded_notifiers(root: RecordedRoot) -> NotifierChain | None:
    """The notifiers of the machine that was recorded; None: nobody noted them."""
    kept = root.extra.get("notifiers")
    if kept is None:
        return None
    priorities = kept.values() if isinstance(kept, dict) else ("",)
    if not all(one is None or type(one) is int for one in priorities):
        raise BadRecording(root.path, '"notifiers" has an impossible value')
    return NotifierChain(tuple(Notified(*one) for one in kept.items()))


def dry_run(options: argparse.Namespace) -> ExitCode:
    """One audit as the options ask for it. Raises what an audit raises, and UsageError."""
    root: Root = open_root(options.root or "/")
    loaded = load_all(options.config) if root.live else load_for(options.root, options.config)
    settings = loaded.configured.settings
    if options.watch:
        if options.root or options.record:
            raise UsageError("--watch needs the live machine: not with --root or --record")
        for name in ("memcg", "nodes", "current", "manual", "assume", "top"):
            if getattr(options, name):
                raise UsageError(f"--watch does not go with --{name}")
        from oomd.watch_only import watch  # noqa: PLC0415

        return ExitCode(watch(root, settings, policy=options.policy or "", as_json=options.json))
    own_pid = os.getpid() if root.live else 0
    notifiers = None
    if isinstance(root, RecordedRoot):
        own_pid = root.extra.get("own_pid", 0)
        if type(own_pid) is not int:
            raise BadRecording(root.path, '"own_pid" has an impossible value')
        # A configuration that was asked for is asked about.
        notifiers = None if options.config else _recorded_notifiers(root)
    if notifiers is None:
        notifiers = not_called(settings.notifiers.plan)
    recording = RecordingRoot(root, options.record) if options.record else None
    findings = audit(
        recording or root,
        settings,
        _question(options),
        own_pid,
        notifiers=notifiers,
        warnings=loaded.warnings,
    )
    if recording is not None:
        kept = {
            "own_pid": own_pid,
            "oomd": __version__,
            "thresholds": as_json(findings)["thresholds"],
            # Their names, and no more of the configuration: it may hold secrets.
            "notifiers": {one.name: one.priority for one in notifiers.results},
        }
        recording.finish(kept)
    _output(findings, settings, options)
    return ExitCode.NOTHING_TO_DO if findings.would_act is None else ExitCode.WOULD_ACT
