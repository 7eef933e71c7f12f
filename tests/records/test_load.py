"""What is no record is refused with one line that names what is wrong, whatever it is."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.mm_types import Task
from oomd.oom import OomControl, Relatives
from oomd.records.fields import BadRecord
from oomd.records.load import BYTES_AT_MOST, load_record
from oomd.records.replay import replay_record
from oomd.records.text import replayed_as_json, replayed_as_text
from oomd.report.record import Record
from tests.records.kept import Asked, in_full, record_of, records
from tests.records.test_replay import asked_of, changed

RECORD: Record = json.loads(in_full(record_of(asked_of())))

REMOVED = object()


def refusal(record: Any) -> str:
    data = record if isinstance(record, bytes) else json.dumps(record).encode()
    with pytest.raises(BadRecord) as caught:
        load_record(data)
    assert str(caught.value).isprintable()
    return str(caught.value)


WHOLE = [
    (b"", "not JSON, or cut short"),
    (b"\xff\xfe", "not JSON, or cut short"),
    (b"\0" * 100, "not JSON, or cut short"),
    (b"[" * 100_000, "not JSON, or cut short"),
    (b'{"kind":"decision","time":NaN}', "not JSON, or cut short"),
    (b'{"kind":"decision","kind":"decision"}', "not JSON, or cut short"),
    (b'{"kind":"decision","time":' + b"9" * 5000 + b"}", "not JSON, or cut short"),
    (b"[]", "not the record of a decision"),
    (b'{"kind":"settled"}', "not the record of a decision"),
    (b'{"kind":"decision"}', "schema: is not 1: another version of oomd has written it"),
    (b" " * (BYTES_AT_MOST + 1), "larger than 4 MiB"),
]


@pytest.mark.parametrize(("data", "said"), WHOLE, ids=[said[:20] for _, said in WHOLE])
def test_what_is_no_record_at_all(data: bytes, said: str) -> None:
    assert refusal(data) == said


def test_any_record_that_was_cut_short_is_refused() -> None:
    data = json.dumps(RECORD).encode()
    for length in range(0, len(data), 97):
        assert refusal(data[:length]) == "not JSON, or cut short"


PLACES: list[tuple[tuple[str | int, ...], object, str]] = [
    (("policy",), "el8", "policy: is none of el7, mainline"),
    (("policy",), 7, "policy: is an integer (expected a string)"),
    (("page_size_bytes",), 0, "page_size_bytes: is not a size"),
    (("page_size_bytes",), True, "page_size_bytes: is true or false (expected an integer)"),
    (("control",), None, "control: is null (expected an object)"),
    (("control", "constraint"), "NONE", "control.constraint: is none of CONSTRAINT_NONE, "),
    (("control", "victims"), [[1]], "control.victims[0]: is no [pid, start time]"),
    (("control", "victims"), [[1, "2"]], "control.victims[0]: is a string (expected an integer)"),
    (("control", "victims"), {}, "control.victims: is an object (expected an array)"),
    (("control", "manual"), 0, "control.manual: is an integer (expected true or false)"),
    (("control", "\x1b[31m"), 0, "control.\\x1b[31m: is not known"),
    (("control", "current"), {"pid": 1}, "control.current.tid: is missing"),
    (("meminfo", "slab_kib"), 1.5, "meminfo.slab_kib: is a number (expected an integer)"),
    (("meminfo", "slab_kib"), REMOVED, "meminfo.slab_kib: is missing"),
    (("candidates", 1), 3, "candidates[1]: is an integer (expected an object)"),
    (("candidates", 1, "comm"), "a\\", "candidates[1].comm: is no escaped name"),
    (("candidates", 1, "rss_pages"), "5", "candidates[1].rss_pages: is a string"),
    (("candidates", 1, "rss_pages"), 1 << 2000, "candidates[1].rss_pages: is a larger number"),
    (("candidates", 1, "points"), REMOVED, "candidates[1].points: is missing"),
    (("candidates", 1, "more"), 1, "candidates[1].more: is not known"),
    (("sysctls", "not_observable"), [7], "sysctls.not_observable[0]: is an integer"),
    (("nodes",), [{"nid": -1, "spanned_pages": 1, "present_pages": 1}], "nodes: has a node that"),
    (("memcg",), {}, "memcg.path: is missing"),
    (("notified", "called"), 1, "notified.called: is an integer (expected true or false)"),
    (("notifiers",), [{}], "notifiers[0].name: is missing"),
    (("relatives", "children"), [{}], "relatives.children[0].pid: is missing"),
    (("relatives",), REMOVED, "relatives: is missing"),
    (("decision",), [], "decision: is an array (expected an object)"),
    (("decision", "points"), {}, "decision: is an object (expected a single value)"),
    (("trace",), {}, "trace: is an object (expected an array)"),
    (("trace", 0), 1, "trace[0]: is an integer (expected an object)"),
    (("trace", 0, "detail"), {"x": []}, "trace[0].detail: is an array (expected a single value)"),
    (("trace", 0, "more"), {}, "trace[0].more: is not known"),
    (("time",), 1e300, "time: is no time"),
    (("time",), 7, "time: is an integer (expected a number)"),
    (("victims",), [{"pid": "x"}], "victims[0].pid: is a string (expected an integer)"),
    (("settled",), {}, "settled.text: is missing"),
]


def without(record: Record, path: tuple[str | int, ...]) -> Record:
    record = copy.deepcopy(record)
    inside: Any = record
    for name in path[:-1]:
        inside = inside[name]
    del inside[path[-1]]
    return record


@pytest.mark.parametrize(("path", "value", "said"), PLACES, ids=[said for *_, said in PLACES])
def test_what_is_wrong_is_named(path: tuple[str | int, ...], value: object, said: str) -> None:
    bad = without(RECORD, path) if value is REMOVED else changed(RECORD, path, value)
    assert refusal(bad).startswith(said)


@pytest.mark.parametrize("hint", [Task, OomControl, Relatives])
def test_every_field_has_to_be_there(hint: Any) -> None:
    places: dict[Any, tuple[str | int, ...]] = {
        Task: ("candidates", 0),
        OomControl: ("control",),
        Relatives: ("relatives",),
    }
    # Earlier records have none.
    for name in (one for one in hint._fields if one != "rules"):
        where = ".".join(map(str, (*places[hint], name))).replace(".0", "[0]")
        assert refusal(without(RECORD, (*places[hint], name))) == f"{where}: is missing"


def test_a_record_from_before_there_were_rules() -> None:
    earlier = load_record(json.dumps(without(RECORD, ("control", "rules"))).encode())
    assert earlier.oc.rules is None
    assert earlier.oc == load_record(json.dumps(RECORD).encode()).oc


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


def _places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [path, *(one for name, deeper in inside for one in _places(deeper, (*path, name)))]


@given(records, st.data())
def test_whatever_stands_there_it_is_judged_or_refused(asked: Asked, data: st.DataObject) -> None:
    record = json.loads(in_full(record_of(asked)))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(_places(record)[1:]))
        record = changed(record, path, data.draw(_anything))
    try:
        recorded = load_record(json.dumps(record).encode())
    except BadRecord as error:
        assert str(error).isprintable()
        return
    replayed = replay_record(recorded)
    for line in replayed_as_text(recorded, replayed):
        assert line.isprintable()
    json.dumps(replayed_as_json(recorded, replayed))
