"""What start-up does for the process itself: in children of the test, not in the test."""

import errno
import gc
import os
import resource
import subprocess
import sys

import pytest

from oomd.effects import protect, syscalls
from oomd.effects.protect import exempt_from_oom
from oomd.proc.root import Refused
from tests.effects.children import LyingRoot


def in_a_child(source: str) -> str:
    preamble = f"import sys\nsys.path[:0] = {sys.path!r}\nfrom oomd.effects import protect\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", preamble + source],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.live
def test_memory_is_locked_as_it_is_used() -> None:
    shown = in_a_child(
        "print(protect.lock_memory())\n"
        "print([line for line in open('/proc/self/status') if line.startswith('VmLck')][0])\n"
    )
    said, locked = shown.split("\n", 1)
    if said == "memory is locked as it is used (MCL_ONFAULT)":
        assert int(locked.split()[1]) > 0
    else:
        # Without CAP_IPC_LOCK.
        assert said.startswith("memory is not locked: mlockall refused (E")


@pytest.mark.parametrize(
    ("onfault", "whole", "said"),
    [
        (0, None, "memory is locked as it is used (MCL_ONFAULT)"),
        (-errno.EINVAL, 0, "memory is locked whole (no MCL_ONFAULT here)"),
        (-errno.EPERM, None, "memory is not locked: mlockall refused (EPERM), "),
        (-errno.EINVAL, -errno.ENOMEM, "memory is not locked: mlockall refused (ENOMEM), "),
    ],
)
def test_lock_memory_says_what_it_got(
    monkeypatch: pytest.MonkeyPatch, onfault: int, whole: int | None, said: str
) -> None:
    answers = {True: onfault, False: whole}
    monkeypatch.setattr(syscalls, "mlockall", lambda *, onfault: answers[onfault])
    assert protect.lock_memory().startswith(said)


def test_the_collector_is_off() -> None:
    shown = in_a_child(
        "import gc\nsaid = protect.freeze_gc()\nprint(said, gc.isenabled(), sep='\\n')\n"
    )
    said, enabled = shown.splitlines()
    assert said.startswith("garbage collector off, ")
    assert enabled == "False"
    assert gc.isenabled()


def test_open_files_are_raised_to_the_hard_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lower = min(soft, hard, 64)
    shown = in_a_child(
        "import resource\n"
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({lower}, {hard}))\n"
        "print(protect.raise_nofile())\n"
        "print(protect.raise_nofile())\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    assert shown.splitlines() == [
        f"open files: {hard}, raised from {lower}",
        f"open files: {hard}",
        f"{hard} {hard}",
    ]


@pytest.mark.parametrize(
    ("adj", "said", "written"),
    [
        (b"0\n", "oom_score_adj set to -1000", [("proc/self/oom_score_adj", b"-1000")]),
        (b"-1000\n", "oom_score_adj is -1000 already", []),
    ],
)
def test_exempt_from_oom(adj: bytes, said: str, written: list[tuple[str, bytes]]) -> None:
    root = LyingRoot({"proc/self/oom_score_adj": adj})
    assert exempt_from_oom(root) == said
    assert root.written == written


def test_exempt_from_oom_refused() -> None:
    class Refusing(LyingRoot):
        def write(self, rel: str, data: bytes) -> None:
            raise Refused(rel, "EACCES")

    assert exempt_from_oom(Refusing({"proc/self/oom_score_adj": b"0\n"})) == (
        "oom_score_adj is not -1000: refused (EACCES), it needs CAP_SYS_RESOURCE"
    )


@pytest.mark.live
def test_it_is_a_real_time_task_and_what_it_starts_is_not() -> None:
    shown = in_a_child(
        "import os, subprocess, sys\n"
        "print(protect.be_realtime())\n"
        "print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_RR)\n"
        "argv = [sys.executable, '-c', 'import os; print(os.sched_getscheduler(0))']\n"
        "print(subprocess.run(argv, capture_output=True, text=True).stdout.strip())\n"
    )
    said, is_realtime, inherited = shown.splitlines()
    assert (is_realtime == "True") is said.startswith("real-time priority 1 ")
    # Without CAP_SYS_NICE, and with no limit that allows it.
    assert is_realtime == "True" or said.startswith("no real-time priority (E")
    assert inherited == "0"


def favoured(cpus: int | None) -> tuple[str, int, int]:
    """On a machine with so many processors: what it says, its scheduling policy and niceness."""
    shown = in_a_child(
        "import os\n"
        f"os.cpu_count = lambda: {cpus}\n"
        "print(protect.be_favoured())\n"
        "print(os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK, os.getpriority(0, 0))\n"
    )
    said, numbers = shown.splitlines()
    policy, niceness = map(int, numbers.split())
    return said, policy, niceness


@pytest.mark.live
@pytest.mark.parametrize("cpus", [2, None])
def test_it_is_real_time_where_others_have_a_processor(cpus: int | None) -> None:
    said, policy, _ = favoured(cpus)
    assert "real-time priority" in said
    assert (policy == os.SCHED_RR) is said.startswith("real-time priority 1 ")


@pytest.mark.live
def test_on_the_only_processor_it_is_favoured_and_not_real_time() -> None:
    said, policy, niceness = favoured(1)
    assert policy == os.SCHED_OTHER
    # Without CAP_SYS_NICE, and with no limit that allows it, it is refused.
    assert said == (
        "one processor: niceness -20, so that others have a part of it"
        if niceness == -20
        else "one processor, and no niceness -20 (EACCES)"
    )


FAULTS = """
import resource
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def take():
    return [b"." * (100 << 10) for _ in range(10)]
take(); faults()
{}
take()
before = faults()
take()
print(faults() - before)
"""


@pytest.mark.live
def test_memory_that_was_freed_is_not_faulted_in_again() -> None:
    assert int(in_a_child(FAULTS.format(""))) > 0
    assert int(in_a_child(FAULTS.format("assert 'kept' in protect.keep_heap()"))) == 0


TOUCHED = """
import resource
protect.keep_heap()
{}
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
taken = [bytes(400) for _ in range(100)]
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.live
def test_there_is_memory_to_spare() -> None:
    assert int(in_a_child(TOUCHED.format(""))) > 1
    assert int(in_a_child(TOUCHED.format("protect.touch_spare()"))) <= 1
