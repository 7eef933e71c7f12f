"""Populations of processes, made up at random from a seed: the same seed makes the same ones."""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

__all__ = ["NODES", "SCENES", "Person", "Population", "generate", "populations"]

NODES = 2
"""NUMA nodes of the machine; the second one is the one that runs out."""

SCENES = ("sysrq", "memcg", "cpuset", "mempolicy")

# Out of ten: the manual OOM costs least, and asks about the whole machine.
_SCENES_OF_TEN = ("sysrq", "memcg", "sysrq", "memcg", "sysrq", "sysrq", "memcg", "cpuset") + (
    "sysrq",
    "mempolicy",
)

# Names that a parser may stumble over. 15 bytes at most.
_HOSTILE_NAMES = (
    "a b",
    "x) R 1 (y",
    "tab\there",
    "new\nline",
    "esc\x1b[31m",
    "back\\slash",
    "[ 99] 0 99 1 1",
    "schön",
    "(",
)

PAGES_IN_MIB = 256


@dataclass(frozen=True)
class Person:
    """One hog, and those it makes."""

    arguments: tuple[str, ...]
    """Of the hog, without its cgroup."""
    cgroup: str = ""
    """One of the population's leaves; empty: its own cgroup, which then has none."""
    wraps: bool = False
    """Process numbers wrap around just before this one is made."""
    moved: bool = False
    """Leaves its cgroup and comes back when all are there: the last to have joined it."""


@dataclass(frozen=True)
class Population:
    """Who is there, and how the kernel is brought to choose."""

    number: int
    scene: str
    people: tuple[Person, ...]
    aslr: bool = True
    """Addresses are random, and so page tables of equals are not equal."""
    swap: bool = False
    swap_max_mib: int = 0
    """memcg: how much of it may be used."""
    leaves: tuple[str, ...] = ()
    """Cgroups below the population's own that have processes, in the order they are made in."""
    groups: tuple[str, ...] = ()
    """Cgroups with memory.oom.group: leaves, what is above them, or the population's own ("")."""
    el7_too: bool = True
    """The el7 profile is asked as well; the kernel cannot be."""
    as_command: bool = False
    """The audit is started as a command; else forked from a process that has it loaded."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def _size(rng: random.Random) -> tuple[str, ...]:
    """Up to 12 MiB, most of them small, to the page."""
    mib = min(int(rng.expovariate(1 / 3.0)), 12)
    return ("--mib", str(mib), "--pages", str(rng.randrange(1, PAGES_IN_MIB)))


def _adj(rng: random.Random, scene: str) -> int:
    draw = rng.random()
    if draw < 0.55:
        return 0
    if draw < 0.85:
        # A point is a thousandth of all pages: some 0.7 MiB, or in a memcg a tenth of that.
        return rng.randint(-12, 12) * (10 if scene == "memcg" else 1)
    if draw < 0.95:
        return rng.choice((-999, -500, -100, 100, 300, 999))
    return rng.choice((-1000, 1000))


def _kind(rng: random.Random, population: dict[str, Any]) -> tuple[str, ...]:
    """What else it is. Those that do not go together are not drawn together."""
    scene = population["scene"]
    kinds: list[tuple[float, tuple[str, ...]]] = [
        (0.30, ()),
        (0.08, ("--threads", str(rng.randint(1, 4)))),
        (0.08, ("--exit-leader",)),
        (0.05, ("--exit-leader", "--threads", "2", "--share")),
        (0.10, ("--children", str(rng.randint(1, 2)), "--child-mib", str(rng.randint(0, 6)))),
        (0.05, ("--children", "1", "--child-mib", str(rng.randint(1, 4)), "--grandchild")),
        (0.06, ("--children", "1", "--child-mib", "3", "--exit-after-ready")),
        (0.08, ("--share",)),
        (0.05, ("--vfork",)),
        (0.08, ("--shmem",)),
        (0.07, ("--mlock",)),
    ]
    if scene == "sysrq":
        # In a memcg and on a node that is full, page tables of this size are the shortage.
        kinds.append((0.06, ("--pgtables",)))
    if population["swap"] and scene == "sysrq":
        kinds.append((0.12, ("--swap-out",)))
        kinds.append((0.04, ("--swap-out", "--random")))
    weights = [weight for weight, _ in kinds]
    return rng.choices([kind for _, kind in kinds], weights)[0]


def _who(rng: random.Random, kind: tuple[str, ...]) -> tuple[str, ...]:
    # What another user may lock is limited, and the page tables that --mlock would fill are not.
    draw = rng.random()
    if draw < 0.25 and "--mlock" not in kind:
        return ("--uid", str(rng.choice((1000, 65534, 4242))))
    if draw < 0.35:
        return ("--drop-sys-admin",)
    if draw < 0.45:
        return ("--userns",)
    return ()


def _person(rng: random.Random, population: dict[str, Any], n: int) -> Person:
    kind = _kind(rng, population)
    size = _size(rng)
    if "--pgtables" in kind:
        # Each of its MiB stands for 512 MiB of addresses.
        size = ("--mib", str(rng.randint(1, 3)))
    name = rng.choice(_HOSTILE_NAMES) if rng.random() < 0.08 else f"p{n:02d}"
    adj = str(_adj(rng, population["scene"]))
    arguments = ("--name", name, "--adj", adj, *_who(rng, kind), *size, *kind)
    # A process whose leader has exited cannot be relied upon to move.
    moved = "--exit" not in " ".join(kind) and rng.random() < 0.08
    return Person(arguments, wraps=rng.random() < 0.04, moved=moved)


def _with_equals(rng: random.Random, people: list[Person]) -> list[Person]:
    """Two to four that are the same in all that counts, as large as the largest or larger."""
    size = ["--mib", str(rng.randint(8, 14)), "--pages", str(rng.randrange(1, PAGES_IN_MIB))]
    kind = rng.choice(((), (), ("--share",), ("--exit-leader",), ("--uid", "1000")))
    for n in range(rng.randint(2, 4)):
        arguments = ("--name", f"eq{n}", "--adj", "0", *size, *kind)
        moved = "--exit-leader" not in kind and rng.random() < 0.2
        equal = Person(arguments, wraps=rng.random() < 0.1, moved=moved)
        people.insert(rng.randint(0, len(people)), equal)
    return people


def _in_nodes(rng: random.Random, scene: str, person: Person) -> Person:
    """Bound to one node or to none: by cpusets, or where the scene is about them by mempolicies."""
    cpuset = rng.choice(("all", "n0", "n1", "n1", "n1"))
    if scene == "cpuset":
        return replace(person, cgroup=cpuset, moved=False)
    # A mempolicy may not lead out of the cpuset.
    if rng.random() < 0.3:
        return replace(person, cgroup=cpuset, moved=False)
    node = rng.choice(("", "", "0", "1"))
    bind = ("--bind", str(1 << int(node))) if node else ()
    return replace(person, arguments=person.arguments + bind, cgroup="all", moved=False)


_LEAVES: tuple[tuple[str, ...], ...] = (
    (),
    (),
    ("only",),
    ("a", "b"),
    ("z", "b", "a"),
    ("a/x", "b", "a/y"),
)


def _parents(leaves: tuple[str, ...]) -> set[str]:
    return {leaf.rpartition("/")[0] for leaf in leaves}


def generate(seed: int, number: int) -> Population:
    """Population ``number`` of ``seed``."""
    rng = random.Random(f"{seed}/{number}")
    scene = _SCENES_OF_TEN[number % len(_SCENES_OF_TEN)]
    made: dict[str, Any] = {"number": number, "scene": scene}
    made["aslr"] = rng.random() < 0.5
    # Swap would be used up first where memory really runs out on a node.
    made["swap"] = scene in ("sysrq", "memcg") and number // 10 % 2 == 1
    made["as_command"] = number % 20 == 0
    people = [_person(rng, made, n) for n in range(rng.randint(4, 10))]
    if rng.random() < 0.45:
        people = _with_equals(rng, people)
        made["aslr"] = False
    if scene in ("sysrq", "memcg"):
        leaves = rng.choice(_LEAVES)
        made["leaves"] = leaves
        people = [replace(one, cgroup=rng.choice(leaves or ("",))) for one in people]
        if rng.random() < 0.4:
            inside = sorted({*leaves, *_parents(leaves)})
            made["groups"] = tuple(one for one in inside if rng.random() < 0.4)
    else:
        people = [_in_nodes(rng, scene, one) for one in people]
        made["leaves"] = ("all", "n0", "n1")
    if scene == "memcg" and made["swap"]:
        made["swap_max_mib"] = rng.choice((0, 4, 12))
    return Population(people=tuple(people), **made)


def populations(seed: int, count: int) -> Iterator[Population]:
    """The first ``count`` of a seed."""
    for number in range(count):
        yield generate(seed, number)
