"""A worker process of the test's choice, and a loop that attends to it."""

import os
import select
import time
from collections.abc import Callable
from pathlib import Path

from oomd.clock import monotonic_ms
from oomd.event import Look
from oomd.mm_types import MemInfo
from oomd.notifier.worker_process import WorkerProcess
from oomd.oom import NotifierChain
from oomd.proc.root import Root
from oomd.settings import NotifierSettings
from tests.audit.machines import AMPLE

__all__ = ["PATIENCE_S", "SHORT_MS", "Attended", "children", "look", "verdicts"]

# Far beyond what any of it takes: a test that runs into it has failed.
PATIENCE_S = 60.0
# What a chain may take in a test whose worker answers, and in one whose worker never will.
ENOUGH_MS, SHORT_MS = 60_000, 200


def look(meminfo: MemInfo = AMPLE) -> Look:
    return Look(
        now_ms=monotonic_ms(),
        meminfo=meminfo,
        pressure=None,
        thresholds=(),
        crossed="exhaustion",
        pcp_kib=0,
        headroom_kib=0,
        limit_kib=50_000,
        guard_kib=100_000,
    )


class Attended:
    """A worker, and a loop that attends to it."""

    def __init__(self, path: Path, root: Root) -> None:
        self.said: list[str] = []
        self.skew_ms = 0
        self.socket_path = str(path / "notify.sock")
        self.worker = WorkerProcess(
            root,
            lambda priority, text: self.said.append(text),
            lambda: monotonic_ms() + self.skew_ms,
            self.socket_path,
            module="tests.notifier.strange_worker",
        )

    def configure(
        self,
        kind: str,
        deadline_ms: int = ENOUGH_MS,
        *,
        clients: str = "root",
        calm: bool = True,
    ) -> None:
        plan = f'{{"kind":"{kind}"}}' if kind else ""
        settings = NotifierSettings(chain_deadline_ms=deadline_ms, plan=plan)
        self.worker.configure(settings._replace(clients=clients), calm=calm)  # type: ignore[arg-type]

    def until(self, done: Callable[[], bool], *, calm: bool = True) -> None:
        end = time.monotonic() + PATIENCE_S
        while not done():
            assert time.monotonic() < end, self.said
            poll = select.poll()
            for fd in self.worker.fds():
                poll.register(fd, select.POLLIN)
            poll.poll(10)
            self.worker.attend(calm=calm)

    def started(self, kind: str, deadline_ms: int = ENOUGH_MS) -> None:
        self.configure(kind, deadline_ms)
        self.until(lambda: self.worker.count == 2)

    def call(self) -> NotifierChain:
        return self.worker.call("exhaustion", look())

    def close(self) -> None:
        self.worker.close()
        # Those that will not go are killed.
        self.skew_ms += 3_600_000
        self.until(lambda: not children(), calm=False)


def children() -> list[int]:
    pid = os.getpid()
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(word) for task in tasks for word in (task / "children").read_text().split()]


def verdicts(chain: NotifierChain) -> list[tuple[str, str]]:
    return [(one.name, one.verdict) for one in chain.results]
