"""Fake trees: a machine built from a table of tasks, in the kernel's own file formats.

    root = make_root(
        tmp_path,
        tasks=[
            {"pid": 1, "comm": "systemd", "rss_pages": 2000},
            {"pid": 7, "comm": "hog", "rss_pages": 900_000, "oom_score_adj": 300},
            {"pid": 8, "comm": "java", "rss_pages": 5000, "mm_tid": 12},       # leader has exited
            {"pid": 9, "threads": [{"tid": 10, "flags": PF_MEMALLOC}]},
        ],
        meminfo=MemInfo(mem_total_kib=8 << 20, mem_free_kib=1 << 20, mem_available_kib=1 << 20),
    )

A task is a mapping of the fields of ``oomd.mm_types.Task`` (any of them, ``pid`` at least) or a
``Task`` itself, which reads back equal (but for ``mm_tid`` 0: the pid). ``Row`` has what a
``Task`` cannot say. Sizes are pages.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Required, TypedDict

from oomd.mm_types import PF_KTHREAD, MemInfo, Node, Sysctls, Task
from oomd.proc.record import open_root
from oomd.proc.root import Root
from tests.proc.formats import (
    PF_USER,
    Layout,
    Row,
    Thread,
    meminfo_text,
    stat_text,
    statm_text,
    status_text,
    zoneinfo_text,
)

__all__ = ["DEFAULT_MEMINFO", "Cgroup", "Row", "Thread", "make_root"]

DEFAULT_MEMINFO = MemInfo(
    mem_total_kib=16 << 20,
    mem_free_kib=4 << 20,
    mem_available_kib=8 << 20,
    swap_total_kib=2 << 20,
    swap_free_kib=1 << 20,
    buffers_kib=100 << 10,
    cached_kib=4 << 20,
    shmem_kib=200 << 10,
    slab_kib=300 << 10,
    slab_reclaimable_kib=200 << 10,
    anon_pages_kib=7 << 20,
)

IDLE_PRESSURE = (
    "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
)

DEFAULT_SYSCTLS = Sysctls()

INIT_USER_NS_INODE = 4026531837


class Cgroup(TypedDict, total=False):
    """A memory cgroup. Sizes are pages, None or absent: no limit."""

    path: Required[str]
    usage_pages: int
    limit_pages: int | None
    swap_limit_pages: int | None
    memsw_limit_pages: int | None
    """v1 only. Absent: no swap accounting, no such file."""
    swappiness: int
    oom_kill_disable: bool
    oom_group: bool
    pids: Sequence[int]
    pressure: str


def _write(path: Path, data: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)


def _row(task: Row | Task) -> Row:
    """A table's entry as a row, with the defaults that one field takes from another."""
    if isinstance(task, Task):
        fields: Any = task._asdict()
        row: Row = fields
    else:
        row = task.copy()
    if refused := row.get("refused"):
        pairs = (each.split(": ") for each in refused.split("; "))
        row.setdefault("refusals", {name: errno for name, errno in pairs if errno.isupper()})
    pid, rss = row["pid"], row.get("rss_pages", 0)
    row.setdefault("starttime_ticks", 100 * pid)
    row.setdefault("flags", PF_USER)
    row.setdefault("mm_tid", pid)
    row.setdefault("has_mm", not row["flags"] & PF_KTHREAD)
    row.setdefault("total_vm_pages", rss + 1000 if row["has_mm"] else 0)
    rest = row.get("file_rss_pages", 0) + row.get("shmem_rss_pages", 0)
    row.setdefault("anon_rss_pages", max(0, rss - rest))
    threads = list(row.get("threads", ()))
    mm_tid = row["mm_tid"] or pid
    if mm_tid != pid and mm_tid not in [thread["tid"] for thread in threads]:
        threads.append({"tid": mm_tid})
    row["threads"] = threads
    row.setdefault("num_threads", 1 + len(threads))
    return row


def _write_task(
    proc: Path, row: Row, children: Sequence[int], page_size_bytes: int, layout: Layout
) -> None:
    pid = row["pid"]
    folder = proc / str(pid)
    leader = row
    if row.get("mm_tid") not in (0, pid):
        leader = row.copy()
        leader["state"] = "Z"
    stat = stat_text(pid, leader, leader, page_size_bytes)
    status = status_text(pid, leader, leader, page_size_bytes, layout)
    for where in (folder, folder / "task" / str(pid)):
        _write(where / "stat", stat)
        _write(where / "status", status)
        _write(where / "statm", statm_text(leader))
        _write(where / "oom_score_adj", f"{row.get('oom_score_adj', 0)}\n")
    _write(folder / "task" / str(pid) / "children", "".join(f"{child} " for child in children))
    for thread in row["threads"]:
        where = folder / "task" / str(thread["tid"])
        _write(where / "stat", stat_text(thread["tid"], row, thread, page_size_bytes))
        _write(where / "status", status_text(thread["tid"], row, thread, page_size_bytes, layout))
        forked = thread.get("children", ())
        _write(where / "children", "".join(f"{child} " for child in forked))


def _write_cgroup_v1(mount: Path, cgroup: Cgroup, page: int) -> None:
    folder = mount / cgroup["path"].strip("/")
    unlimited = (2**63 - 1) // page
    limit, memsw = cgroup.get("limit_pages"), cgroup.get("memsw_limit_pages")
    _write(folder / "memory.limit_in_bytes", f"{(unlimited if limit is None else limit) * page}\n")
    if "memsw_limit_pages" in cgroup:
        value = (unlimited if memsw is None else memsw) * page
        _write(folder / "memory.memsw.limit_in_bytes", f"{value}\n")
    _write(folder / "memory.usage_in_bytes", f"{cgroup.get('usage_pages', 0) * page}\n")
    _write(folder / "memory.swappiness", f"{cgroup.get('swappiness', 60)}\n")
    disable = int(cgroup.get("oom_kill_disable", False))
    _write(folder / "memory.oom_control", f"oom_kill_disable {disable}\nunder_oom 0\noom_kill 0\n")
    _write(folder / "cgroup.procs", "".join(f"{pid}\n" for pid in cgroup.get("pids", ())))


def _write_cgroup_v2(mount: Path, cgroup: Cgroup, page: int) -> None:
    folder = mount / cgroup["path"].strip("/")
    for name, pages in (
        ("memory.max", cgroup.get("limit_pages")),
        ("memory.swap.max", cgroup.get("swap_limit_pages")),
    ):
        _write(folder / name, "max\n" if pages is None else f"{pages * page}\n")
    _write(folder / "memory.current", f"{cgroup.get('usage_pages', 0) * page}\n")
    _write(folder / "memory.oom.group", f"{int(cgroup.get('oom_group', False))}\n")
    _write(folder / "cgroup.procs", "".join(f"{pid}\n" for pid in cgroup.get("pids", ())))
    _write(folder / "memory.pressure", cgroup.get("pressure", IDLE_PRESSURE))


def _write_cgroups(
    path: Path, cgroups: Sequence[Cgroup], version: Literal[1, 2, "hybrid"], page: int
) -> None:
    base = path / "sys/fs/cgroup"
    if version != 1:
        v2 = base / "unified" if version == "hybrid" else base
        controllers = "" if version == "hybrid" else "cpuset cpu io memory pids"
        _write(v2 / "cgroup.controllers", controllers + "\n")
        _write(v2 / "cgroup.procs", "")
    # v1 has files in its root, v2 has not.
    roots: list[Cgroup] = [{"path": "/"}] if version != 2 and cgroups else []
    for cgroup in [*roots, *cgroups]:
        if version == 2:
            _write_cgroup_v2(base, cgroup, page)
        else:
            _write_cgroup_v1(base / "memory", cgroup, page)


def _facts(rows: Iterable[Row]) -> tuple[dict[str, int | None], dict[str, str]]:
    """User namespaces and refusals, as the manifest has them."""
    inodes: dict[str, int | None] = {}
    refused = {}
    for row in rows:
        pid = row["pid"]
        in_init_ns = row.get("init_user_ns")
        if "user_ns_inode" in row:
            inodes[str(pid)] = row["user_ns_inode"]
        elif in_init_ns is not None:
            inodes[str(row["mm_tid"] or pid)] = INIT_USER_NS_INODE if in_init_ns else 4026532199
        for name, errno in row.get("refusals", {}).items():
            refused[f"proc/{pid}/{name}"] = errno
    return inodes, refused


def make_root(
    path: Path,
    tasks: Iterable[Row | Task] = (),
    *,
    meminfo: MemInfo = DEFAULT_MEMINFO,
    sysctls: Sysctls | None = DEFAULT_SYSCTLS,
    pressure: str | None = IDLE_PRESSURE,
    nodes: Iterable[Node] = (),
    cgroups: Sequence[Cgroup] = (),
    cgroup_version: Literal[1, 2, "hybrid"] = 1,
    swappiness: int = 60,
    page_size_bytes: int = 4096,
    kernel: str = "6.1.0-test",
    layout: Layout = "mainline",
    children_files: bool = True,
    same_mm: Iterable[tuple[int, int, bool | None]] = (),
    refused: Mapping[str, str] | None = None,
    files: Mapping[str, str | bytes] | None = None,
    opener: Callable[[str], Root] = open_root,
) -> Root:
    """A tree below ``path`` (made if absent), opened.

    It gets a manifest only if something needs one: pages of another size, user namespaces,
    ``same_mm`` (kcmp's answers), refusals (``{"proc/7/stat": "EACCES"}``). ``sysctls`` and
    ``pressure`` None: no such files. ``children_files`` False: a kernel without
    CONFIG_PROC_CHILDREN. ``files`` is written last, over everything: a torn ``status``, say.
    """
    proc = path / "proc"
    proc.mkdir(parents=True, exist_ok=True)
    rows = [_row(task) for task in tasks]
    claimed = {child for row in rows for t in row["threads"] for child in t.get("children", ())}
    forked: dict[int, list[int]] = {}
    for row in sorted(rows, key=lambda row: (row["starttime_ticks"], row["pid"])):
        if row["pid"] not in claimed:
            forked.setdefault(row.get("ppid", 1 if row["pid"] > 2 else 0), []).append(row["pid"])
    for row in rows:
        children = row.get("children", forked.get(row["pid"], []))
        _write_task(proc, row, children, page_size_bytes, layout)
    if not children_files:
        for file in proc.glob("*/task/*/children"):
            file.unlink()

    _write(proc / "meminfo", meminfo_text(meminfo))
    _write(proc / "sys/kernel/osrelease", kernel + "\n")
    _write(proc / "sys/vm/swappiness", f"{swappiness}\n")
    if sysctls is not None:
        for name in ("panic_on_oom", "oom_kill_allocating_task", "oom_dump_tasks"):
            if name not in sysctls.not_observable:
                _write(proc / "sys/vm" / name, f"{getattr(sysctls, name)}\n")
    if pressure is not None:
        _write(proc / "pressure/memory", pressure)
    if zoneinfo := zoneinfo_text(nodes):
        _write(proc / "zoneinfo", zoneinfo)
    _write_cgroups(path, cgroups, cgroup_version, page_size_bytes)
    for name, data in (files or {}).items():
        _write(path / name, data)

    inodes, refusals = _facts(rows)
    refusals |= refused or {}
    kcmp = [list(answer) for answer in same_mm]
    if inodes or refusals or kcmp or page_size_bytes != 4096:
        manifest = {
            "oomd_recording": 1,
            "page_size_bytes": page_size_bytes,
            "kernel_release": kernel,
            "user_ns_inodes": inodes,
            "refused": refusals,
            "same_mm": kcmp,
        }
        _write(path / "manifest.json", json.dumps(manifest))
    return opener(str(path))
