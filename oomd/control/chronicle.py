"""What has happened since the start: counts, and the last decisions, each in one sentence."""

from oomd.clock import monotonic_ms
from oomd.lean import deque
from oomd.report.record import Record
from oomd.report.sentence import CHARACTERS, sentence
from oomd.typed import Callable

__all__ = ["Chronicle"]

# The last decisions that are told of.
DECISIONS = 8
# Nothing was told for so long: what came after the last decision has been seen, too.
QUIET_MS = 1000


class Chronicle:
    """Every record passes through it on its way to whoever tells the journal."""

    def __init__(self, tell: Callable[[Record], None]) -> None:
        self._tell = tell
        self.decisions: deque[Record] = deque(maxlen=DECISIONS)
        """The newest last: ``time``, ``seq``, ``verdict``, ``trigger``, ``text``, ``settled``."""
        self.verdicts: dict[str, int] = {}
        """How often each verdict was come to."""
        self.kills = 0
        """Processes that were sent SIGKILL, companions among them."""
        self.last_kill = 0.0
        """Seconds since 1970; 0: nobody was killed."""
        self.saved = 0
        """Nobody had to die, as notifiers gave memory back."""
        self.wakeups = 0
        self.errors = 0
        """Lines of the priority err that were said."""
        self.reloads = 0
        self.reloads_failed = 0
        self._quiet_from_ms = 0

    def tell(self, record: Record) -> None:
        """Count a record and pass it on. Never waits."""
        self._tell(record)
        self._quiet_from_ms = monotonic_ms() + QUIET_MS
        if record["kind"] == "decision":
            self._decided(record)
        elif record["kind"] == "settled":
            self._settled(record)

    def fresh(self, now_ms: int) -> bool:
        """Something was told just now, and what comes of it is worth a few looks more."""
        return now_ms < self._quiet_from_ms

    def _decided(self, record: Record) -> None:
        verdict = record["verdict"]
        self.verdicts[verdict] = self.verdicts.get(verdict, 0) + 1
        if verdict == "freed":
            self.saved += 1
        victims = record["victims"]
        if victims:
            self.kills += len(victims)
            self.last_kill = record["time"]
        self.decisions.append(
            {
                "time": record["time"],
                "seq": record.get("seq", 0),
                "verdict": verdict,
                "trigger": record["trigger"],
                "text": sentence(record),
                "victim_pid": victims[0]["pid"] if victims else None,
                "settled": "",
            }
        )

    def _settled(self, record: Record) -> None:
        pid = record["fields"].get("victim_pid")
        for one in reversed(self.decisions):
            if one["victim_pid"] == pid and not one["settled"]:
                one["settled"] = record["text"][:CHARACTERS]
                return
