"""Synthetic reports, in the words of each kernel's time. Made up: no machine has printed them.

What is printed where follows mm/oom_kill.c of those releases. Real reports are in ``samples/``.
"""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["ERAS", "Process", "machine_lines", "memcg_lines", "report", "rows_of"]


class Process(NamedTuple):
    """A row of the task table; sizes in pages."""

    pid: int
    rss: int
    comm: str = "p"
    uid: int = 1000
    adj: int = 0
    pgtables: int = 10
    swapents: int = 0
    tid: int = 0
    """Whose mm it is, if not the leader's."""


class _Era(NamedTuple):
    release: str
    header: str
    row: str
    scored: bool
    """It says ``score N or sacrifice child``."""
    summary: bool
    """It has an ``oom-kill:`` line."""
    mask: str


_EL7_ROW = (
    "[{tid:5d}] {uid:5d} {pid:5d} {vm:8d} {rss:8d} {ptes:7d} {swap:8d}         {adj:5d} {comm}"
)
_PMD_ROW = (
    "[{tid:5d}] {uid:5d} {pid:5d} {vm:8d} {rss:8d} {ptes:7d} {pmds:7d} {swap:8d}         {adj:5d} "
    "{comm}"
)
_NEW_ROW = (
    "[{tid:7d}] {uid:5d} {pid:5d} {vm:8d} {rss:8d} {bytes:8d} {swap:8d}         {adj:5d} {comm}"
)
_SPLIT_ROW = (
    "[{tid:7d}] {uid:5d} {pid:5d} {vm:8d} {rss:8d} {rss:8d} {zero:8d} {zero:9d} {bytes:8d} "
    "{swap:8d}         {adj:5d} {comm}"
)
_EL7_HEADER = "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name"
_PMD_HEADER = "[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name"
_MIXED_HEADER = "[ pid ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
_NEW_HEADER = "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
_SPLIT_HEADER = (
    "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes "
    "swapents oom_score_adj name"
)
_WORDS = "(GFP_HIGHUSER_MOVABLE|__GFP_ZERO)"

ERAS = {
    "el7": _Era("3.10.0-957.el7.x86_64", _EL7_HEADER, _EL7_ROW, True, False, "0x280da"),
    "4.4": _Era("4.4.0-31-generic", _PMD_HEADER, _PMD_ROW, True, False, "0x24280ca"),
    "4.14": _Era("4.14.9-generic", _PMD_HEADER, _PMD_ROW, True, False, f"0x14280ca{_WORDS}"),
    "4.16": _Era("4.16.3-1-arch", _MIXED_HEADER, _NEW_ROW, True, False, f"0x14280ca{_WORDS}"),
    "4.19": _Era("4.19.0-6-amd64", _NEW_HEADER, _NEW_ROW, True, False, f"0x6280ca{_WORDS}"),
    "5.0": _Era("5.0.0-13-generic", _NEW_HEADER, _NEW_ROW, True, True, f"0x6280ca{_WORDS}"),
    "5.10": _Era("5.10.0-8-amd64", _NEW_HEADER, _NEW_ROW, False, True, f"0x100dca{_WORDS}"),
    "6.8": _Era("6.8.0-31-generic", _SPLIT_HEADER, _SPLIT_ROW, False, True, f"0x140dca{_WORDS}"),
}


def rows_of(era: str, processes: Sequence[Process]) -> list[str]:
    """The table's lines, without its header."""
    pmds = int("{pmds" in ERAS[era].row)
    return [
        ERAS[era].row.format(
            tid=one.tid or one.pid,
            pid=one.pid,
            uid=one.uid,
            vm=one.rss * 2,
            rss=one.rss,
            ptes=one.pgtables - pmds,
            pmds=pmds,
            bytes=one.pgtables * 4096,
            swap=one.swapents,
            adj=one.adj,
            comm=one.comm,
            zero=0,
        )
        for one in processes
    ]


def machine_lines(ram: int, reserved: int, swap_kib: int, nodes: int = 1) -> list[str]:
    """What ``show_mem()`` says of the machine, in pages."""
    zones = []
    for nid in range(nodes):
        present = ram // nodes * 4
        zones.append(
            f"Node {nid} Normal free:40kB min:88kB low:108kB present:{present}kB managed:9kB "
            "mlocked:0kB"
        )
    huge = [f"Node {nid} hugepages_total=0 hugepages_free=0" for nid in range(nodes)]
    return [
        "Mem-Info:",
        *zones,
        "Node 0 Normal: 2*4kB (UM) 0*8kB 1*16kB (M) = 24kB",
        *huge,
        "Free swap  = 0kB",
        f"Total swap = {swap_kib}kB",
        f"{ram} pages RAM",
        "0 pages HighMem/MovableOnly",
        f"{reserved} pages reserved",
    ]


def memcg_lines(
    limit_kib: int, *, swap: tuple[int, int] | None = None, memsw: tuple[int, int] | None = None
) -> list[str]:
    """What is said of a memory cgroup: v2 with ``swap``, v1 with ``memsw`` (usage and limit)."""
    lines = [f"memory: usage {limit_kib}kB, limit {limit_kib}kB, failcnt 153"]
    if memsw is not None:
        lines.append(f"memory+swap: usage {memsw[0]}kB, limit {memsw[1]}kB, failcnt 0")
        lines.append("kmem: usage 0kB, limit 9007199254740988kB, failcnt 0")
    if swap is not None:
        lines.append(f"swap: usage {swap[0]}kB, limit {swap[1]}kB, failcnt 0")
    return lines


def _end(
    era: _Era, chosen: Process, killed: Process, *, score: int, words: str, memcg: str
) -> list[str]:
    sizes = f"total-vm:{killed.rss * 8}kB, anon-rss:{killed.rss * 4}kB, file-rss:0kB"
    domain = f"oom_memcg={memcg}" if memcg else "global_oom"
    summary = (
        f"oom-kill:constraint=CONSTRAINT_{'MEMCG' if memcg else 'NONE'},nodemask=(null),cpuset=/,"
        f"mems_allowed=0,{domain},task_memcg={memcg or '/'},task={chosen.comm},"
        f"pid={chosen.pid},uid={chosen.uid}"
    )
    lines = [summary] if era.summary else []
    if era.scored:
        child = f"Kill process {chosen.pid} ({chosen.comm}) score {score} or sacrifice child"
        lines.append(f"{words}: {child}")
        lines.append(f"Killed process {killed.pid} ({killed.comm}) {sizes}, shmem-rss:0kB")
    else:
        lines.append(
            f"{words}: Killed process {killed.pid} ({killed.comm}) {sizes}, shmem-rss:0kB, "
            f"UID:{killed.uid} pgtables:{killed.pgtables * 4}kB oom_score_adj:{killed.adj}"
        )
    return lines


def report(
    era: str,
    processes: Sequence[Process],
    chosen: int,
    score: int = 0,
    *,
    killed: int = 0,
    memory: Sequence[str] = (),
    memcg: str = "",
    words: str = "",
    current: int = 0,
    manual: bool = False,
    mems_allowed: str = "0",
    release: str = "",
    end: Sequence[str] | None = None,
) -> list[str]:
    """A whole report. ``chosen``, ``killed`` and ``current`` are pids of ``processes``."""
    what = ERAS[era]
    by_pid = {one.pid: one for one in processes}
    caller = by_pid.get(current, Process(current or 77, 0, "kworker/0:1", 0))
    order = -1 if manual and era != "el7" else 0
    lines = [
        f"{caller.comm} invoked oom-killer: gfp_mask={what.mask}, order={order}, oom_score_adj=0",
        f"CPU: 0 PID: {caller.pid} Comm: {caller.comm} Not tainted {release or what.release} #1",
        "Hardware name: QEMU Standard PC",
        "Call Trace:",
        " dump_stack+0x19/0x1b",
    ]
    if not what.summary:
        lines.insert(1, f"{caller.comm} cpuset=/ mems_allowed={mems_allowed}")
    if manual:
        lines.append(" moom_callback+0x7a/0xb0")
    if memcg and not what.summary:
        lines.append(f"Task in {memcg} killed as a result of limit of {memcg}")
    lines += memory or machine_lines(1_100_000, 100_000, 0)
    lines += [what.header, *rows_of(era, processes)]
    if end is not None:
        return lines + list(end)
    words = words or ("Memory cgroup out of memory" if memcg else "Out of memory")
    victim = by_pid[killed or chosen]
    end = _end(what, by_pid[chosen], victim, score=score, words=words, memcg=memcg)
    return lines + end
