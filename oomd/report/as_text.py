"""The audit for a person: the machine, the distance to each threshold, the seven steps, the
ranking. Colour only on a terminal (rich sees to that, and to NO_COLOR)."""

from collections.abc import Iterable
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oomd.config import one_line
from oomd.mm.oom_badness import oom_score
from oomd.oom import Freed, Kill, LetItExit, NoneKillable, Panic, Ruling, Value, Wait
from oomd.proc.probe import ZramDevice
from oomd.report.findings import Findings, Ranked
from oomd.report.kernel_log import printable
from oomd.report.trace import full_trace, victims_of
from oomd.thresholds import Threshold

__all__ = ["mib", "print_findings", "ranking_table", "threshold_table", "verdict_line"]

KIB_PER_MIB = 1024


def mib(kib: float) -> str:
    """KiB as a person reads it."""
    value = kib / KIB_PER_MIB
    return f"{value / 1024:,.1f} GiB" if abs(value) >= 10240 else f"{value:,.1f} MiB"


def _pages_kib(pages: int, findings: Findings) -> int:
    return pages * findings.snapshot.page_size_bytes // 1024


def _zram(device: ZramDevice) -> str:
    size = mib(device.disk_size_bytes / 1024)
    if device.mem_used_bytes is None:
        return f"{device.name}, {size}"
    return f"{device.name}, {size}, takes {mib(device.mem_used_bytes / 1024)} of memory"


def _machine(findings: Findings) -> Table:
    info, sysctls = findings.snapshot.meminfo, findings.sysctls
    table = Table.grid(padding=(0, 2))
    swap = "none"
    if info.swap_total_kib:
        swap = f"{mib(info.swap_total_kib)}, {mib(info.swap_free_kib)} free"
    pressure = "not observable"
    if findings.pressure is not None:
        some, full = findings.pressure.some, findings.pressure.full
        pressure = f"some {some.avg10_percent:.2f} %, full {full.avg10_percent:.2f} % over 10 s"
    rows = (
        # A recording may come from anywhere, and says what it likes.
        ("kernel", one_line(findings.kernel) or "not observable"),
        ("policy", findings.policy),
        ("memory", f"{mib(info.mem_total_kib)}, {mib(info.mem_available_kib)} available"),
        ("swap", swap),
        *(("zram", _zram(one)) for one in findings.machine.zram if one.disk_size_bytes),
        ("pressure", pressure),
        (
            "sysctls",
            f"vm.panic_on_oom={sysctls.panic_on_oom} "
            f"vm.oom_kill_allocating_task={sysctls.oom_kill_allocating_task} "
            f"vm.oom_dump_tasks={sysctls.oom_dump_tasks}",
        ),
        (
            "tasks",
            f"{findings.snapshot.tasks_seen}, read in {findings.snapshot.scan_us / 1000:.1f} ms",
        ),
    )
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(value))
    return table


def _distance(threshold: Threshold) -> str:
    if threshold.value is None:
        return ""
    if threshold.unit == "KiB":
        away = threshold.value - threshold.limit
        text = f"{mib(threshold.value)} against {mib(threshold.limit)}"
        return f"{text}: {mib(away)} to go" if away > 0 else text
    return f"{threshold.value:.1f} {threshold.unit} against {threshold.limit:.1f} {threshold.unit}"


def threshold_table(thresholds: Iterable[Threshold]) -> Table:
    """Each threshold: where it stands, and what that means."""
    table = Table.grid(padding=(0, 2))
    for one in thresholds:
        state = Text("CROSSED", style="bold red") if one.crossed else Text("clear", style="green")
        table.add_row(Text(one.name), state, Text(_distance(one)))
        table.add_row("", "", Text(one.verdict, style="dim"))
    return table


def _named(name: str, value: Value) -> str:
    """One number of a step, as a person reads it: pages apart from ids and settings."""
    if isinstance(value, bool):
        return name.replace("_", " ") if value else f"no {name.replace('_', ' ')}"
    if isinstance(value, int) and (name.endswith(("pages", "points"))):
        return f"{name} {value:,}"
    return f"{name} {value}"


def _steps(findings: Findings) -> Table:
    table = Table.grid(padding=(0, 2))
    for step in full_trace(findings.decision, findings.plan):
        reached = step.verdict != "not reached"
        # A notifier gives itself its name.
        numbers = one_line(", ".join(_named(name, value) for name, value in step.detail.items()))
        style = "" if reached else "dim"
        table.add_row(
            Text(str(step.step), style="bold" if reached else "dim"),
            Text(step.name, style=style),
            Text(step.verdict, style=style),
        )
        if numbers:
            table.add_row("", "", Text(numbers, style="dim"))
    return table


def verdict_line(findings: Findings) -> str:
    """The decision in one sentence."""
    decision = findings.decision
    match decision:
        case Kill():
            victims = victims_of(decision, findings.plan, findings.companions)
            if not victims:
                chosen = decision.chosen
                name = f"{chosen.pid} ({printable(chosen.comm)})"
                return f"{name} is dying already: it would be given time, nobody is killed"
            names = ", ".join(f"{v.task.pid} ({printable(v.task.comm)}, {v.why})" for v in victims)
            pages = victims[0].task.size_pages
            return f"would kill {names}, giving back up to {mib(_pages_kib(pages, findings))}"
        case Wait():
            name = f"{decision.task.pid} ({printable(decision.comm)})"
            return f"would wait for {name}: {decision.reason}"
        case LetItExit():
            return f"would let {decision.task.pid} ({printable(decision.comm)}) exit"
        case Panic(step=3):
            action = findings.settings.panic.panic_on_oom
            return f'would panic: "{decision.message}" (panic.panic_on_oom = "{action}")'
        case Panic():
            action = findings.settings.panic.none_killable
            return f'would panic: "{decision.message}" (panic.none_killable = "{action}")'
        case Freed():
            return "notifiers freed memory: nobody dies"
        case NoneKillable():
            return f'would kill nobody: "{decision.message}"'


def _ruling(ruling: Ruling | None) -> str:
    """What the admin's rules say of one, in a word or two."""
    if ruling is None:
        return ""
    words = [ruling.rule] if ruling.rule else []
    if ruling.never:
        words.insert(0, "never:")
    elif ruling.adj:
        words.insert(0, f"{'prefer' if ruling.adj > 0 else 'avoid'} {abs(ruling.adj)}:")
    words += ["(small)"] if ruling.small else []
    # Born while we were looking.
    return " ".join(words + (["(cgroup not read)"] if ruling.unread else []))


def _row(ranked: Ranked, findings: Findings) -> tuple[str, ...]:
    task = ranked.task
    points, score = "-", "-"
    if ranked.points is not None:
        points = f"{ranked.points:,}"
        score = str(oom_score(ranked.points, findings.decision.totalpages))
    return (
        str(task.pid),
        "?" if task.uid is None else str(task.uid),
        printable(task.comm),
        mib(_pages_kib(task.rss_pages, findings)),
        mib(_pages_kib(task.pgtables_pages, findings)),
        mib(_pages_kib(task.swapents_pages, findings)),
        str(task.oom_score_adj),
        points,
        score,
        *_without_rules(ranked),
    )


def _without_rules(ranked: Ranked) -> tuple[str, str]:
    unruled = ranked.points_without_rules
    return "-" if unruled is None else f"{unruled:,}", _ruling(ranked.ruling)


def _shown(findings: Findings, top: int) -> list[Ranked]:
    """The worst, and below them who would be among the worst if it were not for the rules."""
    shown = [ranked for ranked in findings.ranking if not ranked.reason][:top]
    if findings.ruled:
        unruled = [one for one in findings.ranking if one.points_without_rules is not None]
        unruled.sort(key=lambda one: -(one.points_without_rules or 0))
        shown += [one for one in unruled[:top] if one not in shown]
    return shown


def ranking_table(findings: Findings, top: int) -> Table:
    """The worst first; who would die now, in red."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = ["pid", "uid", "comm", "rss", "page tables", "swap", "adj", "points", "score"]
    if findings.ruled:
        columns += ["without rules", "rule"]
    for name in columns:
        side: Literal["left", "right"] = "left" if name in ("comm", "rule") else "right"
        table.add_column(name, justify=side, overflow="fold")
    dying = {
        one.task.ident for one in victims_of(findings.decision, findings.plan, findings.companions)
    }
    for ranked in _shown(findings, top):
        style = "bold red" if ranked.task.ident in dying else ""
        cells = _row(ranked, findings)[: len(columns)]
        table.add_row(*(Text(cell) for cell in cells), style=style)
    return table


def _excluded(findings: Findings) -> str:
    counts: dict[str, int] = {}
    for ranked in findings.ranking:
        if ranked.reason:
            counts[ranked.reason] = counts.get(ranked.reason, 0) + 1
    if not counts:
        return "never chosen: nobody"
    by_count = sorted(counts.items(), key=lambda item: -item[1])
    return "never chosen: " + ", ".join(f"{reason} ({count})" for reason, count in by_count)


def print_findings(findings: Findings, top: int, console: Console) -> None:
    """Print the audit; ``top`` rows of ranking."""
    eligible = sum(1 for ranked in findings.ranking if not ranked.reason)
    shown = min(top, eligible)
    parts = (
        ("The machine", _machine(findings)),
        ("Thresholds", threshold_table(findings.thresholds)),
        ("out_of_memory(), if it were called now", _steps(findings)),
        (f"Ranking ({shown} of {eligible} eligible)", ranking_table(findings, top)),
    )
    for title, table in parts:
        console.print(Text(title, style="bold"))
        console.print(table)
        console.print()
    console.print(Text(one_line(_excluded(findings))))
    unruled = findings.without_rules
    if unruled is not None:
        name = f"{unruled.task.pid} ({printable(unruled.task.comm)})"
        same = isinstance(findings.decision, Kill) and (
            findings.decision.chosen.ident == unruled.task.ident
        )
        console.print(Text(f"without the rules: {'the same' if same else name}"))
    for note in findings.notes:
        console.print(Text(f"note: {one_line(note)}"))
    if findings.would_act is None:
        console.print(Text("Nothing to do now. If memory ran out, oomd ", style="bold"), end="")
    else:
        words = f"The {findings.would_act} threshold is crossed: oomd "
        console.print(Text(words, style="bold red"), end="")
    console.print(Text(verdict_line(findings) + ".", style="bold"))
