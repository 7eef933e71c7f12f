"""What depends on one process, read once it is chosen: its children, and who shares its mm."""

from oomd.mm_types import Task, TaskId
from oomd.proc.root import ReadError, Root
from oomd.proc.task import parse_stat, read_task
from oomd.typed import Final, Iterable, Iterator, NamedTuple

__all__ = [
    "Sharers",
    "candidates_for_sharing",
    "confirm_sharers",
    "find_sharers",
    "grew_between",
    "in_vfork",
    "iter_children",
    "parse_children",
    "presumed_same_mm",
    "twin_lives",
]

# A process with more threads than this is looked at no further.
_THREADS_ASKED: Final = 256


# --- children


def parse_children(data: bytes) -> list[int]:
    """``/proc/PID/task/TID/children``: pids, in the order of fork."""
    return [int(word[:9]) for word in data.split() if word.isdigit()]


def _children_by_thread(root: Root, pid: int) -> list[int] | None:
    """Children of every thread, in the order in which the kernel walks them.

    None: a kernel without the file. Without CONFIG_PROC_CHILDREN no thread has it.
    """
    pids: list[int] = []
    missing = True
    for tid in root.listdir(f"proc/{pid}/task"):
        try:
            pids += parse_children(root.read(f"proc/{pid}/task/{tid}/children"))
            missing = False
        except ReadError:
            continue  # No such file, or the thread has just ended: the others tell which.
    return None if missing else pids


def _children_by_ppid(root: Root, pid: int) -> list[int]:
    """The same by asking everybody, in the order of fork. Costs one file per process."""
    children = []
    for other in root.iter_pids():
        try:
            stat = parse_stat(root.read_record(f"proc/{other}/stat"))
        except ReadError:
            continue
        if stat.ppid == pid:
            children.append((stat.starttime_ticks, other))
    return [other for _, other in sorted(children)]


def iter_children(root: Root, task: Task, page_size_bytes: int) -> Iterator[Task]:
    """Children of every thread of ``task``, one at a time. Raises nothing.

    The kernel gives no promise that the list is whole while the process forks: one born meanwhile
    may be missing, and one that vanished is left out.
    """
    try:
        pids = _children_by_thread(root, task.pid)
        if pids is None:
            pids = _children_by_ppid(root, task.pid)
    except ReadError:
        return
    for pid in dict.fromkeys(pids):
        child = read_task(root, pid, page_size_bytes)
        if child is not None:
            yield child


# --- who has the same mm


def _sizes(task: Task) -> tuple[int, int, int, int]:
    return task.total_vm_pages, task.rss_pages, task.pgtables_pages, task.swapents_pages


def presumed_same_mm(task: Task, others: Iterable[Task]) -> frozenset[TaskId]:
    """Those of ``others`` that have an mm of exactly the same size in all four figures.

    Two tasks with one mm always show the same figures, but for what changes between two reads;
    two mms of the same size are possible (a child just forked). Used before a kill, when kcmp(2)
    may not be asked since it can wait behind an exec.
    """
    return frozenset(
        other.ident
        for other in others
        if other.has_mm and task.has_mm and _sizes(other) == _sizes(task)
    )


def grew_between(before: Task, other: Task, after: Task) -> bool:
    """Whether ``other`` may have the mm of a task read ``before`` it and again ``after`` it.

    Each of its four figures then lies between the task's own two, as three looks at one mm that
    grows show it. For a task of a steady size this says what ``presumed_same_mm()`` does.
    """
    return (
        before.ident == after.ident
        and before.has_mm
        and other.has_mm
        and after.has_mm
        and all(
            min(first, last) <= size <= max(first, last)
            for first, size, last in zip(_sizes(before), _sizes(other), _sizes(after), strict=True)
        )
    )


def _waits_uninterruptibly(root: Root, task: Task) -> bool:
    """A thread of it is in state D, as one that has called vfork() is until the child execs."""
    if task.state == "D":
        return True
    if task.num_threads <= 1:
        return False
    try:
        tids = root.listdir(f"proc/{task.pid}/task")[:_THREADS_ASKED]
    except ReadError:
        return False
    for tid in tids:
        try:
            if parse_stat(root.read_record(f"proc/{task.pid}/task/{tid}/stat")).state == "D":
                return True
        except ReadError:
            continue
    return False


def in_vfork(root: Root, task: Task, page_size_bytes: int) -> bool:
    """Whether ``task`` is a child of vfork() that has not called exec yet, and so lives on its
    parent's memory (``in_vfork()``, include/linux/oom.h). Raises nothing.
    """
    # Unlike the kernel: vfork_done is not observable. That the parent has an mm of the same size
    # and a thread in state D stands in; where that is by chance, nearly as much is given back.
    if not task.has_mm or task.ppid <= 1:
        return False
    parent = read_task(root, task.ppid, page_size_bytes)
    if parent is None or not parent.has_mm or parent.kthread or _sizes(parent) != _sizes(task):
        return False
    return _waits_uninterruptibly(root, parent)


def candidates_for_sharing(tasks: Iterable[Task], victim: Task) -> tuple[Task, ...]:
    """Processes that may have the victim's mm: user tasks with an address space of its size.

    Only ``total_vm_pages`` has to be equal: rss drifts between two reads. A child or the parent is
    one as well if it is nearly as large: it may have been read while both grew.
    """
    return tuple(
        task
        for task in tasks
        if task.has_mm
        and not task.kthread
        and task.pid != victim.pid
        and (
            task.total_vm_pages == victim.total_vm_pages
            or (
                (task.ppid == victim.pid or task.pid == victim.ppid)
                and _near(task.total_vm_pages, victim.total_vm_pages)
            )
        )
    )


def _near(pages: int, others: int) -> bool:
    """Within an eighth."""
    return abs(pages - others) * 8 <= others


def _statm(root: Root, pid: int) -> tuple[int, int]:
    """Pages of address space and of rss (no mmap lock); zeros: not to be had."""
    try:
        size, resident, *_ = root.read_record(f"proc/{pid}/statm").split()
        return int(size[:19]), int(resident[:19])
    except (ReadError, ValueError):
        return 0, 0


def twin_lives(root: Root, victim: Task) -> bool:
    """Some process is of about the victim's size, address space and rss: it may have its mm.

    Costs one small file per process. Raises nothing.
    """
    sizes = (victim.total_vm_pages, victim.rss_pages)
    try:
        return any(
            all(map(_near, _statm(root, pid), sizes))
            for pid in root.iter_pids()
            if pid != victim.pid
        )
    except ReadError:
        return False


class Sharers(NamedTuple):
    """Candidates, judged."""

    confirmed: tuple[Task, ...]
    """kcmp(2) says: the same mm."""
    unconfirmed: tuple[Task, ...]
    """kcmp could not be asked, or the victim's mm was gone when it was. Nothing is assumed."""


def _thread_with_mm(root: Root, victim: Task, page_size_bytes: int) -> int | None:
    """A thread through which the victim still has its mm. None: it has given it up, or is gone."""
    now = read_task(root, victim.pid, page_size_bytes)
    return now.mm_tid if now and now.ident == victim.ident and now.has_mm else None


def confirm_sharers(
    root: Root, victim: Task, candidates: Iterable[Task], page_size_bytes: int
) -> Sharers:
    """Asks kcmp(2) of every candidate. Only after SIGKILL was sent: it can wait behind an exec.

    The sooner the better: a dying victim gives its mm up, after which kcmp answers "not equal" for
    those who share it, too. Such an answer counts only if the victim still has its mm afterwards;
    else the candidate is ``unconfirmed``, as it is where kcmp is not allowed. Raises nothing.
    """
    confirmed: list[Task] = []
    unconfirmed = list(candidates)
    tid: int | None = victim.mm_tid or victim.pid
    # Twice at most: the thread asked first may give up the mm before another one does.
    for _ in range(2):
        if tid is None or not unconfirmed:
            break
        asked = tid
        answers = [root.same_mm(asked, other.mm_tid or other.pid) for other in unconfirmed]
        tid = _thread_with_mm(root, victim, page_size_bytes)
        # "Not equal" before a look that still finds the mm there was about that mm.
        settled = (True, False) if tid == asked else (True,)
        judged = list(zip(unconfirmed, answers, strict=True))
        confirmed += [other for other, answer in judged if answer]
        unconfirmed = [other for other, answer in judged if answer not in settled]
    return Sharers(tuple(confirmed), tuple(unconfirmed))


def _of_size(root: Root, victim: Task) -> Iterator[tuple[int, int]]:
    """Pids whose address space is as large as the victim's was, by ``statm`` (no mmap lock), and
    that size in pages; 0: a leader that has exited, and may share the mm through a living thread.
    """
    for pid in root.iter_pids():
        if pid == victim.pid:
            continue
        try:
            total_vm, _, _ = root.read_record(f"proc/{pid}/statm").partition(b" ")
        except ReadError:
            continue
        pages = int(total_vm[:19]) if total_vm.isdigit() else -1
        if pages in (0, victim.total_vm_pages):
            yield pid, pages


def _worth_reading(root: Root, victim: Task, page_size_bytes: int) -> list[int]:
    """Those of its size, without those whose mm is another one: of many forks of one program all
    have its size. Raises ``ReadError``.
    """
    tid: int | None = victim.mm_tid or victim.pid
    of_size = tuple(_of_size(root, victim))
    pids: list[int] = []
    for _ in range(2):
        if tid is None:
            break
        asked = tid
        pids = [pid for pid, pages in of_size if not (pages and root.same_mm(asked, pid) is False)]
        tid = _thread_with_mm(root, victim, page_size_bytes)
        if tid == asked:
            break
        # The thread that was asked may have given up the mm before another one does.
    return pids


def find_sharers(root: Root, victim: Task, page_size_bytes: int) -> Sharers:
    """All processes that may share the victim's mm, judged: see ``confirm_sharers()``.

    ``victim`` holds the figures taken before the kill. Costs one small file per process, a kcmp(2)
    for each of its size, and the whole record of those whose mm may be its. Raises nothing.
    """
    try:
        pids = _worth_reading(root, victim, page_size_bytes)
        tasks = [read_task(root, pid, page_size_bytes) for pid in pids]
    except ReadError:
        return Sharers((), ())
    candidates = candidates_for_sharing((task for task in tasks if task is not None), victim)
    return confirm_sharers(root, victim, candidates, page_size_bytes)
