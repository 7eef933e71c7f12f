"""``[hooks]``: what is refused, and how it reaches the worker and the sentinel."""

import json
from pathlib import Path

import pytest

from oomd.config import ConfigError, from_lines, to_lines
from oomd.config_load import load, load_all
from oomd.notifier.plan import HookPlan, PlanError, parse_plan
from oomd.settings import Settings
from tests.config.test_config_load import ADMIN, tree


def loaded(tmp_path: Path, text: str) -> Settings:
    return load_all(root=tree(tmp_path, {ADMIN: text})).configured.settings


def test_by_default_nobody_is_told_and_nothing_runs(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "[hooks]\navailable_percent = 30\n")
    assert not settings.hooks.warns and not settings.hooks.tells_kills
    assert settings.notifiers.plan == ""


@pytest.mark.parametrize(
    ("text", "hooks"),
    [
        ('warn = "/bin/w"', HookPlan("/bin/w", "", 5000, False)),
        ('killed = "/bin/k x"\ndeadline_ms = 900', HookPlan("", "/bin/k x", 900, False)),
        ("wall = true", HookPlan("", "", 5000, True)),
    ],
)
def test_the_worker_gets_them_and_the_sentinel_knows(
    tmp_path: Path, text: str, hooks: HookPlan
) -> None:
    settings = loaded(tmp_path, f"[hooks]\n{text}\n")
    assert parse_plan(settings.notifiers.plan.encode()).hooks == hooks
    assert from_lines(to_lines(settings)) == settings
    assert settings.hooks.warns == bool(hooks.warn or hooks.wall)
    assert settings.hooks.tells_kills == bool(hooks.killed or hooks.wall)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('warn = "mail"', "hooks.warn: "),
        ('killed = "/bin/x\\nkill.futile_kills=9"', "hooks.killed: "),
        ('warn = "/bin/\\u001b[31m"', "hooks.warn: "),
        ('warn = ["/bin/x"]', "hooks.warn: is an array"),
        ("deadline_ms = 5", "hooks.deadline_ms: 5 is out of range"),
        ("wall = 1", "hooks.wall: 1 is an integer"),
        ("wal = true", "did you mean hooks.wall?"),
        ("wall = true\navailable_percent = 5", "would warn at 5, and oomd kills at 5 already"),
        ('warn = "/x"\navailable_max_mib = 900', "would warn at 900, and oomd kills at 1024"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    root = tree(tmp_path, {ADMIN: f"[hooks]\n{text}\n"})
    with pytest.raises(ConfigError) as error:
        load(root=root)
    assert problem in str(error.value)
    assert str(error.value).isprintable()
    assert f"{ADMIN}:" in str(error.value)


def test_the_other_threshold_may_be_at_fault(tmp_path: Path) -> None:
    text = "[exhaustion]\navailable_percent = 20\n[hooks]\nwall = true\n"
    with pytest.raises(ConfigError) as error:
        loaded(tmp_path, text)
    assert "oomd.toml:2: hooks.available_percent: " in str(error.value)
    # Nobody is warned: nothing contradicts it.
    assert loaded(tmp_path, "[exhaustion]\navailable_percent = 20\n").exhaustion.available_percent


def test_hooks_are_no_notifiers(tmp_path: Path) -> None:
    text = '[hooks]\nwall = true\n[watch]\ncgroup = "/a"\n'
    assert load_all(root=tree(tmp_path, {ADMIN: text})).warnings == ()


@pytest.mark.parametrize(
    "hooks",
    [
        5,
        {"warn": "/x", "killed": "", "deadline_ms": 0, "wall": False},
        {"warn": 5, "killed": "", "deadline_ms": 5000, "wall": False},
        {"warn": "", "killed": "", "deadline_ms": 5000},
    ],
)
def test_a_plan_with_others_is_none(tmp_path: Path, hooks: object) -> None:
    plan = json.loads(loaded(tmp_path, "[hooks]\nwall = true\n").notifiers.plan)
    with pytest.raises(PlanError, match="^the worker's plan: "):
        parse_plan(json.dumps({**plan, "hooks": hooks}).encode())
