"""The kernel's own file formats, written from a table's row."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Required, TypedDict

from oomd.mm_types import PF_KTHREAD, MemInfo, Node

Layout = Literal["mainline", "el7", "upstream-3.10"]
"""Which lines ``status`` has: el7 has ``RssAnon`` and its sisters, plain 3.10 leaves the split of
rss to ``statm``."""

PF_USER = 0x00400000
"""PF_RANDOMIZE: what the flags of an ordinary process look like."""


class Thread(TypedDict, total=False):
    """A thread other than the leader. What is absent is as in the leader."""

    tid: Required[int]
    comm: str
    state: str
    flags: int
    faults: int
    sigkill_pending: bool
    children: Sequence[int]
    """Pids of the processes that this thread forked."""


class Row(TypedDict, total=False):
    """A process. The fields of ``Task``, then what only a tree can say."""

    pid: Required[int]
    starttime_ticks: int
    """Default: 100 times the pid."""
    comm: str
    ppid: int
    uid: int | None
    state: str
    flags: int
    mm_tid: int
    """Other than ``pid``: the leader is a zombie, and this thread has the figures."""
    num_threads: int
    """Default: the leader and ``threads``. More get no files."""
    has_mm: bool
    rss_pages: int
    pgtables_pages: int
    swapents_pages: int
    total_vm_pages: int
    anon_rss_pages: int
    """Default: all of rss that the other two leave."""
    file_rss_pages: int
    shmem_rss_pages: int
    oom_score_adj: int
    cap_sys_admin: bool
    init_user_ns: bool | None
    sigkill_pending: bool
    """In the thread's own SigPnd. See ``shared_sigkill_pending``."""
    tracer_pid: int
    mems_allowed: int | None
    """None: a kernel without cpusets, no such line. Default: node 0."""
    faults: int
    refused: str

    shared_sigkill_pending: bool
    """In the process's ShdPnd, which all its threads show."""
    user_ns_inode: int
    threads: Sequence[Thread]
    children: Sequence[int]
    """Of the leader. Default: every task of the table that names this one as its ppid and that no
    thread claims. Pids that are not in the table are fine."""
    refusals: Mapping[str, str]
    """File to errno, e.g. ``{"status": "EACCES"}``."""
    pgtables_pmd_pages: int
    """Kernels 4.0 to 4.14: the part of the page tables that ``VmPMD`` shows."""


def _comm(comm: str) -> bytes:
    return comm.encode("utf-8", "surrogateescape")


def stat_text(tid: int, row: Row, thread: Thread | Row, page_size_bytes: int) -> bytes:
    """proc(5), 52 fields. The name is not escaped here."""
    has_mm = row["has_mm"]
    fields = [0] * 49
    fields[0] = row.get("ppid", 1 if row["pid"] > 2 else 0)
    fields[1] = fields[2] = row["pid"]
    fields[4] = -1
    fields[5] = thread.get("flags", row["flags"])
    # Both halves count: minflt is what is left of majflt.
    faults = thread.get("faults", row.get("faults", 0))
    fields[6], fields[8] = faults - faults // 10, faults // 10
    fields[14] = 20
    fields[16] = row["num_threads"]
    fields[18] = row["starttime_ticks"]
    fields[19] = row["total_vm_pages"] * page_size_bytes if has_mm else 0
    fields[20] = row.get("rss_pages", 0) if has_mm else 0
    fields[21] = 2**64 - 1
    fields[34] = 17
    name = _comm(thread.get("comm", row.get("comm", "")))
    state = thread.get("state", row.get("state", "S"))
    numbers = " ".join(map(str, fields))
    return b"%d (%s) %s %s\n" % (tid, name, state.encode(), numbers.encode())


_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "disk sleep",
    "T": "stopped",
    "t": "tracing stop",
    "X": "dead",
    "Z": "zombie",
    "I": "idle",
}


def _vm_lines(row: Row, page_size_bytes: int, layout: Layout) -> list[str]:
    page_kib = page_size_bytes // 1024
    rss, total_vm = row.get("rss_pages", 0), row["total_vm_pages"]
    pmd = row.get("pgtables_pmd_pages")
    lines: list[tuple[str, int]] = [
        ("VmPeak", total_vm),
        ("VmSize", total_vm),
        ("VmLck", 0),
        ("VmPin", 0),
        ("VmHWM", rss),
        ("VmRSS", rss),
    ]
    if layout != "upstream-3.10":
        lines += [
            ("RssAnon", row["anon_rss_pages"]),
            ("RssFile", row.get("file_rss_pages", 0)),
            ("RssShmem", row.get("shmem_rss_pages", 0)),
        ]
    lines += [("VmData", rss), ("VmStk", 33), ("VmExe", 5), ("VmLib", 400)]
    lines += [("VmPTE", row.get("pgtables_pages", 0) - (pmd or 0))]
    if pmd is not None:
        lines += [("VmPMD", pmd)]
    lines += [("VmSwap", row.get("swapents_pages", 0))]
    return [f"{name}:\t{pages * page_kib:8} kB" for name, pages in lines]


def _words(mask: int) -> str:
    """A node mask as the kernel writes it, for CONFIG_NODES_SHIFT=10."""
    return ",".join(f"{mask >> shift & 0xFFFFFFFF:08x}" for shift in range(992, -1, -32))


def status_text(
    tid: int, row: Row, thread: Thread | Row, page_size_bytes: int, layout: Layout
) -> bytes:
    name = _comm(thread.get("comm", row.get("comm", "")))
    state = thread.get("state", row.get("state", "S"))
    uid = row.get("uid", 0) or 0
    head = [f"State:\t{state} ({_STATES.get(state, 'unknown')})", f"Tgid:\t{row['pid']}"]
    if layout == "mainline":
        head = ["Umask:\t0022", *head, "Ngid:\t0"]
    head += [
        f"Pid:\t{tid}",
        f"PPid:\t{row.get('ppid', 1 if row['pid'] > 2 else 0)}",
        f"TracerPid:\t{row.get('tracer_pid', 0)}",
        f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}",
        f"Gid:\t{uid}\t{uid}\t{uid}\t{uid}",
        "FDSize:\t64",
        "Groups:\t0 ",
    ]
    if layout == "mainline":
        head += [f"NStgid:\t{row['pid']}", f"NSpid:\t{tid}", f"NSpgid:\t{tid}", f"NSsid:\t{tid}"]
        head += [f"Kthread:\t{int(bool(row['flags'] & PF_KTHREAD))}"]
    if row["has_mm"] and state not in "ZXx":
        head += _vm_lines(row, page_size_bytes, layout)
        if layout == "mainline":
            head += ["HugetlbPages:\t       0 kB", "CoreDumping:\t0", "THP_enabled:\t1"]
    own = thread.get("sigkill_pending", row.get("sigkill_pending", False))
    caps = 0x1FFFFFFFFF if row.get("cap_sys_admin") else 0
    head += [
        f"Threads:\t{row['num_threads']}",
        "SigQ:\t0/96365",
        f"SigPnd:\t{0x100 * own:016x}",
        f"ShdPnd:\t{0x100 * row.get('shared_sigkill_pending', False):016x}",
        *(f"Sig{name}:\t{0:016x}" for name in ("Blk", "Ign", "Cgt")),
        f"CapInh:\t{0:016x}",
        f"CapPrm:\t{caps:016x}",
        f"CapEff:\t{caps:016x}",
        f"CapBnd:\t{0x1FFFFFFFFF:016x}",
        "Seccomp:\t0",
        "Cpus_allowed:\t3",
        "Cpus_allowed_list:\t0-1",
    ]
    nodes = row.get("mems_allowed", 1)
    if nodes is not None:
        head += [f"Mems_allowed:\t{_words(nodes)}", "Mems_allowed_list:\t0"]
    head += ["voluntary_ctxt_switches:\t7", "nonvoluntary_ctxt_switches:\t1"]
    # seq_escape(): the two that could forge a line.
    escaped = name.replace(b"\\", b"\\\\").replace(b"\n", b"\\n")
    return b"Name:\t" + escaped + b"\n" + "\n".join(head).encode() + b"\n"


def statm_text(row: Row) -> str:
    if not row["has_mm"]:
        return "0 0 0 0 0 0 0\n"
    shared = row.get("file_rss_pages", 0) + row.get("shmem_rss_pages", 0)
    rss = row.get("rss_pages", 0)
    return f"{row['total_vm_pages']} {rss} {shared} 5 0 {rss} 0\n"


def meminfo_text(meminfo: MemInfo) -> str:
    lines = {
        "MemTotal": meminfo.mem_total_kib,
        "MemFree": meminfo.mem_free_kib,
        "MemAvailable": meminfo.mem_available_kib,
        "Buffers": meminfo.buffers_kib,
        "Cached": meminfo.cached_kib,
        "SwapCached": 0,
        "Mlocked": meminfo.mlocked_kib,
        "SwapTotal": meminfo.swap_total_kib,
        "SwapFree": meminfo.swap_free_kib,
        "AnonPages": meminfo.anon_pages_kib,
        "Shmem": meminfo.shmem_kib,
        "Slab": meminfo.slab_kib,
        "SReclaimable": meminfo.slab_reclaimable_kib,
        "Hugetlb": meminfo.hugetlb_kib,
    }
    return "".join(f"{name + ':':<15} {value:8} kB\n" for name, value in lines.items())


def zoneinfo_text(nodes: Iterable[Node]) -> str:
    """One zone a node. Spans that follow each other, as the kernel lays nodes out."""
    text, pfn = "", 0
    for node in nodes:
        text += (
            f"Node {node.nid}, zone   Normal\n  pages free     1000\n        min      10\n"
            f"        spanned  {node.spanned_pages}\n        present  {node.present_pages}\n"
            f"        managed  {node.present_pages}\n  node_unreclaimable:  0\n"
            f"  start_pfn:           {pfn}\n"
        )
        pfn += node.spanned_pages
    return text
