"""What one line of an OOM report says. The patterns follow mm/oom_kill.c, mm/memcontrol.c and
lib/show_mem.c of 3.10 to 6.x.

Each pattern is searched for, not matched at the start: a prefix that nobody has heard of may stand
before it. What a program chose itself, its comm, has 15 bytes at most, too few for any of them
where it could do harm; and the fixed words come before the comm in every line but two, which are
looked at first.
"""

import re
from collections.abc import Callable

from oomd.replay.facts import (
    Booted,
    Buddy,
    Chosen,
    Cpu,
    Cpuset,
    Exiting,
    Fact,
    Group,
    Header,
    HugePages,
    Killed,
    Lost,
    MemcgOf,
    MemInfoBegins,
    NoneKillable,
    Pages,
    Panicked,
    Sharer,
    Summary,
    Swap,
    SysRq,
    Zone,
)
from oomd.replay.kernel_report import Invoked, Limit, Named, Row

__all__ = ["fact", "unfinished"]

# What every line of interest has in it: nearly all others of a log are dismissed by this alone.
_HINT = re.compile(
    r"oom-killer: gfp_mask=| mems_allowed=|\bPID: \d|oom-kill:|total_vm"
    r"|[Kk]ill(?:ed)? process \d|OOM victim|out of memory|Out of memory|deadlocked on memory"
    r"|memory\.oom\.group|limit of |: usage |pages RAM|pages reserved|Total swap = "
    r"|Node \d+ |\d\*\d+kB|present:|Mem-Info|moom_callback|Manual OOM|messages suppressed"
    r"|[Mm]issed \d+ kernel messages|due to rate-limiting|Linux version \d|\[ *\d+\] "
)

_INVOKED = re.compile(
    r" invoked oom-killer: gfp_mask=(?P<mask>0x[0-9a-fA-F]+)"
    r"(?P<words>\([^)]*\))?, (?:nodemask=(?P<nodes>\S+), )?order=(?P<order>-?\d+), "
    r"oom_(?:score_)?adj=(?P<adj>-?\d+)"
)
_CPUSET = re.compile(r" cpuset=.* mems_allowed=([\d,-]+)\s*$", re.DOTALL)
_CPU = re.compile(
    r"PID: (\d+) Comm: (.*?) (?:Kdump: loaded )?(?:Not tainted\s+|Tainted: [A-Z\s()-]++)"
    r"(\d+\.\d+\S*) #",
    re.DOTALL,
)
_SYSRQ = re.compile(r"moom_callback|Manual OOM")
_MEMINFO = re.compile(r"(?:^|\s)Mem-Info:\s*$")
_MEMCG = re.compile(r"killed as a result of limit of (.*)$")
_LIMIT = re.compile(r"(memory|memory\+swap|swap): usage (\d+)kB, limit (\d+)kB, failcnt")
_ZONE = re.compile(r"(?:Node (\d+) |(?:^|\s))(DMA|DMA32|Normal|HighMem|Movable|Device) free:\d+kB")
_PRESENT = re.compile(r" present:(\d+)kB")
_BUDDY = re.compile(r"(?:DMA|DMA32|Normal|HighMem|Movable): \d+\*(\d+)kB")
_HUGE = re.compile(r"Node (\d+) hugepages_total=")
_PAGES = re.compile(r"(?:^|\s)(\d+) pages (RAM|reserved)\s*$")
_SWAP = re.compile(r"(?:^|\s)Total swap = (\d+)kB\s*$")
_HEADER = re.compile(r"\[ *pid *\] +uid +tgid +(total_vm .*?) +name\s*$")
# In three, as cgroups and comms may have any of its words in their names: one pattern for the whole
# line tries them all with each other.
_SUMMARY = re.compile(r"oom-kill:constraint=(CONSTRAINT_\w+),nodemask=(\(null\)|[\d,-]*),cpuset=")
_SUMMARY_NODES = re.compile(
    r",mems_allowed=([\d,-]*)(?:,global_oom|,oom_memcg=(.*?))?(?:,task_memcg=.*?)?,task=(.*)",
    re.DOTALL,
)
_SUMMARY_END = re.compile(r",pid=(\d+),uid=-?\d+\s*$")
_KILL = re.compile(
    r"(?P<message>(?:Memory cgroup o|O)ut of memory(?: \(oom_kill_allocating_task\))?)?"
    r"(?(message): )Kill process (?P<pid>\d+) \((?P<comm>.*)\) "
    r"(?:score (?P<score>\d+) or sacrifice child|(?P<sharer>sharing same memory))",
    re.DOTALL,
)
_KILLED = re.compile(
    r"(?:(?P<message>(?:Memory cgroup o|O)ut of memory(?: \(oom_kill_allocating_task\))?): )?"
    r"Killed process (?P<pid>\d+) \((?P<comm>.*)\),?(?: UID \d+,)?"
    r"(?: total-vm:(?P<vm>\d+)kB|\s*$)",
    re.DOTALL,
)
_EXITING = re.compile(r"OOM victim (\d+) \((.*)\) is already exiting", re.DOTALL)
_GROUP = re.compile(r"Tasks in (.*) are going to be killed due to memory\.oom\.group set")
_PANIC = re.compile(
    r"(?P<kernel>Kernel panic - not syncing: )?(?P<words>"
    r"Out of memory: (?:system-wide|compulsory) panic_on_oom is enabled"
    r"|Out of memory and no killable processes\.\.\.|System is deadlocked on memory)\s*$"
)
_BOOTED = re.compile(r"(?:^|\s)Linux version (\d+\.\d+\S*) ")
_LOST = re.compile(
    r"printk: .*messages suppressed|[Mm]issed \d+ kernel messages"
    r"|messages? (?:lost|dropped) due to rate-limiting"
)

# Two adjoining fields at least, so that no comm passes for the beginning of a row.
_ROW_BEGINS = re.compile(r"\[ *\d+\] +-?\d+ +\d+ ")
# A comm has 15 bytes, each of which may be written as #012 or \x0a.
_COMM_LIMIT = 60
# 2**64 has as many, and a sign may stand before them; int() itself refuses thousands.
_DIGITS = 21
_rows: dict[int, re.Pattern[str]] = {}


# The kernel cuts its lines at 1,024 bytes, at 2,048 since 5.10; a logger may write a byte as four.
_LINE_CHARACTERS = 8192


def _number(text: str, base: int = 10) -> int:
    """A figure as a kernel could have printed it. Raises ValueError for any other."""
    if len(text) > _DIGITS:
        raise ValueError(f"{len(text)} digits")
    return int(text, base)


def _row_pattern(columns: int) -> re.Pattern[str]:
    if columns not in _rows:
        numbers = rf"((?: +-?\d+){{{columns}}})"
        pattern = rf"\[ *(\d+)\] +(-?\d+) +(\d+){numbers}(?: (.*))?$"
        _rows[columns] = re.compile(pattern, re.DOTALL)
    return _rows[columns]


def _row(text: str, columns: tuple[str, ...]) -> Row | None:
    found = _row_pattern(len(columns)).search(text) if columns else None
    if found is None or len(found[5] or "") > _COMM_LIMIT:
        return None
    of = dict(zip(columns, (_number(number) for number in found[4].split()), strict=True))
    pages = [of[name] for name in columns if name.startswith("nr_p")]
    return Row(
        pid=_number(found[1]),
        uid=_number(found[2]),
        tgid=_number(found[3]),
        total_vm_pages=of.get("total_vm", 0),
        rss_pages=of.get("rss", 0),
        # nr_ptes, from 4.1 to 4.14 nr_pmds beside it; all in bytes later.
        pgtables=of.get("pgtables_bytes", sum(pages)),
        swapents_pages=of.get("swapents", 0),
        oom_score_adj=of.get("oom_score_adj", 0),
        comm=found[5] or "",
    )


def _invoked(text: str) -> Invoked | None:
    found = _INVOKED.search(text)
    if found is None:
        return None
    return Invoked(
        comm=text[: found.start()].strip(),
        gfp_mask=_number(found["mask"], 16),
        gfp_words=found["words"] is not None,
        nodemask=found["nodes"] or "",
        order=_number(found["order"]),
        oom_score_adj=_number(found["adj"]),
    )


def _kill(text: str) -> Chosen | Sharer | None:
    found = _KILL.search(text)
    if found is None:
        return None
    named = Named(_number(found["pid"]), found["comm"])
    if found["sharer"]:
        return Sharer(named)
    return Chosen(found["message"] or "", named, _number(found["score"]))


def _killed(text: str) -> Killed | None:
    found = _KILLED.search(text)
    if found is None:
        return None
    vm = _number(found["vm"]) if found["vm"] else None
    return Killed(found["message"] or "", Named(_number(found["pid"]), found["comm"]), vm)


def _summary(text: str) -> Summary | None:
    begin, end = _SUMMARY.search(text), _SUMMARY_END.search(text)
    if begin is None or end is None:
        return None
    middle = text[begin.end() : end.start()]
    at = middle.rfind(",task=")
    while (at := middle.rfind(",mems_allowed=", 0, max(at, 0))) >= 0:
        found = _SUMMARY_NODES.match(middle, at)
        if found is not None:
            named = Named(_number(end[1]), found[3])
            return Summary(begin[1], begin[2], found[1], found[2] or "", named)
    return None


def _zone(text: str) -> Zone | None:
    found = _ZONE.search(text)
    if found is None:
        return None
    present = _PRESENT.search(text)
    return Zone(_number(found[1] or "0"), _number(present[1]) if present else None)


def _panic(text: str) -> Panicked | NoneKillable | None:
    found = _PANIC.search(text)
    if found is None:
        return None
    if found["kernel"] is None and found["words"].endswith("..."):
        return NoneKillable()
    return Panicked(found["words"], found["kernel"] is not None)


def _named(pattern: re.Pattern[str], text: str) -> Named | None:
    found = pattern.search(text)
    return Named(_number(found[1]), found[2]) if found else None


def _memory(text: str) -> Fact | None:
    """What ``show_mem()`` and a memcg's figures say."""
    found = _LIMIT.search(text)
    if found is not None:
        return Limit(found[1], _number(found[2]), _number(found[3]))
    found = _PAGES.search(text)
    if found is not None:
        return Pages(found[2], _number(found[1]))
    found = _SWAP.search(text)
    if found is not None:
        return Swap(_number(found[1]))
    zone = _zone(text)
    if zone is not None:
        return zone
    found = _BUDDY.search(text)
    if found is not None:
        return Buddy(_number(found[1]))
    found = _HUGE.search(text)
    if found is not None:
        return HugePages(_number(found[1]))
    found = _MEMCG.search(text)
    if found is not None:
        return MemcgOf(found[1])
    return MemInfoBegins() if _MEMINFO.search(text) else None


def _outcome(text: str) -> Fact | None:
    """What came of it."""
    named = _named(_EXITING, text)
    if named is not None:
        return Exiting(named)
    found = _GROUP.search(text)
    if found is not None:
        return Group(found[1])
    # Some of these records have no field, and so are false.
    panic = _panic(text)
    if panic is not None:
        return panic
    return Lost() if _LOST.search(text) else None


def _beginning(text: str) -> Fact | None:
    """Who allocated, and why it was asked for."""
    found = _CPU.search(text)
    if found is not None:
        return Cpu(Named(_number(found[1]), found[2]), found[3])
    found = _HEADER.search(text)
    columns = tuple(found[1].split()) if found is not None else ()
    # As each kernel has them: two names that were wrapped into one are not what they seem.
    if {"total_vm", "rss", "oom_score_adj"} <= set(columns):
        return Header(columns)
    found = _BOOTED.search(text)
    if found is not None:
        return Booted(found[1])
    return SysRq() if _SYSRQ.search(text) else None


def _cpuset(text: str) -> Cpuset | None:
    found = _CPUSET.search(text)
    return Cpuset(found[1]) if found else None


def _row_or_nothing(text: str, columns: tuple[str, ...]) -> Row | None:
    return _row(text, columns) if _ROW_BEGINS.search(text) else None


# The comm comes first in the first two.
_KINDS: tuple[Callable[[str], Fact | None], ...] = (
    _invoked,
    _cpuset,
    _summary,
    _kill,
    _killed,
    _beginning,
    _memory,
    _outcome,
)


def fact(text: str, columns: tuple[str, ...] = ()) -> Fact | None:
    """What a line says, or None if it is no line of a report.

    ``columns``: of the table that is being read, if one is.
    """
    if len(text) > _LINE_CHARACTERS or _HINT.search(text) is None:
        return None
    try:
        row = _row_or_nothing(text, columns)
        if row is not None:
            return row
        for kind in _KINDS:
            found = kind(text)
            if found is not None:
                return found
    except ValueError:
        # A number that no kernel prints.
        return None
    return None


# The beginnings of lines that are often too long for whatever they went through.
_BEGINNINGS = re.compile(
    r"oom-kill:constraint=|\[ *pid *\]|Killed process \d+ \(|Kill process \d+ \("
    r"| invoked oom-killer: |(?:memory|memory\+swap|swap): usage |\bPID: \d+ Comm: "
)


def unfinished(text: str) -> bool:
    """It begins like a line of a report and does not end like one: the rest was wrapped."""
    if len(text) > _LINE_CHARACTERS:
        return False
    return bool(_BEGINNINGS.search(text) or _ROW_BEGINS.search(text))
