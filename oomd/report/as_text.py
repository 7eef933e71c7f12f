"""The audit for a person: the machine, the distance to each threshold, the seven steps, the
ranking. Colour only on a terminal (rich sees to that, and to NO_COLOR)."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from oomd.config import one_line
from oomd.mm.oom_badness import oom_score
from oomd.oom import Freed, Kill, LetItExit, NoneKillable, Panic, Value, Wait
from oomd.proc.probe import ZramDevice
from oomd.report.findings import Findings, Ranked
from oomd.report.kernel_log import printable
from oomd.report.trace import full_trace, victims_of
from oomd.thresholds import Threshold

__all__ = ["print_findings", "verdict_line"]

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


def _thresholds(findings: Findings) -> Table:
    table = Table.grid(padding=(0, 2))
    for one in findings.thresholds:
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
    )


def _ranking(findings: Findings, top: int) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    columns = ("pid", "uid", "comm", "rss", "page tables", "swap", "adj", "points", "score")
    for name in columns:
        table.add_column(name, justify="left" if name == "comm" else "right", overflow="fold")
    dying = {
        one.task.ident for one in victims_of(findings.decision, findings.plan, findings.companions)
    }
    eligible = [ranked for ranked in findings.ranking if not ranked.reason]
    for ranked in eligible[:top]:
        style = "bold red" if ranked.task.ident in dying else ""
        table.add_row(*(Text(cell) for cell in _row(ranked, findings)), style=style)
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
        ("Thresholds", _thresholds(findings)),
        ("out_of_memory(), if it were called now", _steps(findings)),
        (f"Ranking ({shown} of {eligible} eligible)", _ranking(findings, top)),
    )
    for title, table in parts:
        console.print(Text(title, style="bold"))
        console.print(table)
        console.print()
    console.print(Text(one_line(_excluded(findings))))
    for note in findings.notes:
        console.print(Text(f"note: {one_line(note)}"))
    if findings.would_act is None:
        console.print(Text("Nothing to do now. If memory ran out, oomd ", style="bold"), end="")
    else:
        words = f"The {findings.would_act} threshold is crossed: oomd "
        console.print(Text(words, style="bold red"), end="")
    console.print(Text(verdict_line(findings) + ".", style="bold"))
