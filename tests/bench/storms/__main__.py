"""Measures OOM daemons in storms, in virtual machines, and prints the table.

    python -m tests.bench.storms [--runs 3] [--daemon oomd ...] [--storm leak-fast ...]
    python -m tests.bench.storms --table [--write]

Root, QEMU; four hours for everything, on a machine that does nothing else: the gaps of the host are
the guest's, too. What the folder has is not measured again, so a run that is stopped goes on where
it was; two at once share the work, on a processor each (taskset). Every OOM is a real one, inside
the machine. --write puts the table into README.
"""

import argparse
import datetime
import os
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import cast

from tests.bench import figures
from tests.bench.storms.cell import GUEST, Cell, hardware
from tests.bench.storms.daemons import DAEMONS, OURS, Daemon
from tests.bench.storms.images import package_version, rivals_image
from tests.bench.storms.judge import judge
from tests.bench.storms.measure import Raw
from tests.bench.storms.results import append, claimed, done, path_of, read_cells
from tests.bench.storms.scenes import STORMS, Storm
from tests.bench.storms.table import table
from tests.vm.image import Image, ImageError, digest
from tests.vm.installed import installed_image, tracked_files
from tests.vm.machine import GuestError, Machine

TREE = Path(__file__).parents[3]
# What decides how oomd behaves; the rest of the tree may change under a long measurement.
OF_OURS = ("oomd", "systemd", "packaging")
LOST = 2


@cache
def _image(ours: bool) -> Image:
    return installed_image(TREE) if ours else rivals_image()


@cache
def _version(daemon: Daemon, tree: Path) -> str:
    if daemon.name != OURS:
        return package_version(daemon.package) if daemon.package else "-"
    names = [name for name in tracked_files(tree) if name.split("/")[0] in OF_OURS]
    return digest(*names, *((tree / name).read_text(errors="replace") for name in names))[:8]


def _bench_version(storm: Storm) -> str:
    sources = [path.read_text() for path in sorted(GUEST.iterdir())]
    return digest(repr(storm), *sources)[:8]


def _tell(result: Raw) -> None:
    run = judge(result)
    print(
        f"{result['daemon']:12} {result['storm']:14} {run.verdict}: gaps {run.gaps_ms:.0f} ms, "
        f"longest {run.longest_ms:.0f} ms; killed {dict(run.killed) or 'nobody'}",
        flush=True,
    )


def _booted(daemon: Daemon, storm: Storm, scratch: Path) -> Machine:
    image = _image(daemon.name == OURS)
    return Machine(image, log_dir=scratch, cpus=1, qemu_args=hardware(storm, scratch))


def _boot_and_run(daemon: Daemon, storm: Storm, path: Path, about: Raw, wanted: int) -> None:
    """As many of the runs that are wanted as one boot allows."""
    with tempfile.TemporaryDirectory() as scratch, _booted(daemon, storm, Path(scratch)) as machine:
        cell = Cell(machine, daemon, storm)
        cell.prepare()
        while (count := done(path, about)) < wanted:
            when = {"date": datetime.date.today().isoformat(), "kernel": cell.kernel}
            result = {**about, **when, "run": count + 1, **cell.run()}
            # Why ours did what it did: for whoever measures, and ten times as long as the rest.
            said = cast("list[str]", result.pop("said"))
            path.with_suffix(".said").write_text("\n".join(said))
            append(path, result)
            _tell(result)
            if not storm.recovers:
                break


def _measure(daemon: Daemon, storm: Storm, options: argparse.Namespace) -> None:
    path = path_of(options.folder, daemon.name, storm.name)
    about: Raw = {
        "daemon": daemon.name,
        "storm": storm.name,
        "daemon_version": _version(daemon, TREE),
        "bench_version": _bench_version(storm),
        "machine": f"QEMU without KVM, 1 processor, 512 MiB, on {os.cpu_count()} processors",
    }
    lost = 0
    while lost < LOST and done(path, about) < options.runs:
        try:
            _boot_and_run(daemon, storm, path, about, options.runs)
        except GuestError as error:
            lost += 1
            print(f"{daemon.name} {storm.name}: a machine was lost: {error}", file=sys.stderr)


def _measure_all(options: argparse.Namespace) -> None:
    options.folder.mkdir(parents=True, exist_ok=True)
    for daemon in DAEMONS:
        for storm in STORMS:
            if daemon.name not in (options.daemon or [daemon.name]):
                continue
            if storm.name not in (options.storm or [storm.name]):
                continue
            with claimed(path_of(options.folder, daemon.name, storm.name)) as ours:
                if ours:
                    _measure(daemon, storm, options)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.storms", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = [daemon.name for daemon in DAEMONS]
    storms = [storm.name for storm in STORMS]
    folder = TREE / "tests/bench/storms/results"
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of each cell")
    parser.add_argument("--daemon", action="append", choices=names, help="repeatable")
    parser.add_argument("--storm", action="append", choices=storms, help="repeatable")
    parser.add_argument("--folder", type=Path, default=folder, metavar="DIR", help="raw results")
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table")
    parser.add_argument("--write", action="store_true", help="and put it into README")
    options = parser.parse_args()
    try:
        if not options.table:
            _measure_all(options)
    except ImageError as error:
        print(f"storms: {error}", file=sys.stderr)
        return 1
    cells = read_cells(options.folder)
    if not cells.by_name:
        print(f"storms: no results in {options.folder}", file=sys.stderr)
        return 1
    text = table(cells)
    print(text, end="")
    if options.write:
        readme = TREE / "README.md"
        readme.write_text(figures.replace(readme.read_text(), "storms", text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
