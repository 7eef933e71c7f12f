"""The kernel's own words for a kill, in the profile's format, for tools that watch for them."""

from oomd.mm_types import Task
from oomd.oom import Companion, CurrentTask, Kill, KillPlan
from oomd.typed import Iterable, Iterator

__all__ = ["dump_tasks", "invoked_line", "kill_lines", "companion_lines", "printable"]


def printable(comm: str) -> str:
    r"""A comm that is safe on a terminal and in a log: anything odd becomes ``\xNN``.

    A program chooses its own comm, so it may hold newlines, escape codes and bytes that are no
    UTF-8. Letters of any script stay as they are.
    """
    if comm.isascii() and comm.isprintable() and "\\" not in comm:
        return comm
    out = []
    for char in comm:
        if char == "\\":
            out.append("\\\\")
        elif char.isprintable():
            out.append(char)
        elif "\udc80" <= char <= "\udcff":
            # A byte that was no UTF-8, as surrogateescape keeps it.
            out.append(f"\\x{ord(char) - 0xDC00:02x}")
        else:
            out.extend(f"\\x{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    return "".join(out)


def _kib(pages: int, page_size_bytes: int) -> int:
    return pages * page_size_bytes // 1024


def invoked_line(current: CurrentTask | None, comm: str, adj: int, gfp_mask: int = 0) -> str:
    """``COMM invoked oom-killer``: current where it was seen, the daemon otherwise.

    ``gfp_mask`` and order are not observable, and 0.
    """
    name = printable(comm) if current is not None else "oomd"
    return f"{name} invoked oom-killer: gfp_mask={gfp_mask:#x}, order=0, oom_score_adj={adj}"


def _sizes(task: Task, page_size_bytes: int) -> str:
    return (
        f"total-vm:{_kib(task.total_vm_pages, page_size_bytes)}kB, "
        f"anon-rss:{_kib(task.anon_rss_pages, page_size_bytes)}kB, "
        f"file-rss:{_kib(task.file_rss_pages, page_size_bytes)}kB, "
        f"shmem-rss:{_kib(task.shmem_rss_pages, page_size_bytes)}kB"
    )


def _name(task: Task) -> str:
    return f"{task.mm_tid or task.pid} ({printable(task.comm)})"


def _killed_line(message: str, task: Task, page_size_bytes: int) -> str:
    # mainline's __oom_kill_process().
    uid = task.uid if task.uid is not None else -1
    pgtables = _kib(task.pgtables_pages, page_size_bytes)
    return (
        f"{message}: Killed process {_name(task)} {_sizes(task, page_size_bytes)}, UID:{uid} "
        f"pgtables:{pgtables}kB oom_score_adj:{task.oom_score_adj}"
    )


def kill_lines(
    profile: str, kill: Kill, plan: KillPlan, score: int, page_size_bytes: int
) -> tuple[str, ...]:
    """What ``oom_kill_process()`` prints of the chosen one and of the victim."""
    if profile == "el7":
        return (
            f"{kill.message}: Kill process {_name(kill.chosen)} score {score} or sacrifice child",
            f"Killed process {_name(plan.victim)} {_sizes(plan.victim, page_size_bytes)}",
        )
    return (_killed_line(kill.message, plan.victim, page_size_bytes),)


def companion_lines(
    profile: str, message: str, companions: Iterable[Companion], page_size_bytes: int
) -> Iterator[str]:
    """el7 names each mm sharer that it kills; mainline names the members of an oom.group."""
    for companion in companions:
        if companion.why == "oom_group":
            yield _killed_line(message, companion.task, page_size_bytes)
        elif profile == "el7":
            yield f"Kill process {_name(companion.task)} sharing same memory"


def dump_tasks(profile: str, tasks: Iterable[Task], page_size_bytes: int) -> Iterator[str]:
    """``dump_tasks()``: the kernel's table, a header and a line for each task with an mm."""
    if profile == "el7":
        yield "[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name"
        for task in tasks:
            if task.has_mm and not task.kthread:
                yield (
                    f"[{task.mm_tid or task.pid:5d}] {task.uid or 0:5d} {task.pid:5d} "
                    f"{task.total_vm_pages:8d} {task.rss_pages:8d} {task.pgtables_pages:7d} "
                    f"{task.swapents_pages:8d}         {task.oom_score_adj:5d} "
                    f"{printable(task.comm)}"
                )
        return
    yield "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name"
    for task in tasks:
        if task.has_mm and not task.kthread:
            yield (
                f"[{task.mm_tid or task.pid:7d}] {task.uid or 0:5d} {task.pid:5d} "
                f"{task.total_vm_pages:8d} {task.rss_pages:8d} "
                f"{task.pgtables_pages * page_size_bytes:8d} {task.swapents_pages:8d}"
                f"         {task.oom_score_adj:5d} {printable(task.comm)}"
            )
