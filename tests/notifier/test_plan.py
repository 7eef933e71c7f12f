"""The worker's plan: taken as it is meant, or refused in one line."""

import json
from typing import Any

import pytest

from oomd.config import bare_plan
from oomd.notifier.plan import Builtin, PlanError, parse_plan
from oomd.settings import NotifierSettings
from tests.notifier.driven import builtin, hostile, plan


def parsed(**changes: Any) -> Any:
    return parse_plan(json.dumps(plan(**changes)).encode())


def test_all_of_it_is_taken() -> None:
    made = parsed(
        builtin=[builtin("balloon", 80, size_mib=64)],
        plugins=[{"source": "/etc/oomd/notifiers.d/x.py"}, *hostile("honest")],
        options={"honest": {"freed": 1}},
    )
    assert made.builtin == (Builtin("balloon", 80, 60_000, {"size_mib": 64}),)
    assert [one["source"] for one in made.plugins] == [
        "/etc/oomd/notifiers.d/x.py",
        "entry point honest",
    ]
    assert made.options == {"honest": {"freed": 1}}
    assert (made.clients, made.max_clients, made.watch_devices) == ("all", 32, False)


def test_the_plan_of_a_machine_without_notifiers_is_one() -> None:
    settings = NotifierSettings()
    made = parse_plan(bare_plan(settings).encode())
    assert (made.deadline_ms, made.clients) == (settings.deadline_ms, settings.clients)
    assert (made.builtin, made.plugins) == ((), ())


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"deadline_ms": 0}, "deadline_ms is not from 1 to 60000"),
        ({"deadline_ms": True}, "deadline_ms is not a whole number"),
        ({"chain_deadline_ms": "1000"}, "chain_deadline_ms is not a whole number"),
        ({"clients": 5}, "clients is not a string"),
        ({"clients": "some"}, "clients is not off, root or all"),
        ({"user_priority_max": 1001}, "user_priority_max is not from -1000 to 1000"),
        ({"max_clients": 1001}, "max_clients is not from 1 to 1000"),
        ({"plugin_memory_mib": 1}, "plugin_memory_mib is not from 16 to 65536"),
        ({"watch_devices": 1}, "watch_devices is not true or false"),
        ({"builtin": {}}, "builtin is not a list"),
        ({"builtin": [5]}, "an entry of builtin is not an object"),
        ({"builtin": [{"name": "a b"}]}, "a b is not a notifier's name"),
        ({"builtin": [{"name": "x"}]}, "x.priority is not a whole number"),
        ({"builtin": [{**builtin("x"), "options": 5}]}, "x.options is not an object"),
        ({"plugins": [{}]}, "source of a plugin is not a string"),
        ({"plugins": [{"source": "x", "module": 5}]}, "module of a plugin is not a string"),
        ({"options": {"x\n": 5}}, "options.x\\n is not an object"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_wrong_is_said_in_one_line(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(PlanError) as error:
        parsed(**changes)
    assert str(error.value) == f"the worker's plan: {why}"


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000])
def test_what_is_no_json_is_no_plan(data: bytes) -> None:
    with pytest.raises(PlanError, match="^the worker's plan is not JSON$"):
        parse_plan(data)
