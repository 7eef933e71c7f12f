"""The kernel's own lines, byte for byte, in both profiles; and names that are safe to print."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.mm.policy import EL7, MAINLINE
from oomd.mm_types import PF_KTHREAD, Task
from oomd.oom import Companion, CurrentTask, Kill, KillPlan, Step
from oomd.report.kernel_log import (
    companion_lines,
    dump_tasks,
    invoked_line,
    kill_lines,
    printable,
)
from tests.mm.machine import judge, task
from tests.proc.hostile import HOSTILE_COMMS

STEP = Step(7, "oom_kill_process", "SIGKILL to the chosen process")

PARENT = Task(
    pid=4711,
    starttime_ticks=1,
    comm="postgres",
    uid=26,
    mm_tid=4711,
    rss_pages=250_000,
    pgtables_pages=600,
    total_vm_pages=300_000,
    anon_rss_pages=200_000,
    file_rss_pages=30_000,
    shmem_rss_pages=20_000,
    oom_score_adj=-17,
)
CHILD = Task(
    pid=4712,
    starttime_ticks=2,
    comm="psql worker",
    uid=None,
    mm_tid=4720,
    pgtables_pages=3,
    swapents_pages=44,
    total_vm_pages=7,
    anon_rss_pages=6,
    oom_score_adj=300,
)


def lines(
    profile: str, victim: Task, message: str = "Out of memory", page: int = 4096
) -> list[str]:
    decision = judge(EL7, task(10, 5))
    assert isinstance(decision, Kill)
    kill = decision._replace(chosen=PARENT, points=1, message=message)
    plan = KillPlan(PARENT, victim, 1, False, STEP)
    return list(kill_lines(profile, kill, plan, 237, page))


def test_el7_names_the_chosen_one_and_the_victim() -> None:
    assert lines("el7", PARENT) == [
        "Out of memory: Kill process 4711 (postgres) score 237 or sacrifice child",
        "Killed process 4711 (postgres) total-vm:1200000kB, anon-rss:800000kB, "
        "file-rss:120000kB, shmem-rss:80000kB",
    ]


def test_el7_names_the_child_that_is_sacrificed_by_its_living_thread() -> None:
    assert lines("el7", CHILD, "Memory cgroup out of memory") == [
        "Memory cgroup out of memory: Kill process 4711 (postgres) score 237 or sacrifice child",
        "Killed process 4720 (psql worker) total-vm:28kB, anon-rss:24kB, file-rss:0kB, "
        "shmem-rss:0kB",
    ]


def test_mainline_says_it_in_one_line() -> None:
    assert lines("mainline", PARENT) == [
        "Out of memory: Killed process 4711 (postgres) total-vm:1200000kB, anon-rss:800000kB, "
        "file-rss:120000kB, shmem-rss:80000kB, UID:26 pgtables:2400kB oom_score_adj:-17",
    ]


def test_sizes_are_of_the_machines_pages() -> None:
    (line,) = lines("mainline", CHILD, page=65536)
    assert line == (
        "Out of memory: Killed process 4720 (psql worker) total-vm:448kB, anon-rss:384kB, "
        "file-rss:0kB, shmem-rss:0kB, UID:-1 pgtables:192kB oom_score_adj:300"
    )


def test_the_first_line_names_who_allocated_or_oomd() -> None:
    current = CurrentTask(9, 9, 3)
    assert invoked_line(current, "java", -5) == (
        "java invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=-5"
    )
    assert invoked_line(None, "", -1000) == (
        "oomd invoked oom-killer: gfp_mask=0x0, order=0, oom_score_adj=-1000"
    )
    assert "\n" not in invoked_line(current, "a\nb", 0)


def test_who_dies_with_the_victim() -> None:
    sharer = [Companion(CHILD, "sharing_mm")]
    said = list(companion_lines("el7", "Out of memory", sharer, 4096))
    assert said == ["Kill process 4720 (psql worker) sharing same memory"]
    assert list(companion_lines("mainline", "Out of memory", sharer, 4096)) == []
    group = [Companion(PARENT, "oom_group")]
    assert list(companion_lines("mainline", "Out of memory", group, 4096)) == lines(
        "mainline", PARENT
    )


KTHREAD = Task(2, 0, "kthreadd", flags=PF_KTHREAD, has_mm=False)
NO_MM = Task(3, 0, "gone", has_mm=False)
TABLE = (KTHREAD, NO_MM, PARENT._replace(uid=5), CHILD)


def test_the_task_table_of_el7() -> None:
    assert list(dump_tasks("el7", TABLE, 4096)) == [
        "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name",
        "[ 4711]     5  4711   300000   250000     600        0           -17 postgres",
        "[ 4720]     0  4712        7        0       3       44           300 psql worker",
    ]


def test_the_task_table_of_mainline() -> None:
    assert list(dump_tasks("mainline", TABLE, 4096)) == [
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
        "[   4711]     5  4711   300000   250000  2457600        0           -17 postgres",
        "[   4720]     0  4712        7        0    12288       44           300 psql worker",
    ]


# --- names


def decoded(comm: bytes) -> str:
    return comm.decode("utf-8", "surrogateescape")


@pytest.mark.parametrize(
    ("comm", "shown"),
    [
        (b"postgres: worker", "postgres: worker"),
        (b"", ""),
        (b"a) (b", "a) (b"),
        (b"x\ny\tz", "x\\x0ay\\x09z"),
        (b"\x1b[31m", "\\x1b[31m"),
        (b"\xff\xc3", "\\xff\\xc3"),
        (b"back\\slash", "back\\\\slash"),
        # What looks like an escape is no escape.
        (b"\\x1b", "\\\\x1b"),
        ("naïve 名".encode(), "naïve 名"),
        ("\u202eevil".encode(), "\\xe2\\x80\\xaeevil"),
    ],
)
def test_a_name_as_it_is_shown(comm: bytes, shown: str) -> None:
    assert printable(decoded(comm)) == shown


@given(st.one_of(st.binary(max_size=15), st.sampled_from(HOSTILE_COMMS)))
def test_any_name_becomes_one_safe_line(comm: bytes) -> None:
    shown = printable(decoded(comm))
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1
    # No byte is lost.
    assert shown.encode().decode("unicode_escape").encode("latin-1") == comm or not comm.isascii()


@given(st.sets(st.binary(max_size=15), min_size=2, max_size=2))
def test_two_names_are_never_shown_alike(comms: set[bytes]) -> None:
    assert len({printable(decoded(comm)) for comm in comms}) == 2


@given(st.sampled_from([EL7.name, MAINLINE.name]), st.binary(max_size=15))
def test_any_name_leaves_the_lines_lines(profile: str, comm: bytes) -> None:
    victim = PARENT._replace(comm=decoded(comm))
    companion = [Companion(victim, "sharing_mm"), Companion(victim, "oom_group")]
    every = [
        invoked_line(CurrentTask(9, 9, 3), victim.comm, 0),
        *lines(profile, victim),
        *companion_lines(profile, "Out of memory", companion, 4096),
        *dump_tasks(profile, [victim], 4096),
    ]
    assert all(line.isprintable() for line in every)
