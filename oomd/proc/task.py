"""One process: ``/proc/PID/{stat,status,oom_score_adj}``.

None of these takes the target's mmap lock, which a thrashing process can hold for minutes. This
is the hot path of the scan: bytes are searched, not split into lines, and decoded once.
"""

from oomd.mm_types import CAP_SYS_ADMIN, PF_KTHREAD, Task
from oomd.proc.root import Gone, ReadError, Root, Unparsable
from oomd.proc.sysctl import parse_int
from oomd.typed import Final, NamedTuple

__all__ = ["INIT_USER_NS_INODE", "Stat", "Status", "parse_stat", "parse_status", "read_task"]

# include/linux/proc_ns.h: PROC_USER_INIT_INO, the initial user namespace on every kernel.
INIT_USER_NS_INODE: Final = 0xEFFFFFFD

_SIGKILL: Final = 1 << (9 - 1)
_CAP_SYS_ADMIN: Final = 1 << CAP_SYS_ADMIN
_LARGEST: Final = 1 << 64

# Longer is no file of the kernel's: a number of a thousand digits is not for those who add up,
# divide and print what is read here. Bounds on lengths cost the scan nothing.
_STAT_BYTES: Final = 1200  # 50 numbers of 20 digits, and what is between them
_IDS_BYTES: Final = 120
_VM_BYTES: Final = 440  # 14 lines with 15 digits each


class Stat(NamedTuple):
    """``/proc/PID/stat`` or ``/proc/PID/task/TID/stat``."""

    comm: str
    state: str
    ppid: int
    flags: int
    faults: int
    """minflt + majflt: of all threads in the process's file, of one in a thread's."""
    num_threads: int
    starttime_ticks: int
    vsize_bytes: int
    rss_pages: int


class Status(NamedTuple):
    """``/proc/PID/status`` or ``/proc/PID/task/TID/status``. Sizes in KiB."""

    uid: int
    tracer_pid: int
    sigkill_pending: bool
    cap_sys_admin: bool
    mems_allowed: int | None
    has_mm: bool = False
    total_vm_kib: int = 0
    rss_kib: int = 0
    pgtables_kib: int = 0
    swap_kib: int = 0
    rss_split_kib: tuple[int, int, int] | None = None
    """Anonymous, file and shared memory; before 4.5 there are no such lines."""


# What a kernel thread's status would say; nobody will ask it for memory.
_KTHREAD: Final = Status(0, 0, False, False, None)
# Of a process whose stat may not be read nothing is known, not even whether it has an mm.
_UNREADABLE: Final = Stat("", "?", 0, 0, 0, 1, 0, 0, 0)


def parse_stat(data: bytes) -> Stat:
    """A comm may hold spaces, brackets and newlines, and is not escaped here: the fields begin
    after the last bracket. Raises ``Unparsable``.
    """
    end = data.rfind(b")")
    fields = data[end + 2 :].split(b" ", 22)
    try:
        if not data.endswith(b"\n"):
            raise ValueError  # Cut short: the last number may be half of one.
        if len(data) - end > _STAT_BYTES:
            raise ValueError
        return Stat(
            data[data.index(b"(") + 1 : end].decode("utf-8", "surrogateescape"),
            fields[0].decode("ascii"),
            int(fields[1]),
            int(fields[6]),
            int(fields[7]) + int(fields[9]),
            int(fields[17]),
            int(fields[19]),
            int(fields[20]),
            int(fields[21]),
        )
    except (IndexError, ValueError):
        raise Unparsable("stat", "unparsable") from None


# The lines about memory from VmSize on, as el7 and every kernel since 4.15 writes them.
_VM_LINES: Final = [
    *(b"VmSize:", b"VmLck:", b"VmPin:", b"VmHWM:", b"VmRSS:", b"RssAnon:", b"RssFile:"),
    *(b"RssShmem:", b"VmData:", b"VmStk:", b"VmExe:", b"VmLib:", b"VmPTE:", b"VmSwap:"),
]

_Sizes = tuple[int, int, int, int, tuple[int, int, int] | None]
_NO_MM: Final[_Sizes] = (0, 0, 0, 0, None)


def _sizes(words: list[bytes], length: int) -> _Sizes:
    """From the lines' words, three each; ``length`` in bytes. Raises KeyError and ValueError."""
    if length <= _VM_BYTES and words[::3] == _VM_LINES:
        # A third faster than looking each up by name, which is what follows.
        split = int(words[16]), int(words[19]), int(words[22])
        return int(words[1]), int(words[13]), int(words[37]), int(words[40]), split
    kib = dict(zip(words[::3], map(int, words[1::3]), strict=True))
    if max(map(abs, kib.values())) >= _LARGEST:
        raise ValueError
    # 4.0 to 4.14: VmPTE is the lowest level only. el7 has nothing else, later it is all.
    pgtables = kib[b"VmPTE:"] + kib.get(b"VmPMD:", 0)
    in_three = None
    if b"RssAnon:" in kib:
        in_three = kib[b"RssAnon:"], kib[b"RssFile:"], kib[b"RssShmem:"]
    return kib[b"VmSize:"], kib[b"VmRSS:"], pgtables, kib[b"VmSwap:"], in_three


# The mask is 288 characters on a distribution's kernel and the same for nearly every task: parsed
# anew it would cost an eighth of the parsing. Emptied when full, so that it stays small.
_masks: Final[dict[bytes, int]] = {}
# Several times MAX_NUMNODES: what is kept is bounded.
_MASK_CHARACTERS: Final = 1024


def _mask(words: bytes) -> int:
    """Hexadecimal words with commas between them. Raises ValueError."""
    mask = _masks.get(words)
    if mask is None:
        if len(words) > _MASK_CHARACTERS:
            raise ValueError
        mask = int(words.replace(b",", b""), 16)
        if len(_masks) >= 16:
            _masks.clear()
        _masks[words] = mask
    return mask


def parse_status(data: bytes) -> Status:
    """The comm is escaped here, so that a key after a newline is the kernel's own.

    Keys are looked for in the order in which every kernel since 3.10 writes them.
    Raises ``Unparsable``.
    """
    index = data.index
    try:
        if not data.endswith(b"\n"):
            raise ValueError  # Cut short: the last number may be half of one.
        begin = index(b"\nTracerPid:\t")
        end = index(b"\nGid:", begin)
        if end - begin > _IDS_BYTES:
            raise ValueError
        _, tracer_pid, _, uid, *_ = data[begin:end].split()
        vm = data.find(b"\nVmSize:", end)
        sizes = _NO_MM
        if vm >= 0:
            # VmSwap ends the block; late kernels go on with lines of another form.
            end = index(b" kB", index(b"\nVmSwap:", vm)) + 3
            sizes = _sizes(data[vm:end].split(), end - vm)
        begin = index(b"\nSigPnd:\t", end) + 9
        pending = int(data[begin : begin + 16], 16)
        begin = index(b"\nShdPnd:\t", begin) + 9
        pending |= int(data[begin : begin + 16], 16)
        begin = index(b"\nCapEff:\t", begin) + 9
        caps = int(data[begin : begin + 16], 16)
        # Only with CONFIG_CPUSETS.
        nodes = data.find(b"\nMems_allowed:\t", begin) + 15
        return Status(
            int(uid),
            int(tracer_pid),
            bool(pending & _SIGKILL),
            bool(caps & _CAP_SYS_ADMIN),
            _mask(data[nodes : index(b"\n", nodes)]) if nodes >= 15 else None,
            vm >= 0,
            *sizes,
        )
    except (IndexError, KeyError, ValueError):
        raise Unparsable("status", "unparsable") from None


def _rss_split(root: Root, pid: int, page_size_bytes: int, status: Status) -> tuple[int, int, int]:
    """Anonymous, file and shared memory in pages.

    Before 4.5 they are in ``statm`` only, where shared memory still counts as file.
    """
    if status.rss_split_kib:
        anon, file, shmem = status.rss_split_kib
        page_kib = page_size_bytes >> 10
        return anon // page_kib, file // page_kib, shmem // page_kib
    rss = (status.rss_kib << 10) // page_size_bytes
    try:
        file = parse_int(root.read_record(f"proc/{pid}/statm").split(b" ", 3)[2])
    except (IndexError, ReadError):
        file = 0
    return max(0, rss - file), file, 0


def _build(
    root: Root,
    pid: int,
    page_size_bytes: int,
    *,
    leader: Stat,
    oom_score_adj: int,
    mm_tid: int,
    stat: Stat,
    status: Status,
) -> Task:
    """The record. ``stat`` and ``status`` are those of the thread ``mm_tid``."""
    page_kib = page_size_bytes >> 10
    anon, file, shmem = (
        _rss_split(root, mm_tid, page_size_bytes, status) if status.has_mm else (0, 0, 0)
    )
    init_user_ns = None
    # Only those who could have the discount of the initial namespace's root are asked.
    if status.cap_sys_admin and (inode := root.user_ns_inode(mm_tid)) is not None:
        init_user_ns = inode == INIT_USER_NS_INODE
    # Unlike the kernel: from 6.2 until 7.x its killer reads per-CPU counters of rss without summing
    # them, as stat does; status has the sum from 6.16 on. The two differ by a few dozen pages for
    # each processor, and which one it will read cannot be probed: the sum is the truth.
    # By position: by keyword it takes three times as long, and there may be 30,000 of them.
    return Task(
        pid,
        leader.starttime_ticks,
        stat.comm,
        leader.ppid,
        status.uid,
        stat.state,
        stat.flags,
        mm_tid,
        leader.num_threads,
        status.has_mm,
        status.rss_kib // page_kib,
        status.pgtables_kib // page_kib,
        status.swap_kib // page_kib,
        status.total_vm_kib // page_kib,
        anon,
        file,
        shmem,
        oom_score_adj,
        status.cap_sys_admin,
        init_user_ns,
        status.sigkill_pending,
        status.tracer_pid,
        status.mems_allowed,
        leader.faults,
    )


def _find_mm_thread(root: Root, pid: int) -> tuple[int, Stat, Status] | None:
    """``find_lock_task_mm()``: the first thread that still has the mm its leader gave up."""
    try:
        tids = root.listdir(f"proc/{pid}/task")
    except ReadError:
        return None
    for tid in tids:
        if tid == str(pid) or not tid.isdecimal():
            continue
        try:
            status = parse_status(root.read_record(f"proc/{pid}/task/{tid}/status"))
            if status.has_mm:
                stat = parse_stat(root.read_record(f"proc/{pid}/task/{tid}/stat"))
                return int(tid), stat, status
        except ReadError:
            # A thread that ended meanwhile; the next one may be alive.
            continue
    return None


def _read_flagged(root: Root, pid: int, page_size_bytes: int) -> Task | None:
    """A process that cannot be read whole: what can be read, and what could not in ``refused``."""
    refused = []
    stat = adj = status = None
    try:
        stat = parse_stat(root.read_record(f"proc/{pid}/stat"))
    except Gone:
        return None
    except ReadError as error:
        refused.append(f"stat: {error.why}")
    try:
        adj = parse_int(root.read_record(f"proc/{pid}/oom_score_adj"))
    except Gone:
        return None
    except ReadError as error:
        refused.append(f"oom_score_adj: {error.why}")
    try:
        status = parse_status(root.read_record(f"proc/{pid}/status"))
    except Gone:
        return None
    except ReadError as error:
        refused.append(f"status: {error.why}")
    if stat is None:
        stat = _UNREADABLE
    uid = None
    if status is None:
        # stat has two of the figures, rounded on late kernels: better than none.
        vm_kib = sorted((0, stat.vsize_bytes, _LARGEST))[1] >> 10
        rss_kib = sorted((0, stat.rss_pages, _LARGEST))[1] * (page_size_bytes >> 10)
        split = (rss_kib, 0, 0)
        status = Status(0, 0, False, False, None, vm_kib > 0, vm_kib, rss_kib, 0, 0, split)
    else:
        uid = status.uid
    task = _build(
        root,
        pid,
        page_size_bytes,
        leader=stat,
        oom_score_adj=adj or 0,
        mm_tid=pid,
        stat=stat,
        status=status,
    )
    return task._replace(uid=uid, refused="; ".join(refused))


def read_task(
    root: Root, pid: int, page_size_bytes: int, *, oom_score_adj: int | None = None
) -> Task | None:
    """A process as it is now. None: it is gone. Raises nothing. ``oom_score_adj``: if just read.

    One that may not be read, or whose files are torn, is kept and flagged in ``refused``, with
    what the other files say: ``starttime_ticks`` is 0 without stat, ``uid`` None without status,
    and ``has_mm`` false when neither shows a size.
    """
    read, mm_tid = root.read_record, pid
    adj: int | None
    try:
        leader = stat = parse_stat(read(f"proc/{pid}/stat"))
        if leader.flags & PF_KTHREAD:
            adj, status = 0, _KTHREAD
        else:
            if (adj := oom_score_adj) is None:
                adj = parse_int(read(f"proc/{pid}/oom_score_adj"))
            status = parse_status(read(f"proc/{pid}/status"))
            if not status.has_mm and leader.num_threads > 1:
                mm_tid, stat, status = _find_mm_thread(root, pid) or (pid, stat, status)
    except Gone:
        return None
    except ReadError:
        return _read_flagged(root, pid, page_size_bytes)
    return _build(
        root,
        pid,
        page_size_bytes,
        leader=leader,
        oom_score_adj=adj,
        mm_tid=mm_tid,
        stat=stat,
        status=status,
    )
