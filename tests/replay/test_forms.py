"""A report reads the same in whatever form it was logged."""

from pathlib import Path

import pytest

from oomd.replay.prefix import logged
from tests.replay.forms import FORMS, wrapped
from tests.replay.reading import (
    SAMPLES,
    bare,
    judged,
    kernel_samples,
    only,
    reports,
    sample,
    without_place,
)
from tests.replay.synthetic import ERAS, Process, report

BIG = Process(200, 500_000, "big", pgtables=1000)
SMALL = Process(100, 2_000, "small one")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("path", kernel_samples(), ids=lambda path: path.stem)
def test_a_sample_reads_the_same_in_each_form(path: Path, form: str) -> None:
    lines = bare(path)
    plain = [without_place(one) for one in reports(lines)]
    found = reports(FORMS[form](number, line) for number, line in enumerate(lines))
    if form == "unheard of":
        # The prefix is taken for a part of the name that comes first, and of nothing else.
        for one in found:
            assert one.invoked is not None
            one.invoked = one.invoked._replace(comm=one.invoked.comm.rpartition("| ")[2])
    assert [without_place(one) for one in found] == plain


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("era", ERAS)
def test_a_report_of_each_time_in_each_form(era: str, form: str) -> None:
    lines = report(era, [SMALL, BIG], 200, 501)
    found = only(FORMS[form](number, line) for number, line in enumerate(lines))
    assert (found.agrees, found.report.complete) == (True, True)
    assert [row.comm for row in found.report.table.rows] == ["small one", "big"]


@pytest.mark.parametrize(
    "path", sorted((SAMPLES / "6.1-forms").glob("*.log")), ids=lambda path: path.stem
)
def test_one_report_as_a_machine_shows_it(path: Path) -> None:
    """Not re-made here: what dmesg and journalctl themselves have printed."""
    (plain,) = reports(sample("6.1-memcg"))
    found = only(bare(path))
    assert (found.agrees, found.report.complete) == (True, True)
    assert found.report.table.columns == plain.table.columns
    assert [row.comm for row in found.report.table.rows] == ["small", "hog"]
    assert found.report.limits.keys() == plain.limits.keys()


# --- whose line it is


@pytest.mark.parametrize(
    ("line", "text", "whose", "origin"),
    [
        ("Sep 29 08:12:34 web01 kernel: x", "x", "web01", "kernel"),
        ("Sep 29 08:12:34 web01 kubelet[123]: x", "x", "web01", "other"),
        ("Sep 29 08:12:34 web01 unknown: x", "x", "web01", "user"),
        ("Sep 29 08:12:34 web01 oomd[77]: x", "x", "web01", "user"),
        ("<6>[    1.5] x", "x", "", "kernel"),
        ("<11>[    1.5] x", "x", "", "user"),
        ("6,1,1500000,-;x", "x", "", "kernel"),
        ("11,1,1500000,-;x", "x", "", "user"),
        ("kern  :warn  : [    1.5] x", "x", "", "kernel"),
        ("user  :err   : [    1.5] x", "x", "", "user"),
        ("[    1.5][  T77] x", "x", "T77", ""),
        ("6,1,2,-,caller=C3;x", "x", "C3", "kernel"),
        ("<4>1 2025-09-29T08:12:34Z web01 kernel - - - x", "x", "web01", "kernel"),
        ("Mon 2025-09-29 08:12:34 -03 web01 kernel: x", "x", "web01", "kernel"),
        ("CPU: 3 PID: 7 Comm: x", "CPU: 3 PID: 7 Comm: x", "", ""),
        ('{"MESSAGE": "x", "_TRANSPORT": "kernel"}', "x", "", "kernel"),
        ('{"MESSAGE": [120, 10], "_TRANSPORT": "kernel", "SYSLOG_FACILITY": 1}', "x\n", "", "user"),
        ('{"MESSAGE": "x", "_TRANSPORT": "syslog", "SYSLOG_IDENTIFIER": "a"}', "x", "", "other"),
        ('{"MESSAGE": null, "_TRANSPORT": "kernel"}', "", "", "kernel"),
        ('{"no": "entry"}', '{"no": "entry"}', "", ""),
        ("{torn", "{torn", "", ""),
    ],
)
def test_what_a_prefix_tells(line: str, text: str, whose: str, origin: str) -> None:
    found = logged(line)
    assert (found.text, found.stream + found.caller, found.origin) == (text, whose, origin)


def test_a_quotation_is_no_report() -> None:
    lines = report("5.10", [SMALL, BIG], 200)
    quoted = [f"Sep 29 08:12:34 web01 kubelet[123]: {line}" for line in lines]
    assert reports(quoted) == []
    assert only([*formed(lines), *quoted]).agrees is True


def formed(lines: list[str]) -> list[str]:
    return [FORMS["syslog"](number, line) for number, line in enumerate(lines)]


# --- lines in pieces, and several in one


@pytest.mark.parametrize("width", [72, 80, 100, 132])
@pytest.mark.parametrize("form", ["dmesg", "syslog", "dmesg -T"])
@pytest.mark.parametrize("era", ["el7", "5.0", "5.10", "6.8"])
def test_wrapped_lines(era: str, form: str, width: int) -> None:
    lines = report(era, [SMALL, BIG, Process(300, 7, "other", uid=33)], 200, 501)
    found = only(wrapped(lines, width, FORMS[form]))
    assert (found.agrees, found.report.complete) == (True, True)
    assert len(found.report.table.rows) == 3


def test_a_score_that_is_cut_is_no_score() -> None:
    lines = report("el7", [SMALL, BIG], 200, 501)
    at = lines[-2].index("score 501") + len("score 5")
    whole = FORMS["dmesg"](7, lines[-2])
    cut = len(whole) - len(lines[-2]) + at
    wrapped_there = [*lines[:-2], whole[:cut], whole[cut:], lines[-1]]
    assert only(wrapped_there).report.score == 501
    assert only([*lines[:-2], lines[-2][:at], lines[-1]]).report.score is None


def test_the_kernel_may_break_its_summary() -> None:
    lines = report("5.10", [SMALL, BIG], 200)
    head, comma, tail = lines[-2].partition(",task_memcg")
    lines[-2:-1] = [head, comma + tail]
    found = only(FORMS["syslog"](number, line) for number, line in enumerate(lines))
    assert found.report.constraint == "CONSTRAINT_NONE"
    assert found.report.chosen is not None


def test_a_report_in_one_line() -> None:
    lines = report("el7", [SMALL, BIG], 200, 501)
    for joint in ("#012", "\n"):
        merged = f"Sep 29 08:12:34 web01 kernel: {joint.join(lines)}"
        assert only([merged]).agrees is True


def test_several_forms_in_one_log() -> None:
    lines = report("el7", [SMALL, BIG], 200, 501)
    log = [form(number, line) for form in FORMS.values() for number, line in enumerate(lines)]
    assert [one.agrees for one in judged(log)] == [True] * len(FORMS)
