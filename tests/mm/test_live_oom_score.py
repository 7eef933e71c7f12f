"""The kernel's own opinion: ``/proc/PID/oom_score`` of every process of this machine.

``proc_oom_score()`` makes it of ``oom_badness()``: (1000 + points * 1000 / totalpages) * 2 / 3,
and 0 for the ineligible.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from oomd.mm.constraint import case_of
from oomd.mm.oom_badness import Case, c_div, ineligible, oom_badness
from oomd.mm.policy import MAINLINE
from oomd.mm_types import Snapshot, Task
from oomd.oom import OomControl
from oomd.proc.meminfo import read_meminfo
from oomd.proc.root import Gone, Root
from oomd.proc.task import read_task

pytestmark = pytest.mark.live

IDLERS = 300
# MiB held, oom_score_adj. What lowers it below 0 takes CAP_SYS_RESOURCE, which root may lack.
HOLDERS = ((4, 1), (8, 37), (16, 500), (24, 999), (32, 1000), (8, -1), (8, -500), (8, -1000))

# A process may grow between two looks: it is looked at again. What is wrong in a formula stays so.
LOOKS = 50

# include/linux/proc_ns.h, PROC_PID_INIT_INO: only there is pid 1 the global init.
INIT_PID_NS = "pid:[4026531836]"

HOLD = "import sys; held = b'x' * (int(sys.argv[1]) << 20); print(flush=True); sys.stdin.read()"


class Reading(NamedTuple):
    """A process, and its score right before and right after its figures were read."""

    task: Task
    before: int
    after: int


def kernels_score(root: Root, pid: int) -> int:
    return int(root.read(f"proc/{pid}/oom_score"))


def look(root: Root, pid: int) -> Reading | None:
    """None: it has gone meanwhile."""
    try:
        before = kernels_score(root, pid)
        task = read_task(root, pid, root.page_size_bytes())
        after = kernels_score(root, pid)
    except Gone:
        return None
    return None if task is None else Reading(task, before, after)


def score(points: int, totalpages: int) -> int:
    """``proc_oom_score()`` since 5.9."""
    return c_div((1000 + c_div(points * 1000, totalpages)) * 2, 3)


def blur_pages() -> int:
    """How far status and ``oom_badness()`` may be apart.

    rss and swap are four counters (anonymous, file, shared, swap), each with a part on every CPU
    that is below percpu_counter_batch, max(32, 2 * CPUs), either way. oom_badness() reads the
    common part alone; status on late 6.x sums up all of them.
    """
    cpus = os.cpu_count() or 1
    return 4 * cpus * (max(32, 2 * cpus) - 1)


def our_scores(task: Task, case: Case) -> range:
    """Every score that the blur allows: one, unless the points are near the edge of a step."""
    if ineligible(task, case):
        return range(1)
    points = oom_badness(task, case.totalpages, case.policy)
    blur = blur_pages()
    low, high = score(points - blur, case.totalpages), score(points + blur, case.totalpages)
    return range(low, high + 1)


def disagreement(root: Root, pid: int, case: Case) -> str | None:
    """What the kernel and we make of a process, if we differ each time it is looked at.

    An empty string: we agree. None: it has gone.
    """
    told = ""
    for _ in range(LOOKS):
        reading = look(root, pid)
        if reading is None:
            return None
        ours = our_scores(reading.task, case)
        if reading.before == reading.after and reading.before in ours:
            return ""
        told = f"{reading}: ours {ours}"
    return told


@pytest.fixture(scope="module")
def company() -> Iterator[dict[int, int]]:
    """Processes of our own, which end when the pipe that they read from is closed. Holders' pids,
    and the adjustment that each was given."""
    keep_out, keep_in = os.pipe()
    held: dict[int, int] = {}
    with contextlib.ExitStack() as stack:
        # Last in, first out: the pipe is closed, then everybody is waited for.
        for _ in range(IDLERS):
            stack.enter_context(subprocess.Popen(["cat"], stdin=keep_out))
        for mib, adj in HOLDERS:
            command = [sys.executable, "-I", "-S", "-c", HOLD, str(mib)]
            holder = stack.enter_context(
                subprocess.Popen(command, stdin=keep_out, stdout=subprocess.PIPE)
            )
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"\n"
            with contextlib.suppress(PermissionError):
                Path(f"/proc/{holder.pid}/oom_score_adj").write_text(str(adj), encoding="ascii")
                held[holder.pid] = adj
        os.close(keep_out)
        stack.callback(os.close, keep_in)
        yield held


@pytest.fixture(scope="module")
def case() -> Case:
    memory = Snapshot((), read_meminfo(Root()), Root().page_size_bytes())
    return case_of(OomControl(), memory, MAINLINE)


def test_every_process_of_this_machine(company: dict[int, int], case: Case) -> None:
    root = Root()
    pids = root.pids()
    if root.readlink("proc/self/ns/pid") != INIT_PID_NS:
        pids.remove(1)
    compared = [disagreement(root, pid, case) for pid in pids]
    assert [told for told in compared if told] == []
    assert compared.count("") > IDLERS


def test_adjusted_processes_of_our_own(company: dict[int, int], case: Case) -> None:
    root = Root()
    assert len(company) >= sum(adj >= 0 for _, adj in HOLDERS)
    for pid, adj in company.items():
        reading = look(root, pid)
        assert reading is not None
        assert reading.task.oom_score_adj == adj
        assert (reading.before == 0) is (adj == -1000)
        assert disagreement(root, pid, case) == ""


def test_the_blur_hides_no_mistake_in_the_adjustment(case: Case) -> None:
    """It is narrower than a step of the score, and so than any oom_score_adj beyond 1."""
    assert 2 * blur_pages() < case.totalpages * 3 // 2000
