"""The rules in force, with what they ask of a machine. Loaded only where there are any."""

# Nothing may be loaded when somebody has to die: the trace will want this.
import oomd.mm.compared  # noqa: F401
from oomd.proc.places import PlacesReader
from oomd.proc.root import Root
from oomd.rules.book import RuleBook
from oomd.rules.rule import parse_rules
from oomd.settings import Settings

__all__ = ["RulesAhead"]

# At start and after a reload: long enough for a thousand cgroups and more. A machine that has not
# been gone through by then is read on in the calm.
FIRST_BUDGET_US = 200_000


class RulesAhead:
    """Rules, and what they have to know before somebody has to die."""

    def __init__(
        self, root: Root, settings: Settings, domain: str, *, budget_us: int = FIRST_BUDGET_US
    ) -> None:
        """``domain`` is the cgroup that is judged in place of the machine."""
        kill = settings.kill
        self.book = RuleBook(
            parse_rules(settings.rules),
            min_size_pages=(kill.min_size_mib << 20) // root.page_size_bytes(),
            managed=kill.managed_oom_preference,
        )
        self._reader = None
        if self.book.needs_places:
            self._reader = PlacesReader(root, self.book, domain)
            self._reader.read_all(budget_us)

    def calm(self, now_ms: int) -> str:
        """Read on while there is time. What is worth a word, or an empty string."""
        if self._reader is None:
            return ""
        self._reader.look(now_ms)
        note, self._reader.note = self._reader.note, ""
        return note
