"""A tree whose files behave as the kernel's do when they are written, and events for releasers."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from oomd.mm_types import MemInfo
from oomd.notifier import OomEvent
from oomd.proc.root import WritableRoot, translate
from tests.proc.formats import meminfo_text
from tests.roots import DEFAULT_MEMINFO, Cgroup, make_root

__all__ = ["KernelFiles", "event", "kernel_files"]

Effect = Callable[[str], None]


class KernelFiles(WritableRoot):
    """What is written is recorded, and replaces what was there or has the effect it is given.

    An effect may raise OSError, as the kernel answers a write.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.written: list[tuple[str, str]] = []
        self.effects: dict[str, Effect] = {}

    def write(self, rel: str, data: bytes) -> None:
        self.written.append((rel, data.decode()))
        if not self.exists(rel):
            raise translate(rel, FileNotFoundError(2, "ENOENT"))
        effect = self.effects.get(rel)
        if effect is None:
            self.put(rel, data.decode())
            return
        try:
            effect(data.decode())
        except OSError as error:
            raise translate(rel, error) from None

    def put(self, rel: str, content: str) -> None:
        """A file with this content, and its folders."""
        path = Path(self.path, rel)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)

    def text(self, rel: str) -> str:
        """What is in a file, without the newline."""
        return Path(self.path, rel).read_text().strip()

    def link(self, rel: str, target: str) -> None:
        """A symbolic link."""
        path = Path(self.path, rel)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(target, path)

    def memory(self, **fields: int) -> None:
        """Change /proc/meminfo."""
        self.put("proc/meminfo", meminfo_text(meminfo(**fields)))


def meminfo(**fields: int) -> MemInfo:
    """16 GiB, 12 of them available, and whatever is given."""
    return DEFAULT_MEMINFO._replace(
        **{"mem_total_kib": 16 << 20, "mem_available_kib": 12 << 20, "mem_free_kib": 8 << 20}
        | fields
    )


def kernel_files(path: Path, cgroups: Sequence[Cgroup] = ()) -> KernelFiles:
    """A machine without pressure; its control groups, if any, are those of v2."""
    root = make_root(path, meminfo=meminfo(), cgroups=cgroups, cgroup_version=2, opener=KernelFiles)
    assert isinstance(root, KernelFiles)
    return root


def event(wanted_bytes: int = 1 << 30, within_s: float = 60.0) -> OomEvent:
    """Memory is short, and there is time."""
    return OomEvent(wanted_bytes, time.monotonic() + within_s, "exhaustion", "CONSTRAINT_NONE")
