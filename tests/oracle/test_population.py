"""Populations: the same from the same seed, and of every kind."""

from collections import Counter

from tests.oracle.population import SCENES, Population, generate, populations

MANY = list(populations(3, 400))


def words(population: Population) -> list[str]:
    return [word for person in population.people for word in person.arguments]


def test_a_seed_makes_the_same_ones() -> None:
    assert list(populations(3, 20)) == MANY[:20]
    assert generate(3, 399) == MANY[399]
    assert generate(4, 0) != MANY[0]


def test_all_scenes_and_kinds_come_up() -> None:
    scenes = Counter(one.scene for one in MANY)
    assert set(scenes) == set(SCENES)
    assert min(scenes.values()) >= 20
    used = Counter(word for one in MANY for word in words(one) if word.startswith("--"))
    for option in (
        *("--threads", "--exit-leader", "--children", "--grandchild", "--exit-after-ready"),
        *("--share", "--vfork", "--shmem", "--mlock", "--pgtables", "--swap-out", "--random"),
        *("--uid", "--drop-sys-admin", "--userns", "--bind"),
    ):
        assert used[option] >= 3, option
    people = [person for one in MANY for person in one.people]
    assert any(person.wraps for person in people)
    assert any(person.moved for person in people)
    assert any(one.groups for one in MANY)
    assert any(len(one.leaves) > 1 for one in MANY)
    assert {one.swap_max_mib for one in MANY} == {0, 4, 12}


def test_some_are_equal() -> None:
    ties = 0
    for one in MANY:
        equals = [person for person in one.people if "eq0" in person.arguments]
        ties += bool(equals)
        # With random addresses their page tables would not be equal.
        assert not (equals and one.aslr)
    assert ties >= 100


def test_what_does_not_go_together_is_not_put_together() -> None:
    for one in MANY:
        for person in one.people:
            chosen = set(person.arguments)
            assert not {"--mlock", "--uid"} <= chosen
            assert not {"--mlock", "--swap-out"} <= chosen
            assert not (person.moved and "--exit-leader" in chosen)
            assert person.cgroup in (one.leaves or ("",))
        if one.swap:
            assert one.scene in ("sysrq", "memcg")
