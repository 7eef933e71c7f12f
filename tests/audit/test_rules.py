"""The ranking with the rules and without, as text and as JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.audit.commands import Oomd
from tests.audit.machines import AMPLE, TASKS
from tests.audit.schema import SCHEMA, problems
from tests.roots import Cgroup, make_root

CGROUPS: list[Cgroup] = [
    {"path": "/system.slice/hog.service", "pids": [10]},
    {"path": "/system.slice/db.service", "pids": [11]},
]
KEEP = '[[rules]]\nname = "keep \\u2603"\nunit = "hog.service"\nnever = true\n'
PREFER = '[[rules]]\nname = "db"\ncomm = "db"\nuid = 26\nprefer = 7\n'


@pytest.fixture
def ruled(oomd: Oomd, tree: Path, tmp_path: Path) -> Any:
    """Audits a machine with a hog and a database under these rules."""
    make_root(tree, TASKS, meminfo=AMPLE, cgroups=CGROUPS, cgroup_version=2)

    def audit(toml: str, *arguments: str) -> str:
        config = tmp_path / "ruled.toml"
        config.write_text(toml)
        oomd.config = config
        ran = oomd.audit("--root", tree, *arguments)
        assert (ran.status, ran.err) == (0, "")
        return ran.out

    return audit


def rows(out: str) -> list[list[str]]:
    lines = out.splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith("Ranking"))
    return [line.split() for line in lines[begin + 1 : lines.index("", begin)]]


def test_both_rankings_and_the_rule_beside_each(ruled: Any) -> None:
    out = ruled(KEEP + PREFER)
    header, db, hog = rows(out)
    assert header[-5:] == ["points", "score", "without", "rules", "rule"]
    assert (db[0], db[-6:]) == ("11", ["107,007", "107", "100,007", "prefer", "7:", "db"])
    assert (hog[0], hog[-6:]) == ("10", ["-", "-", "500,000", "never:", "keep", "\u2603"])
    assert "never chosen: global init (1), kernel thread (1), ruled out: keep \u2603 (1)" in out
    assert "\nwithout the rules: 10 (hog)\n" in out
    assert "would kill 11 (db, chosen)" in out.splitlines()[-1]


def test_rules_that_change_nothing(ruled: Any) -> None:
    out = ruled(PREFER)
    assert "\nwithout the rules: the same\n" in out
    assert "would kill 10 (hog, chosen)" in out.splitlines()[-1]
    assert [row[0] for row in rows(out)[1:]] == ["10", "11"]


def test_no_word_of_rules_without_any(ruled: Any) -> None:
    assert "rule" not in ruled("")


def test_who_is_small(ruled: Any) -> None:
    out = ruled("[kill]\nmin_size_mib = 400\n")
    assert "smaller than kill.min_size_mib (1)" in out
    assert [row[-1] for row in rows(out)[1:]] == ["500,000", "(small)"]


def test_when_nobody_is_left(ruled: Any) -> None:
    out = ruled('[[rules]]\nname = "all"\ncomm = "*"\nnever = true\n')
    assert "nobody is eligible: the rules leave nobody" in out
    assert 'would panic: "Out of memory and no killable processes..."' in out.splitlines()[-1]
    assert "without the rules: 10 (hog)" in out


def test_as_json(ruled: Any) -> None:
    audited = json.loads(ruled(KEEP + PREFER, "--json"))
    assert problems(audited, SCHEMA) == []
    decision = audited["decision"]
    assert decision["chosen"] == {"pid": 11, "comm": "db", "points": 107_007, "score": 107}
    assert decision["without_rules"] == {
        "pid": 10,
        "comm": "hog",
        "points": 500_000,
        "score": 500,
    }
    told = {one["pid"]: one for one in audited["tasks"]}
    assert (told[10]["points"], told[10]["points_without_rules"]) == (None, 500_000)
    assert told[10]["reason"] == "ruled out: keep \u2603"
    assert told[11]["ruling"] == {
        "rule": "db",
        "adj": 7,
        "never": False,
        "small": False,
        "unread": False,
    }
    # -1000 is the process's own, and no rule's.
    assert told[12]["ruling"] is None
    plain = json.loads(ruled("", "--json"))
    assert problems(plain, SCHEMA) == []
    assert plain["decision"]["without_rules"] is None
    assert all(one["points"] == one["points_without_rules"] for one in plain["tasks"])
