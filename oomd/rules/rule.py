"""One rule, and the line of text by which rules travel from the configuration's helper to the
sentinel: words for the eye of an admin, too, who finds them in ``/run/oomd/settings``.

    name=the%20database never unit=postgresql%40*.service; name=builds adj=300 uid=1000-1999
"""

from oomd.rules.glob import BadGlob, Glob
from oomd.typed import Iterable, NamedTuple

__all__ = [
    "ADJ_MAX",
    "RULES_AT_MOST",
    "UID_MAX",
    "UNIT_SUFFIXES",
    "BadRules",
    "Rule",
    "parse_rules",
    "rules_as_text",
]

UID_MAX = 2**32 - 1
ADJ_MAX = 1000
# What systemd calls a unit that is a cgroup, or holds some.
UNIT_SUFFIXES = (".service", ".scope", ".slice", ".socket", ".mount", ".swap")
RULES_AT_MOST = 64
"""Each costs every process a little, and a decision waits for the last of them."""


class BadRules(ValueError):
    """A text that nobody has made with :func:`rules_as_text`. One phrase."""


class Rule(NamedTuple):
    """What is to be done with whom. All matchers that are there have to match."""

    name: str
    adj: int = 0
    """As oom_score_adj, and on top of it: thousandths of totalpages. Above 0 is preferred."""
    never: bool = False
    """Not to be killed at all."""
    comms: tuple[Glob, ...] = ()
    """One of these. Empty: whatever it is called."""
    cgroups: tuple[Glob, ...] = ()
    """One of these is the path of its cgroup, or of one that this is in."""
    units: tuple[Glob, ...] = ()
    """One of these is the name of its unit, or of a slice that this is in."""
    uids: tuple[tuple[int, int], ...] | None = None
    """Its real uid is in one of these ranges, both ends of which count. None: whosoever it is."""

    @property
    def needs_cgroups(self) -> bool:
        """It cannot be judged without knowing where the process is."""
        return bool(self.cgroups or self.units)

    @property
    def action(self) -> str:
        """In the words of the configuration."""
        if self.never:
            return "never"
        return f"avoid {-self.adj}" if self.adj < 0 else f"prefer {self.adj}"


# --- there

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-/*?[]!:")


def _quote(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return "".join(chr(one) if one in _PLAIN else f"%{one:02X}" for one in data)


def _words(rule: Rule) -> Iterable[str]:
    yield f"name={_quote(rule.name)}"
    yield "never" if rule.never else f"adj={rule.adj}"
    for key, globs in (("comm", rule.comms), ("cgroup", rule.cgroups), ("unit", rule.units)):
        yield from (f"{key}={_quote(glob.pattern)}" for glob in globs)
    if rule.uids is not None:
        # Nobody at all: a user that this machine does not know.
        yield from (f"uid={low}-{high}" for low, high in rule.uids or ((1, 0),))


def rules_as_text(rules: Iterable[Rule]) -> str:
    """One line of printable ASCII; empty for no rules."""
    return "; ".join(" ".join(_words(rule)) for rule in rules)


# --- and back


def _unquote(text: str) -> str:
    head, *quoted = text.split("%")
    data = bytearray(head.encode("ascii"))
    for part in quoted:
        data.append(int(part[:2], 16))
        data += part[2:].encode("ascii")
    return data.decode("utf-8", "surrogateescape")


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high)


def _parse_rule(words: list[str]) -> Rule:
    """Raises ValueError."""
    name, never, adj = "", False, 0
    globs: dict[str, list[Glob]] = {"comm": [], "cgroup": [], "unit": []}
    uids: list[tuple[int, int]] = []
    anybody = True
    for word in words:
        key, _, value = word.partition("=")
        if key == "name":
            name = _unquote(value)
        elif key == "adj":
            adj = int(value)
        elif word == "never":
            never = True
        elif key == "uid":
            anybody = False
            uids.append(_range(value))
        elif key in globs:
            globs[key].append(Glob(_unquote(value)))
        else:
            raise BadRules("has a word that is not known")
    if not name or abs(adj) > ADJ_MAX:
        raise BadRules("has no name, or an impossible number")
    ranges = None if anybody else tuple(one for one in uids if one[0] <= one[1])
    comms, cgroups, units = map(tuple, globs.values())
    return Rule(name, adj, never, comms, cgroups, units, ranges)


def parse_rules(text: str) -> tuple[Rule, ...]:
    """Undo :func:`rules_as_text`. Raises BadRules."""
    if not text:
        return ()
    try:
        rules = tuple(_parse_rule(part.split()) for part in text.split(";"))
    except (BadGlob, ValueError) as error:
        raise BadRules(f"rules that cannot be read: {error}") from None
    if len(rules) > RULES_AT_MOST:
        raise BadRules(f"more than {RULES_AT_MOST} rules")
    return rules
