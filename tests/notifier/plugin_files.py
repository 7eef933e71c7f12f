"""Drop-in files for the tests of loading."""

import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from oomd.notifier import OomEvent
from oomd.notifier.load import Plugin, PluginError, load

EVENT = OomEvent(1 << 20, 0.0, "exhaustion", "CONSTRAINT_NONE")

Write = Callable[..., Path]


def writer(tmp_path: Path) -> Write:
    """A drop-in file in a folder as root makes it."""
    folder = tmp_path / "notifiers.d"
    folder.mkdir(mode=0o755)

    def write(text: str, name: str = "mine.py") -> Path:
        path = folder / name
        path.write_text(textwrap.dedent(text))
        path.chmod(0o644)
        return path

    return write


def load_file(path: Path, table: Mapping[str, Any] | None = None, name: str = "mine") -> Plugin:
    return load({"source": str(path)}, {name: table or {}})


def refusal(path: Path, table: Mapping[str, Any] | None = None) -> str:
    with pytest.raises(PluginError) as caught:
        load_file(path, table)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable(), "one line"
    return text.removeprefix(f"{path}: ")


GOOD = """
    from oomd.notifier import NOTIFY_STOP, OomEvent, oom_notifier

    @oom_notifier("mine", priority=5)
    def release(
        event: OomEvent,
        *,
        keep_mib: int = 16,
        share: float = 0.5,
        eager: bool = False,
        where: str = "here",
        paths: list[str] = [],
    ) -> NOTIFY_STOP:
        print(keep_mib, share, eager, where, paths)
        return NOTIFY_STOP(event.wanted_bytes + keep_mib)
"""


def decorated(decorator: str = '@oom_notifier("mine")', rest: str = "(event): return 0") -> str:
    """The text of a plugin that is as short as can be."""
    return f"from oomd.notifier import OomEvent, oom_notifier\n{decorator}\ndef release{rest}\n"
