"""Raw results on disk: one file for each cell, one line of JSON for each run."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.bench.storms.daemons import DAEMONS
from tests.bench.storms.measure import Raw
from tests.bench.storms.scenes import STORMS
from tests.oracle.run import read_results

__all__ = ["ABOUT", "Cells", "append", "claimed", "done", "of_one_version", "path_of", "read_cells"]

# What two results of one cell must have in common to be counted together.
VERSIONS = ("daemon_version", "bench_version")
ABOUT = ("daemon", "storm", "run", *VERSIONS, "kernel", "machine", "date")


class Cells(NamedTuple):
    """All that is to be shown."""

    by_name: dict[tuple[str, str], list[Raw]]
    """(storm, daemon): its runs, all of one version."""

    def runs(self, storm: str, daemon: str) -> list[Raw]:
        return self.by_name.get((storm, daemon), [])

    def every_run(self) -> Iterator[Raw]:
        for runs in self.by_name.values():
            yield from runs


def path_of(folder: Path, daemon: str, storm: str) -> Path:
    return folder / f"{daemon.replace(' ', '-')}.{storm}.jsonl"


@contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Whether this cell is ours: another process that measures at the same time may have it."""
    with path.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def append(path: Path, result: Raw) -> None:
    """Kept at once: whoever stops the bench, or pulls the plug, loses one run at most."""
    torn = path.exists() and path.stat().st_size > 0 and not path.read_text().endswith("\n")
    with path.open("a") as file:
        file.write(("\n" if torn else "") + json.dumps(result) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _version(result: Raw) -> tuple[object, ...]:
    return tuple(result[name] for name in VERSIONS)


def of_one_version(results: list[Raw]) -> list[Raw]:
    """Those of the newest version: a mean of two programs is a figure of neither."""
    return [one for one in results if _version(one) == _version(results[-1])]


def done(path: Path, about: Raw) -> int:
    """How many runs of this very version there are."""
    return sum(_version(one) == _version(about) for one in read_results(path))


def read_cells(folder: Path) -> Cells:
    """Everything that the folder has."""
    found = {}
    for storm in STORMS:
        for daemon in DAEMONS:
            results = read_results(path_of(folder, daemon.name, storm.name))
            if results:
                found[storm.name, daemon.name] = of_one_version(results)
    return Cells(found)
