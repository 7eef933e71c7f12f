"""What one decision costs, beside earlyoom and nohang: prints README's table, or puts it there.

    sudo .venv/bin/python -m tests.bench.decision [--write] [--sizes 100,1000] [--folder DIR]

Makes up to 30,000 small processes and a large one, and ends them again. One decision is a whole
turn: what memory is like, then all processes, then who it would be. The floor is to open, read and
close one file of each process (oom_score), in the same Python. Times are of the processor, so that
a machine on which others work too gives nearly the same figures; rounds are taken by turns.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from oomd.clock import monotonic_ms
from oomd.event import MANUAL, Event, Look
from oomd.guard import Guard
from oomd.mm.policy import EL7
from oomd.mm_types import MemInfo
from oomd.oom import Kill, NotifierChain, OomControl
from oomd.proc.root import Root
from oomd.settings import Settings, WatchSettings
from oomd.watch import Watch
from tests.bench.crowd import HOG_MIB, build, crowd, hog, room_for
from tests.bench.figures import README, machine, replace
from tests.bench.rivals import earlyoom, fetch, nohang

SIZES = (100, 1_000, 5_000, 10_000, 30_000)
ROUNDS = 5
# Processes looked at in a round: the more there are, the fewer the decisions.
LOOKS = 20_000
DECISIONS_AT_MOST = 20
# A stated budget: watch.kept_descriptors.
KEPT_AT_MOST = 12_000
# Rivals rest between two of theirs.
RIVALS_DECISIONS_AT_MOST = 4


class Idle:
    """An ``Act`` that does nothing."""

    def control(self) -> OomControl:
        return OomControl()

    def notify(self, trigger: str, look: Look) -> NotifierChain:
        return NotifierChain()

    def decided(self, event: Event) -> None: ...

    def settle(self, memory: MemInfo | None) -> None: ...

    def hold_ms(self, now_ms: int) -> int | None:
        return None

    def pidfds(self) -> Iterable[int]:
        return ()

    def calm(self, look: Look) -> None: ...

    def rests(self, look: Look) -> bool:
        return False


class Ours:
    """The daemon's own loop, asked for a decision."""

    def __init__(self, kept_descriptors: int = 0) -> None:
        watching = WatchSettings(kept_descriptors=kept_descriptors)
        root, settings = Root(), Settings(watch=watching)
        self._watch = Watch(root, settings, os.cpu_count() or 1)
        self.guard = Guard(root, settings, EL7, self._watch, Idle())
        self.guard.rehearse()

    def decide(self, trigger: str = "exhaustion", *, whole: bool = False) -> Event:
        look = self._watch.look(monotonic_ms())
        return self.guard.decide(trigger, look, NotifierChain(), whole=whole)


def floor() -> None:
    """One file of each process: no decision can be had for less without descriptors kept open."""
    flags = os.O_RDONLY | os.O_CLOEXEC
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                fd = os.open(f"/proc/{name}/oom_score", flags)
            except OSError:
                continue
            os.read(fd, 64)
            os.close(fd)


def cpu_ms(work: Callable[[], object], times: int) -> float:
    """Processor time of one of so many."""
    begin_ns = time.thread_time_ns()
    for _ in range(times):
        work()
    return (time.thread_time_ns() - begin_ns) / times / 1e6


class Row(NamedTuple):
    """Milliseconds of the processor for one decision, the median of the rounds."""

    processes: int
    floor: float
    ours: float
    kept: float
    whole: float
    earlyoom: float
    nohang: float


def measure(program: Path, folder: Path, count: int, rounds: int) -> Row:
    """All of them by turns, with so many processes more than there are."""
    times = max(1, min(DECISIONS_AT_MOST, LOOKS // count))
    theirs = min(times, RIVALS_DECISIONS_AT_MOST)
    ours, keeping = Ours(), Ours(KEPT_AT_MOST)
    taken: list[tuple[float, ...]] = []
    with ExitStack() as stack:
        stack.enter_context(crowd(program, count))
        pid = stack.enter_context(hog())
        early = stack.enter_context(earlyoom(folder))
        no = stack.enter_context(nohang(folder))
        # By hand: nobody is waited for who happens to be dying.
        check(ours.decide(MANUAL), pid)
        check(keeping.decide(MANUAL), pid)
        for _ in range(rounds):
            taken.append(
                (
                    cpu_ms(floor, times),
                    cpu_ms(ours.decide, times),
                    cpu_ms(keeping.decide, times),
                    cpu_ms(lambda: ours.decide(whole=True), 1),
                    early.cpu_ms(theirs),
                    no.cpu_ms(theirs),
                )
            )
        check(ours.decide(MANUAL), pid)
    ours.guard.close()
    keeping.guard.close()
    return Row(count, *(statistics.median(one) for one in zip(*taken, strict=True)))


def check(event: Event, pid: int) -> None:
    """It is what it should be: somebody at least as large, and without reading all in full."""
    decision, snapshot = event.decision, event.snapshot
    if not isinstance(decision, Kill) or snapshot.tasks_read is None:
        sys.exit(f"decision: not the decision that was meant to be timed: {decision}")
    held = {task.pid: task for task in snapshot.tasks}
    if held[decision.chosen.pid].size_pages < held[pid].size_pages:
        sys.exit(f"decision: {decision.chosen} is not the worst")


def table(rows: Iterable[Row]) -> Iterator[str]:
    yield (
        "| processes more | floor | oomd | oomd / floor | descriptors kept | all in full "
        "| earlyoom | nohang |"
    )
    yield "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in rows:
        ratio = row.ours / row.floor
        yield (
            f"| {row.processes:,} | {row.floor:.1f} | **{row.ours:.1f}** | {ratio:.2f} "
            f"| {row.kept:.1f} | {row.whole:.1f} | {row.earlyoom:.1f} | {row.nohang:.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--write", action="store_true", help="into README.md")
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--folder", type=Path, help="where the packages are kept")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    folder = options.folder or Path(tempfile.gettempdir()) / "oomd-bench"
    folder.mkdir(mode=0o755, parents=True, exist_ok=True)
    versions = fetch(folder)
    program = build(folder)
    rows, left_out = [], []
    for count in map(int, options.sizes.split(",")):
        if why := room_for(count):
            left_out.append(f"{count:,} left out: {why}. ")
            continue
        rows.append(measure(program, folder, count, options.rounds))
        print(*table(rows[-1:]), sep="\n", flush=True)
    named = ", ".join(f"{name} {version}" for name, version in versions.items())
    text = "\n".join(table(rows))
    text += (
        f"\n\nMilliseconds of the processor for one decision, the median of {options.rounds} "
        f"rounds by turns, with a process of {HOG_MIB} MiB among so many small ones more than were "
        f"there; at most {KEPT_AT_MOST:,} descriptors kept; load average {load:.1f} at the start "
        f"({named}). {''.join(left_out)}({machine()}; tests/bench/decision.py)\n"
    )
    print(text)
    if options.write:
        README.write_text(replace(README.read_text(), "decision", text))


if __name__ == "__main__":
    main()
