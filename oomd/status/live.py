"""``oomd status --watch``: redrawn each second, until Ctrl-C."""

import os
import signal
import time
from collections import deque
from collections.abc import Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from oomd.audit import Question, audit
from oomd.client import ClientError
from oomd.config import ConfigError, one_line
from oomd.config_load import load
from oomd.proc.root import ReadError, Root
from oomd.proc.snapshot import CannotDecide
from oomd.report.as_text import mib, ranking_table, threshold_table, verdict_line
from oomd.report.console import when
from oomd.report.findings import Findings
from oomd.settings import Settings
from oomd.status.as_text import head, thresholds_of
from oomd.status.ask import NOT_RUNNING, State, read_state
from oomd.status.in_force import settings_of
from oomd.thresholds import stalled_percent

__all__ = ["sparkline", "watch"]

REFRESH_S = 1.0
# The daemon is asked less often than memory is read: each question wakes it up.
ASK_S = 5.0
SAMPLES = 60
CANDIDATES = 8
DECISIONS = 4
BLOCKS = "▁▂▃▄▅▆▇█"
PLAIN = "_.-=+*%#"


def sparkline(values: Sequence[float], top: float, blocks: str = BLOCKS) -> str:
    """A column for each value, as high as its share of ``top``."""
    highest = len(blocks) - 1
    return "".join(
        blocks[min(max(round(value / top * highest), 0), highest) if top > 0 else 0]
        for value in values
    )


class _Screen:
    """What is shown, from what the daemon says and what this process reads."""

    def __init__(self, state: State, socket: str, notify_socket: str, blocks: str) -> None:
        self._state: State | None = state
        self._sockets = socket, notify_socket
        self._blocks = blocks
        self._asked = time.monotonic()
        self._trouble = ""
        self._root = Root()
        self._some: deque[float] = deque(maxlen=SAMPLES)
        self._full: deque[float] = deque(maxlen=SAMPLES)
        self._available: deque[float] = deque(maxlen=SAMPLES)
        self._last: tuple[float, Findings] | None = None

    def _ask(self) -> None:
        now = time.monotonic()
        if now - self._asked < ASK_S:
            return
        self._asked, self._trouble = now, ""
        try:
            self._state = read_state(*self._sockets)
        except ClientError as error:
            self._trouble = str(error)

    def _settings(self) -> Settings:
        try:
            files = load((self._state or {}).get("config_file")).settings
        except ConfigError:
            files = Settings()
        return files if self._state is None else settings_of(self._state, files)

    def _look(self) -> Findings | None:
        """The machine as it is now; None: it cannot be read."""
        pid = self._state["pid"] if self._state is not None else os.getpid()
        try:
            findings = audit(self._root, self._settings(), Question(), pid)
        except (CannotDecide, ReadError) as error:
            self._trouble = str(error)
            return None
        now = time.monotonic()
        self._available.append(findings.snapshot.meminfo.mem_available_kib)
        pressure, last = findings.pressure, self._last
        if pressure is not None and last is not None and last[1].pressure is not None:
            elapsed_us, before = round((now - last[0]) * 1e6), last[1].pressure
            self._some.append(stalled_percent(before.some, pressure.some, elapsed_us))
            self._full.append(stalled_percent(before.full, pressure.full, elapsed_us))
        self._last = now, findings
        return findings

    def _lines(self, findings: Findings) -> Table:
        table = Table.grid(padding=(0, 2))
        total_kib = findings.snapshot.meminfo.mem_total_kib
        rows = (
            ("some", self._some, 100.0, "yellow"),
            ("full", self._full, 100.0, "red"),
            ("available", self._available, total_kib, "green"),
        )
        for name, values, top, style in rows:
            now = ""
            if values:
                now = mib(values[-1]) if name == "available" else f"{values[-1]:.1f} %"
            line = Text(sparkline(values, top, self._blocks), style=style)
            table.add_row(Text(name, style="dim"), line, Text(now))
        return table

    def _decisions(self) -> list[Text]:
        decisions = self._state["decisions"][-DECISIONS:] if self._state is not None else []
        return [
            Text(f"{when(one['time'])}  {one_line(one['text'])}", overflow="ellipsis", no_wrap=True)
            for one in decisions
        ]

    def draw(self) -> Group:
        """The next picture."""
        self._ask()
        findings = self._look()
        parts: list[Text | Table] = []
        parts.append(
            Text(NOT_RUNNING, style="bold red") if self._state is None else head(self._state)
        )
        if self._trouble:
            parts.append(Text(one_line(self._trouble), style="red"))
        if findings is not None:
            # How far it is: of the daemon's own, whose stall is counted over its window.
            own = thresholds_of(self._state) if self._state is not None else ()
            stall = [one for one in own if one.name == "stall"]
            exhaustion = [one for one in findings.thresholds if one.name != "stall"]
            parts += [Text(), self._lines(findings), Text()]
            parts.append(threshold_table((*exhaustion, *stall)))
            parts += [Text(), Text("The next candidates", style="bold")]
            parts += [ranking_table(findings, CANDIDATES), Text(f"It {verdict_line(findings)}.")]
        decisions = self._decisions()
        if decisions:
            parts += [Text(), Text("The last decisions", style="bold"), *decisions]
        return Group(*parts)


def _interrupted(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def watch(state: State, socket: str, notify_socket: str) -> None:
    """Until Ctrl-C or SIGTERM, which leave the terminal as it was."""
    to = Console(highlight=False)
    blocks = BLOCKS if to.encoding.startswith("utf") else PLAIN
    screen = _Screen(state, socket, notify_socket, blocks)
    before = signal.signal(signal.SIGTERM, _interrupted)
    try:
        with Live(console=to, screen=True, auto_refresh=False) as live:
            while True:
                live.update(screen.draw(), refresh=True)
                time.sleep(REFRESH_S)
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)
