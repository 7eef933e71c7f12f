"""One line at a time: the variants of each, and names that look like something else."""

import pytest

from oomd.replay.facts import (
    Booted,
    Chosen,
    Cpu,
    Exiting,
    Fact,
    Group,
    Header,
    Killed,
    NoneKillable,
    Pages,
    Panicked,
    Sharer,
    Summary,
    Swap,
    Zone,
)
from oomd.replay.kernel_report import Invoked, Limit, Named, Row
from oomd.replay.lines import fact
from oomd.replay.prefix import logged
from tests.replay.synthetic import ERAS, Process, rows_of

X = Named(7, "x")
EL7 = ("total_vm", "rss", "nr_ptes", "swapents", "oom_score_adj")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("sed invoked oom-killer: gfp_mask=0x201da, order=0, oom_score_adj=-17",
         Invoked("sed", 0x201DA, False, "", 0, -17)),
        ("olm invoked oom-killer: gfp_mask=0x6200ca(GFP_HIGHUSER_MOVABLE), nodemask=(null), "
         "order=3, oom_score_adj=996", Invoked("olm", 0x6200CA, True, "(null)", 3, 996)),
        ("k/0:2 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=0",
         Invoked("k/0:2", 0xCC0, True, "", -1, 0)),
        ("x invoked oom-killer: gfp_mask=0x0(), order=0, oom_score_adj=0",
         Invoked("x", 0, True, "", 0, 0)),
        ("CPU: 4 PID: 7 Comm: x Not tainted 3.10.0-514.el7.x86_64 #1",
         Cpu(X, "3.10.0-514.el7.x86_64")),
        ("CPU: 0 PID: 7 Comm: x Kdump: loaded Not tainted 4.18.0-553.el8_10.x86_64 #1",
         Cpu(X, "4.18.0-553.el8_10.x86_64")),
        ("CPU: 1 PID: 7 Comm: x Tainted: G           OE  ------------   3.10.0-693.el7.x86_64 #1",
         Cpu(X, "3.10.0-693.el7.x86_64")),
        ("CPU: 1 UID: 0 PID: 7 Comm: x Tainted: G        W          6.12.9+bpo-amd64 #1  Debian",
         Cpu(X, "6.12.9+bpo-amd64")),
        ("memory: usage 524288kB, limit 524288kB, failcnt 153", Limit("memory", 524288, 524288)),
        ("memory+swap: usage 1kB, limit 9007199254740988kB, failcnt 0",
         Limit("memory+swap", 1, 9007199254740988)),
        ("swap: usage 0kB, limit 0kB, failcnt 0", Limit("swap", 0, 0)),
        ("kmem: usage 0kB, limit 0kB, failcnt 0", None),
        ("8379834 pages RAM", Pages("RAM", 8379834)),
        ("0 pages HighMem/MovableOnly", None),
        ("192987 pages reserved", Pages("reserved", 192987)),
        ("0 pages cma reserved", None),
        ("Total swap = 8388604kB", Swap(8388604)),
        ("Node 1 Normal free:49436kB min:4kB present:16777216kB managed:9kB", Zone(1, 16777216)),
        ("Node 0 DMA32 free:872388kB min:50784kB low:63480kB high:76kB active_a>", Zone(0, None)),
        ("Normal free:248784kB boost:202752kB present:16764544kB managed:9kB", Zone(0, 16764544)),
        ("Out of memory: Kill process 7 (x) score 651 or sacrifice child",
         Chosen("Out of memory", X, 651)),
        ("Memory cgroup out of memory: Kill process 7 (x) score 1 or sacrifice child",
         Chosen("Memory cgroup out of memory", X, 1)),
        ("Out of memory (oom_kill_allocating_task): Kill process 7 (x) score 0 or sacrifice child",
         Chosen("Out of memory (oom_kill_allocating_task)", X, 0)),
        ("Kill process 7 (x) sharing same memory", Sharer(X)),
        ("Killed process 7 (x) total-vm:8kB, anon-rss:4kB, file-rss:76kB", Killed("", X, 8)),
        ("Killed process 7 (x), UID 9730, total-vm:8kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB",
         Killed("", X, 8)),
        ("Out of memory: Killed process 7 (x) total-vm:8kB, anon-rss:4kB, file-rss:0kB, "
         "shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0", Killed("Out of memory", X, 8)),
        ("Memory cgroup out of memory: OOM victim 7 (x) is already exiting. Skip killing the task",
         Exiting(X)),
        ("oom_reaper: reaped process 7 (x), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB", None),
        ("Linux version 6.1.0-56-amd64 (a@b) (gcc-12) #1 SMP Debian", Booted("6.1.0-56-amd64")),
        ("Tasks in /a b are going to be killed due to memory.oom.group set", Group("/a b")),
        ("Out of memory and no killable processes...", NoneKillable()),
        ("Kernel panic - not syncing: Out of memory and no killable processes...",
         Panicked("Out of memory and no killable processes...", True)),
        ("Kernel panic - not syncing: System is deadlocked on memory",
         Panicked("System is deadlocked on memory", True)),
        ("---[ end Kernel panic - not syncing: System is deadlocked on memory ]---", None),
        ("oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=a,mems_allowed=0-1,"
         "oom_memcg=/lxc/1,task_memcg=/lxc/1/b,task=x,pid=7,uid=1000",
         Summary("CONSTRAINT_MEMCG", "(null)", "0-1", "/lxc/1", X)),
        ("oom-kill:constraint=CONSTRAINT_MEMORY_POLICY,nodemask=1,cpuset=/,mems_allowed=0-1,"
         "global_oom,task_memcg=/,task=x,pid=7,uid=0",
         Summary("CONSTRAINT_MEMORY_POLICY", "1", "0-1", "", X)),
        ("TCP: out of memory -- consider tuning tcp_mem", None),
        ("foo.service: A process of this unit has been killed by the OOM killer.", None),
        ("x[7]: segfault at 0 ip 0 sp 0 error 4 in x[0+1000]", None),
        ("", None),
    ],
)  # fmt: skip
def test_what_a_line_says(line: str, says: Fact | None) -> None:
    assert fact(line) == says


@pytest.mark.parametrize("era", ERAS)
def test_the_table_of_each_time(era: str) -> None:
    header = fact(ERAS[era].header)
    assert isinstance(header, Header)
    process = Process(1234567, 2_000, "x y", uid=-1, adj=-999, pgtables=10, swapents=3, tid=7654321)
    (line,) = rows_of(era, [process])
    row = fact(line, header.columns)
    assert isinstance(row, Row)
    in_bytes = "pgtables_bytes" in header.columns
    pgtables = 10 * 4096 if in_bytes else 10
    assert row == Row(7654321, -1, 1234567, 4_000, 2_000, pgtables, 3, -999, "x y")


@pytest.mark.parametrize("digits", [22, 5_000])
def test_numbers_that_no_kernel_prints(digits: int) -> None:
    """int() would raise its own error from 4,300 digits on."""
    many = "9" * digits
    for line in (
        f"{many} pages RAM",
        f"Total swap = {many}kB",
        f"swap: usage 0kB, limit {many}kB, failcnt 0",
        f"Killed process {many} (x) total-vm:8kB, anon-rss:4kB",
        f"sed invoked oom-killer: gfp_mask=0x{many}, order=0, oom_score_adj=0",
        f"[    7]     0     7 {many}        4       1        0             0 x",
        f"Node {many} Normal free:9kB min:4kB present:7kB managed:9kB",
    ):
        assert fact(line, EL7) is None
    assert logged(f"6,1,{many},-;x").text == "x"


HOSTILE = (
    "",
    " ",
    ")",
    "((",
    "a) (b",
    "9 pages RAM",
    "Mem-Info:",
    "CPU: 1 PID: 2 C",
    "Total swap =0kB",
    "[ 1] 0 1 2 3",
    "[ pid ] uid",
    "Killed process",
    ") total-vm:9kB",
    ",pid=1,uid=0",
    ",task=a,pid=1,",
    ") score 9 or sa",
    "x\ny",
    r"x\x0ay\x1b[31m",
    "x#012y",
    "kernel: ",
    "a kernel: b",
    "\udcff\udcfe",
)


@pytest.mark.parametrize("comm", HOSTILE)
def test_a_name_cannot_pass_for_anything_else(comm: str) -> None:
    named = Named(7, comm)
    lines: list[tuple[str, tuple[str, ...], Fact]] = [
        (f"Killed process 7 ({comm}) total-vm:8kB, anon-rss:4kB", (), Killed("", named, 8)),
        (
            f"Out of memory: Kill process 7 ({comm}) score 1 or sacrifice child",
            (),
            Chosen("Out of memory", named, 1),
        ),
        (
            "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,"
            f"global_oom,task_memcg=/,task={comm},pid=7,uid=0",
            (),
            Summary("CONSTRAINT_NONE", "(null)", "0", "", named),
        ),
        (f"[    7]     0     7      8        4       1        0             0 {comm}", EL7,
         Row(7, 0, 7, 8, 4, 1, 0, 0, comm)),
        (f"CPU: 4 PID: 7 Comm: {comm} Not tainted 3.10.0 #1", (), Cpu(named, "3.10.0")),
    ]  # fmt: skip
    for line, columns, says in lines:
        assert fact(line, columns) == says
    found = fact(f"{comm} invoked oom-killer: gfp_mask=0x1, order=0, oom_score_adj=0")
    assert isinstance(found, Invoked)
    assert found.comm == comm.strip()
