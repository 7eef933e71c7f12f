"""Imports run one way: a room imports from lower floors and from itself, never from a neighbour.

Reading and deciding do not know each other, what decides does no I/O, and what audits cannot kill.
"""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "oomd"

# One room in several files: the sentinel loads the first of them alone.
CONFIG = frozenset(
    {
        "config",
        "config_files",
        "config_hooks",
        "config_load",
        "config_notifiers",
        "config_plan",
        "config_plugins",
        "config_rules",
        "config_show",
        "config_words",
    }
)

# Lowest first. A name is a room: a folder, or a file that stands alone.
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"typed", "libc", "clock"}),
    frozenset({"lean", "plain_json", "trend"}),
    frozenset({"setting"}),
    frozenset({"settings_hooks"}),
    frozenset({"setting_records"}),
    frozenset(
        {
            "mm_types",
            "settings",
            "log",
            "message_ids",
            "sd_notify",
            "signals",
            "bootstrap",
            "helpers",
            "wire",
            "__init__",
            "notifier_options",
            "cli_words",
            "commands",
        }
    ),
    frozenset({"oom", "thresholds"}),
    frozenset({"rules"}),
    frozenset({"proc", "mm", "client", *CONFIG}),
    frozenset({"event", "settings_loader", "decide", "scan", "ahead", "stalls"}),
    frozenset({"report", "first_settings", "crossing"}),
    frozenset({"notifier", "effects", "watch", "tell", "teller", "records"}),
    frozenset({"hooks", "current"}),
    frozenset({"announcer"}),
    frozenset({"guard", "kill_plan", "ranking", "testing", "notifiers_words"}),
    frozenset({"control"}),
    frozenset({"audit", "watch_only", "daemon", "notifiers_command", "replay"}),
    frozenset({"audit_command", "status", "history"}),
    frozenset({"cli", "metrics"}),
    frozenset({"__main__"}),
)

NO_IO = ("mm", "mm_types", "oom", "rules", "thresholds", "stalls", "settings", "event")
IO_MODULES = {
    "os",
    "io",
    "sys",
    "socket",
    "subprocess",
    "time",
    "select",
    "pathlib",
    "ctypes",
    "_ctypes",
}


def modules() -> Iterator[tuple[str, Path]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        yield room, path


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""


def floor_of(room: str) -> int:
    found = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert len(found) == 1, f"{room} stands on {len(found)} floors: name it in FLOORS once"
    return found[0]


@pytest.mark.parametrize(("room", "path"), list(modules()), ids=str)
def test_imports_come_from_below(room: str, path: Path) -> None:
    floor = floor_of(room)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "oomd":
            continue
        other = parts[1] if len(parts) > 1 else "__init__"
        if other == room or {room, other} <= CONFIG:
            continue
        assert floor_of(other) < floor, f"{path} imports {name}, which is not below it"


@pytest.mark.parametrize(("room", "path"), list(modules()), ids=str)
def test_what_decides_does_no_io(room: str, path: Path) -> None:
    if room in NO_IO:
        assert not IO_MODULES & {name.split(".")[0] for name in imports(path)}


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PACKAGE.parent)
    return set(result.stdout.split())


@pytest.mark.parametrize(
    "module", ["oomd.audit", "oomd.watch_only", "oomd.cli", "oomd.replay.command"]
)
def test_an_audit_cannot_kill(module: str) -> None:
    loaded = {name + "." for name in loaded_by(f"import {module}")}
    assert not {name for name in loaded if name.startswith(("oomd.effects.", "oomd.notifier."))}
