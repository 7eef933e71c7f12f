"""Every kind of entry is explained, by a catalog that systemd's own compiler takes."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from oomd.message_ids import MESSAGE_IDS
from oomd.tell.fields import decision_fields, settled_fields

TREE = Path(__file__).resolve().parents[2]
CATALOG = TREE / "packaging/oomd.catalog"


def journalctl(root: Path, *words: str) -> str:
    ran = subprocess.run(
        ["journalctl", f"--root={root}", "--no-pager", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_systemd_compiles_it_and_finds_each_explanation(tmp_path: Path) -> None:
    if shutil.which("journalctl") is None:
        pytest.skip("no journalctl here")
    folder = tmp_path / "usr/lib/systemd/catalog"
    folder.mkdir(parents=True)
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    shutil.copy(CATALOG, folder)
    journalctl(tmp_path, "--update-catalog")
    listed = journalctl(tmp_path, "--list-catalog").splitlines()
    assert sorted(line.split()[0] for line in listed) == sorted(MESSAGE_IDS.values())
    for message_id in MESSAGE_IDS.values():
        text = journalctl(tmp_path, "--dump-catalog", message_id)
        assert re.search(r"^Subject: \S", text, re.MULTILINE)
        assert len(text.split("\n\n", 1)[1]) > 100


def test_each_event_has_an_identity_of_its_own() -> None:
    assert len(set(MESSAGE_IDS.values())) == len(MESSAGE_IDS)
    for message_id in MESSAGE_IDS.values():
        # sd_id128_randomize(3): version 4, variant 1.
        assert re.fullmatch(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", message_id)


RULES = dict.fromkeys(("rule", "rule_adj", "without_rules_pid", "without_rules_rule"), 1)


def possible_fields() -> set[str]:
    victim = {"pid": 1, "comm": "x", "uid": 0, "starttime_ticks": 1, "why": "chosen"}
    victim |= {"cgroup": "/x.service", "unit": "x.service"}
    record = {
        "verdict": "kill",
        "trigger": "exhaustion",
        "policy": "el7",
        "constraint": "CONSTRAINT_NONE",
        "totalpages": 1,
        "scan_us": 1,
        "tasks_seen": 1,
        "meminfo": {"mem_available_kib": 1, "swap_free_kib": 1},
        "decision": {"verdict": "kill", "message": "Out of memory"},
        "trace": [{"step": 5, "name": "select_bad_process", "detail": RULES}],
        "points": 1,
        "score": 1,
        "signal_after_ms": 1,
        "file": "/x",
        "victims": [victim],
    }
    names = ("victim_pid", "end", "took_ms", "freed_kib", "held_kib")
    settled = {"fields": dict.fromkeys(names, 1), "task": [1, 1]}
    return {*decision_fields(record), *settled_fields(settled, {(1, 1): victim})}


def test_it_names_no_field_that_no_entry_has() -> None:
    named = set(re.findall(r"@([A-Z_]+)@", CATALOG.read_text()))
    assert named and named <= possible_fields()


def test_the_readme_lists_every_field() -> None:
    readme = (TREE / "README.md").read_text()
    assert {name for name in possible_fields() if f"`{name}`" not in readme} == set()
