"""Targets that read more than one file: a whole tree, its manifest, a configuration."""

import io
import json
import tempfile
from pathlib import Path
from typing import Final

from rich.console import Console

from oomd.audit import Question, audit
from oomd.config_load import load_all
from oomd.proc.recorded import MANIFEST, RecordedRoot
from oomd.proc.root import READ_LIMIT, VALUE_BYTES, Gone, Refused, Root
from oomd.report.as_json import as_json
from oomd.report.as_text import print_findings
from oomd.settings import Settings

__all__ = ["manifest", "settings", "tree"]

_FILE: Final = b"== "


class _TreeInMemory(Root):
    """Files and nothing else, named in the bytes: ``== PATH``, newline, content."""

    def __init__(self, data: bytes) -> None:
        super().__init__("/nowhere")
        self._files: dict[str, bytes] = {}
        for part in (b"\n" + data).split(b"\n" + _FILE)[1:]:
            name, _, content = part.partition(b"\n")
            # The newline before the next name belongs to the content.
            self._files[name.decode("utf-8", "surrogateescape")] = content + b"\n"

    def read(self, rel: str, *, limit: int = READ_LIMIT) -> bytes:
        if rel not in self._files:
            raise Gone(rel, "ENOENT")
        if len(self._files[rel]) > limit:
            raise Refused(rel, "EFBIG")
        return self._files[rel]

    def read_record(self, rel: str) -> bytes:
        return self.read(rel)

    def read_value(self, rel: str) -> bytes:
        return self.read(rel)[:VALUE_BYTES]

    def listdir(self, rel: str) -> list[str]:
        below = [name[len(rel) + 1 :] for name in self._files if name.startswith(f"{rel}/")]
        return sorted({name.partition("/")[0] for name in below})

    def subdirs(self, rel: str) -> list[str]:
        below = [name[len(rel) + 1 :] for name in self._files if name.startswith(f"{rel}/")]
        return sorted({name.partition("/")[0] for name in below if "/" in name})

    def readlink(self, rel: str) -> str:
        raise Gone(rel, "ENOENT")

    def exists(self, rel: str) -> bool:
        return rel in self._files or bool(self.listdir(rel))


def tree(data: bytes) -> str:
    """An audit of it, as text and as JSON, of the whole and of a memory cgroup."""
    root = _TreeInMemory(data)
    said = io.StringIO()
    console = Console(file=said, width=100, force_terminal=False)
    for policy, memcg in (("el7", ""), ("mainline", "/a")):
        # Without the directory there is nothing to be asked.
        if memcg and not root.exists(f"sys/fs/cgroup{memcg}/memory.max"):
            continue
        findings = audit(root, Settings(), Question(policy=policy, memcg=memcg))
        print_findings(findings, 5, console)
        said.write(json.dumps(as_json(findings)))
    return said.getvalue()


# One for the whole process: what is in it is written anew each time.
_folder = tempfile.TemporaryDirectory(prefix="oomd-fuzz-")


def manifest(data: bytes) -> object:
    """A recording's, with a question to each of its answers."""
    (Path(_folder.name) / MANIFEST).write_bytes(data)
    root = RecordedRoot(_folder.name)
    facts = root.page_size_bytes(), root.clock_ticks(), root.kernel_release(), root.extra
    return *facts, root.same_mm(7, 8), root.user_ns_inode(7)


def settings(data: bytes) -> object:
    """A configuration file, up to the worker's plan."""
    path = Path(_folder.name) / "oomd.toml"
    path.write_bytes(data)
    return load_all(str(path), _folder.name, draft=True)
