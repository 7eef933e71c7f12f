"""All rules held against one task, from what was read of it and what was read ahead."""

from oomd.mm_types import Task
from oomd.oom import Ruling
from oomd.rules.glob import Glob
from oomd.rules.rule import UNIT_SUFFIXES, Rule
from oomd.typed import Callable, Final, Iterable, Mapping, NamedTuple, Sequence

__all__ = [
    "MANAGED_AVOID",
    "MANAGED_OMIT",
    "NOWHERE",
    "OUTSIDE",
    "Inside",
    "Places",
    "RuleBook",
]

MANAGED_OMIT: Final = Ruling("ManagedOOMPreference=omit", never=True)
MANAGED_AVOID: Final = Ruling("ManagedOOMPreference=avoid", -1000)
_NO_RULE: Final = Ruling("")

# Names and uids whose rules are remembered: most processes of a machine share a few of them.
_REMEMBERED: Final = 256


class Places(NamedTuple):
    """Where processes are: read ahead, as nothing on the way to a kill may wait for it."""

    bits: Mapping[int, int]
    """By pid, made by :meth:`RuleBook.bits_of`. Who is not in it is in no cgroup that a rule
    looks for."""
    before_ticks: int
    """Holds for processes that have started before this, in clock ticks since boot: a later one
    may have the pid of one that has ended."""


class Inside(NamedTuple):
    """The rules whose globs a cgroup satisfies, by itself or by one that it is in."""

    cgroups: int = 0
    units: int = 0


NOWHERE: Final = Places({}, 0)
OUTSIDE: Final = Inside()


def _bits(truths: Iterable[object]) -> int:
    return sum(1 << number for number, truth in enumerate(truths) if truth)


def _any(globs: tuple[Glob, ...], text: str) -> bool:
    return any(glob.matches(text) for glob in globs)


class RuleBook:
    """The rules in force (``Rules`` of :mod:`oomd.oom`).

    The first that matches counts, as in a list that is read from the top. After the admin's own
    comes what systemd was told of the unit (``managed``), and last the minimum size, which holds
    even for one that is preferred.
    """

    def __init__(
        self, rules: Sequence[Rule], *, min_size_pages: int = 0, managed: bool = False
    ) -> None:
        self._rules = tuple(rules)
        self._min_size_pages = min_size_pages
        self.managed = managed
        """The preference of a unit's cgroup counts."""
        self.places = NOWHERE
        """Replaced as a whole, by whoever has read them."""
        # One bit a rule, the lowest for the first; above them those of a preference.
        self._rulings = [Ruling(one.name, one.adj, one.never) for one in self._rules]
        self._by_place = _bits(one.needs_cgroups for one in self._rules)
        self._any_cgroup = _bits(not one.cgroups for one in self._rules)
        self._any_unit = _bits(not one.units for one in self._rules)
        self._omit, self._avoid = 1 << len(self._rules), 2 << len(self._rules)
        if managed:
            self._rulings += [MANAGED_OMIT, MANAGED_AVOID]
            self._by_place |= self._omit | self._avoid
        self._small = [one._replace(small=True) for one in (*self._rulings, _NO_RULE)]
        self._of_comm: dict[object, int] = {}
        self._of_uid: dict[object, int] = {}

    @property
    def needs_places(self) -> bool:
        """Some rule cannot be judged without them."""
        return bool(self._by_place)

    @property
    def highest_adj(self) -> int:
        """What a rule adds that asks for no cgroup: it may be anybody's. 0 where none adds any."""
        return max((one.adj for one in self._rules if not one.needs_cgroups), default=0)

    @property
    def raised_pids(self) -> Iterable[int]:
        """Those in the cgroups of rules that add something: these need to be known to count."""
        raising = _bits(one.adj > 0 and one.needs_cgroups for one in self._rules)
        return [pid for pid, bits in self.places.bits.items() if bits & raising] if raising else ()

    # --- of a cgroup, while there is time

    def inside(self, above: Inside, path: str) -> Inside:
        """Which rules' globs this cgroup satisfies, or one that it is in: ``above`` is of its
        parent, ``OUTSIDE`` for the root.
        """
        # A name that could be one of the kernel's files has a "_" in front (cg_escape()).
        unit = path.rpartition("/")[2].removeprefix("_")
        if not unit.endswith(UNIT_SUFFIXES):
            unit = ""
        return Inside(
            above.cgroups | _bits(_any(one.cgroups, path) for one in self._rules),
            above.units | _bits(unit and _any(one.units, unit) for one in self._rules),
        )

    def bits_of(self, inside: Inside, *, avoid: bool = False, omit: bool = False) -> int:
        """For :class:`Places`, of a process in a cgroup that has this preference, if any."""
        rules = (inside.cgroups | self._any_cgroup) & (inside.units | self._any_unit)
        preference = (self._avoid if avoid else 0) | (self._omit if omit else 0)
        return (rules | preference) & self._by_place

    # --- of a task, at any time

    def _remembered(
        self, memory: dict[object, int], key: object, matches: Callable[[Rule], bool]
    ) -> int:
        bits = memory.get(key)
        if bits is None:
            if len(memory) >= _REMEMBERED:
                memory.clear()
            # A preference asks for no name and no user.
            rules = _bits(matches(one) for one in self._rules)
            bits = memory[key] = rules | self._omit | self._avoid
        return bits

    def _comm_bits(self, comm: str) -> int:
        return self._remembered(
            self._of_comm, comm, lambda rule: not rule.comms or _any(rule.comms, comm)
        )

    def _uid_bits(self, uid: int | None) -> int:
        def matches(rule: Rule) -> bool:
            if rule.uids is None:
                return True
            return uid is not None and any(low <= uid <= high for low, high in rule.uids)

        return self._remembered(self._of_uid, uid, matches)

    def ruling(self, task: Task) -> Ruling | None:
        """What the rules say of this process; None: nothing. Reads nothing, and cannot wait."""
        bits = self._comm_bits(task.comm) & self._uid_bits(task.uid)
        known = task.starttime_ticks < self.places.before_ticks
        place = self.places.bits.get(task.pid, 0) if known else 0
        matching = bits & (place | ~self._by_place) & ((1 << len(self._rulings)) - 1)
        first = matching & -matching
        # Of no bit at all it is -1: the last of the small ones.
        number = first.bit_length() - 1
        ruling = self._rulings[number] if first else None
        if task.size_pages < self._min_size_pages:
            ruling = self._small[number]
        if not known and bits & self._by_place & (first - 1):
            # Born since: one of these would have come first, if it is where they look.
            return (ruling or _NO_RULE)._replace(unread=True)
        return ruling
