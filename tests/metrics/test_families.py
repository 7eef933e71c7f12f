"""Names, values and form of the metrics; the rules and the panel name none that there is not."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest, parser

from oomd.metrics.families import NAMES, VERDICTS, Collector

# Typed in some versions, and not in others.
parsed: Any = parser.text_string_to_metric_families

FOLDER = Path(__file__).parents[2] / "packaging/metrics"


def state() -> dict[str, Any]:
    """As a daemon tells it, with something in everything."""
    meminfo = {"mem_total_kib": 8 << 20, "mem_available_kib": 1 << 20}
    return {
        "version": "1.2",
        "policy": "el7",
        "since": 1_800_000_000.5,
        "state": "paused",
        "pause_left_ms": 1500,
        "memory": {
            "meminfo": {**meminfo, "swap_total_kib": 4, "swap_free_kib": 3},
            "headroom_kib": 7,
        },
        "thresholds": [
            {"name": "exhaustion", "value": 5, "limit": 6, "crossed": True},
            {"name": "stall", "value": None, "limit": 20.0, "crossed": False},
        ],
        "victims": [{}, {}],
        "worker": {"registered": 3},
        "counters": {
            "decisions": {"kill": 4, "wait": 1},
            "kills": 5,
            "last_kill": 1_800_000_001.0,
            "futile_kills": 1,
            "saved_by_notifiers": 2,
            "kernel_kills": None,
            "wakeups": 100,
            "errors": 6,
            "records_lost": 7,
            "lines_dropped": 8,
            "reloads": 9,
            "reloads_failed": 10,
        },
    }


def printed(told: dict[str, Any] | None) -> str:
    registry = CollectorRegistry()
    registry.register(Collector(lambda: told))
    return generate_latest(registry).decode()


def values(text: str) -> dict[tuple[str, ...], float]:
    """By the library's own parser: name and labels to value."""
    found = {}
    for family in parsed(text):
        for sample in family.samples:
            found[sample.name, *sample.labels.values()] = sample.value
    return found


def test_what_the_state_says() -> None:
    found = values(printed(state()))
    assert found["oomd_up",] == 1
    assert found["oomd_info", "el7", "1.2"] == 1
    assert found["oomd_start_time_seconds",] == 1_800_000_000.5
    assert found["oomd_paused",] == 1
    assert found["oomd_pause_remaining_seconds",] == 1.5
    assert found["oomd_memory_total_bytes",] == 8 << 30
    assert found["oomd_memory_available_bytes",] == 1 << 30
    assert found["oomd_swap_free_bytes",] == 3 << 10
    assert found["oomd_headroom_bytes",] == 7 << 10
    assert found["oomd_exhaustion_limit_bytes",] == 6 << 10
    assert found["oomd_stall_limit_ratio",] == 0.2
    assert found["oomd_threshold_crossed", "exhaustion"] == 1
    assert found["oomd_threshold_crossed", "stall"] == 0
    assert found["oomd_victims_in_flight",] == 2
    assert found["oomd_decisions_total", "kill"] == 4
    assert found["oomd_decisions_total", "panic"] == 0
    assert found["oomd_killed_processes_total",] == 5
    assert found["oomd_last_kill_timestamp_seconds",] == 1_800_000_001
    assert found["oomd_reloads_total", "ok"] == 9
    assert found["oomd_reloads_total", "failed"] == 10
    # Not observable, and so not there.
    assert ("oomd_stall_ratio",) not in found
    assert ("oomd_kernel_oom_kills_total",) not in found


def test_where_no_daemon_runs_that_alone_is_told() -> None:
    assert values(printed(None)) == {("oomd_up",): 0.0}


def test_a_daemon_that_cannot_read_memory_tells_the_rest() -> None:
    found = values(printed({**state(), "memory": None, "thresholds": []}))
    assert ("oomd_memory_total_bytes",) not in found
    assert ("oomd_headroom_bytes",) not in found
    assert found["oomd_wakeups_total",] == 100


def test_names_are_as_prometheus_wants_them() -> None:
    text = printed(state())
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    helps = dict(re.findall(r"^# HELP (\S+) (.+)$", text, re.MULTILINE))
    assert set(helps) == set(kinds) <= set(NAMES)
    for name, kind in kinds.items():
        assert re.fullmatch(r"oomd_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter")
    # A verdict that nobody has thought of is told, too.
    odd = state()
    odd["counters"]["decisions"] = {"new": 1}
    assert values(printed(odd))["oomd_decisions_total", "new"] == 1
    assert "paused" in VERDICTS


def test_what_a_daemon_says_of_itself_cannot_break_the_form() -> None:
    hostile = 'a"\n# TYPE x\\'
    found = values(printed({**state(), "version": hostile}))
    assert ("oomd_info", "el7", hostile) in found


def promtool(*words: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    tool = shutil.which("promtool")
    if tool is None:
        pytest.skip("promtool is not installed (Debian's package prometheus)")
    return subprocess.run([tool, *words], input=text, capture_output=True, text=True, check=False)


def test_promtool_finds_nothing_in_the_metrics() -> None:
    full = state()
    full["counters"]["kernel_kills"] = 0
    full["thresholds"][1]["value"] = 3.0
    text = printed(full)
    kinds = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    assert kinds == set(NAMES)
    done = promtool("check", "metrics", text=text)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_promtool_takes_the_rules() -> None:
    done = promtool("check", "rules", str(FOLDER / "oomd-alerts.yml"))
    assert done.returncode == 0, done.stderr
    assert "7 rules found" in done.stdout


def _named(text: str) -> set[str]:
    return set(re.findall(r"\boomd_[a-z_]+", text))


def test_the_rules_name_what_there_is() -> None:
    rules = yaml.safe_load((FOLDER / "oomd-alerts.yml").read_text())
    (group,) = rules["groups"]
    for rule in group["rules"]:
        assert {"alert", "expr", "labels", "annotations"} <= set(rule)
        names = _named(rule["expr"])
        assert names
        assert names <= set(NAMES), rule["alert"]
        assert _named(json.dumps(rule["annotations"])) <= set(NAMES)
    assert len({rule["alert"] for rule in group["rules"]}) == len(group["rules"])


def _expressions(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, one in value.items():
            if name in ("expr", "query") and isinstance(one, str):
                yield one
            else:
                yield from _expressions(one)
    elif isinstance(value, list):
        for one in value:
            yield from _expressions(one)


def test_the_panel_names_what_there_is() -> None:
    dashboard = json.loads((FOLDER / "oomd-dashboard.json").read_text())
    expressions = [one for one in _expressions(dashboard) if one != "prometheus"]
    assert len(expressions) >= 10
    for expression in expressions:
        assert _named(expression) <= set(NAMES), expression
        assert _named(expression)
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    # None of them covers another.
    cells = [
        (x, y)
        for panel in panels
        for at in (panel["gridPos"],)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
