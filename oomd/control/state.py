"""The daemon's state as messages, made when somebody asks, from what it holds anyway."""

import os
import time

from oomd import __version__
from oomd.control.chronicle import Chronicle
from oomd.control.pause import Pause
from oomd.effects.act import Executor
from oomd.event import Look
from oomd.log import Log
from oomd.mm_types import Pressure
from oomd.notifier.worker_process import WorkerProcess
from oomd.report.kernel_log import printable
from oomd.settings import Settings
from oomd.teller import Teller
from oomd.typed import Any, Iterator, Mapping
from oomd.watch import Watch
from oomd.wire import Message

__all__ = ["State"]

# A victim's memory.oom.group may be thousands.
VICTIMS_TOLD = 32


def _plain(value: Any) -> Any:
    """A setting as JSON has it: records as objects, tuples as arrays."""
    if isinstance(value, tuple):
        names = getattr(value, "_fields", None)
        if names is None:
            return [_plain(one) for one in value]
        # The worker's plan may hold secrets, and is told by notify.sock as far as it is anyone's.
        return {name: _plain(getattr(value, name)) for name in names if name != "plan"}
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    return str(value)


def _pressure(pressure: Pressure | None) -> Mapping[str, Any] | None:
    if pressure is None:
        return None
    return {"some": pressure.some._asdict(), "full": pressure.full._asdict()}


class State:
    """What does not change with a reload; the rest is handed in when it is asked for."""

    def __init__(
        self,
        *,
        act: Executor,
        worker: WorkerProcess,
        chronicle: Chronicle,
        pause: Pause,
        teller: Teller,
        log: Log,
        config_file: str | None,
    ) -> None:
        self._act = act
        self._worker = worker
        self._chronicle = chronicle
        self._pause = pause
        self._teller = teller
        self._log = log
        self._config_file = config_file
        self._since = time.time()
        state = os.environ.get("STATE_DIRECTORY", "").partition(":")[0]
        self._records = f"{state}/decisions" if state else ""

    def sections(
        self,
        settings: Settings,
        watch: Watch,
        policy: str,
        look: Look | None,
        kernel_kills: int | None,
    ) -> Iterator[Message]:
        """All of it. ``look``: taken for this; None: it could not be had. ``kernel_kills``: the
        kernel's own, since the start; None: not observable."""
        yield self._daemon(policy)
        if look is not None:
            yield from self._memory(watch, look)
        yield from self._settings(settings)
        yield self._worker_state()
        yield from self._victims()
        for decision in self._chronicle.decisions:
            yield {"op": "status_decision", **decision}
        yield self._counters(kernel_kills)

    def _memory(self, watch: Watch, look: Look) -> Iterator[Message]:
        yield {
            "op": "status_memory",
            "meminfo": look.meminfo._asdict(),
            "pressure": _pressure(look.pressure),
            "headroom_kib": look.headroom_kib,
            "crossed": look.crossed,
        }
        for one in look.thresholds:
            yield {"op": "status_threshold", **one._asdict(), "detail": {**one.detail}}
        yield {
            "op": "status_waits",
            "for": list(watch.notes),
            "timer_ms": watch.sleep_ms(look),
            "hold_ms": self._act.hold_ms(look.now_ms) or 0,
        }

    def _daemon(self, policy: str) -> Message:
        state = "paused" if self._pause.begun else "guarding"
        return {
            "op": "status_daemon",
            "version": __version__,
            "pid": os.getpid(),
            "since": round(self._since, 3),
            "state": state,
            "pause_left_ms": self._pause.left_ms(),
            "policy": policy,
            "config_file": self._config_file,
            "records": self._records,
        }

    def _settings(self, settings: Settings) -> Iterator[Message]:
        # Each table by itself, so that none of them fills the datagram for the others.
        alone = {}
        for name in settings._fields:
            value = _plain(getattr(settings, name))
            if isinstance(value, dict):
                yield {"op": "status_settings", "table": name, "values": value}
            else:
                alone[name] = value
        yield {"op": "status_settings", "table": "", "values": alone}

    def _worker_state(self) -> Message:
        worker = self._worker
        return {
            "op": "status_worker",
            "running": worker.running,
            "registered": worker.count,
            "faults": worker.faults,
        }

    def _victims(self) -> Iterator[Message]:
        now_ns = time.monotonic_ns()
        for number, (task, why, since_ns) in enumerate(self._act.in_flight.waited_for()):
            if number == VICTIMS_TOLD:
                return
            yield {
                "op": "status_victim",
                "pid": task.pid,
                "comm": printable(task.comm),
                "uid": task.uid,
                "why": why,
                "since_ms": (now_ns - since_ns) // 1_000_000,
            }

    def _counters(self, kernel_kills: int | None) -> Message:
        chronicle = self._chronicle
        return {
            "op": "status_counters",
            "decisions": chronicle.verdicts,
            "kills": chronicle.kills,
            "last_kill": round(chronicle.last_kill, 3) or None,
            "futile_kills": self._act.futile_kills,
            "saved_by_notifiers": chronicle.saved,
            "kernel_kills": kernel_kills,
            "wakeups": chronicle.wakeups,
            "errors": chronicle.errors,
            "records_lost": self._teller.lost,
            "lines_dropped": self._log.dropped,
            "reloads": chronicle.reloads,
            "reloads_failed": chronicle.reloads_failed,
        }
