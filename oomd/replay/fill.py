"""A fact written into the report that it belongs to."""

from oomd.replay.facts import (
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
    MemcgOf,
    NoneKillable,
    Pages,
    Panicked,
    Sharer,
    Summary,
    Swap,
    SysRq,
    Zone,
)
from oomd.replay.kernel_report import KernelReport, Limit, Named

__all__ = ["fill_in"]


def _memory(report: KernelReport, found: Fact) -> None:
    match found:
        case Pages(which="RAM", pages=pages):
            report.ram_pages = pages
        case Pages(pages=pages):
            report.reserved_pages = pages
        case Swap(total_kib=kib):
            report.swap_total_kib = kib
        case Zone(nid=nid, present_kib=kib):
            before = report.present_kib.get(nid, 0)
            report.present_kib[nid] = None if kib is None or before is None else before + kib
        case Buddy(page_kib=kib):
            report.page_kib = kib if report.page_kib is None else min(kib, report.page_kib)
        case HugePages(nid=nid):
            report.memory_nodes.add(nid)
        case MemcgOf(path=path):
            report.memcg = report.memcg or path
        case Limit():
            report.limits.setdefault(found.which, found)


def _add_killed(report: KernelReport, victim: Named) -> None:
    # Of an oom.group the first victim is named twice.
    if victim.pid not in report.killed_pids:
        report.killed_pids.add(victim.pid)
        report.killed.append(victim)


def _outcome(report: KernelReport, found: Fact) -> None:
    match found:
        case Summary():
            report.constraint, report.nodemask = found.constraint, found.nodemask
            report.mems_allowed = found.mems_allowed
            report.memcg = found.memcg or report.memcg
            report.chosen = found.chosen
        case Chosen():
            report.message, report.chosen = found.message, found.chosen
            report.score = found.score
        case Killed():
            report.message = report.message or found.message
            if not report.killed:
                report.killed_total_vm_kib = found.total_vm_kib
            _add_killed(report, found.victim)
        case Sharer(victim=victim):
            report.sharers.append(victim)
            _add_killed(report, victim)
        case Exiting(victim=victim):
            report.exiting = report.exiting or victim
        case Group(path=path):
            report.group = path
        case NoneKillable():
            report.none_killable = True
        case Panicked(message=message):
            report.panic = report.panic or message


def fill_in(report: KernelReport, found: Fact) -> None:
    """Note what ``found`` says. Who said it first is believed where two lines differ."""
    match found:
        case Cpu():
            if report.current is None:
                report.current, report.kernel = found.current, found.kernel
        case Cpuset(mems_allowed=nodes):
            report.mems_allowed = report.mems_allowed or nodes
        case SysRq():
            report.manual = True
        case Header(columns=columns):
            report.table.columns = columns
        case _:
            _memory(report, found)
            _outcome(report, found)
