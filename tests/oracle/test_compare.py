"""The judge judged: raw results of real kernels, and what has to be found in doctored ones."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from tests.oracle.compare import compare, first_report
from tests.oracle.table import BEGIN, END, Results, disagreements, table, write_readme
from tests.oracle.words import killed_line, rewritten, rewritten_table, table_lines

SAMPLES = Path(__file__).with_name("samples")
NAMES = ("sysrq", "memcg")

Json = dict[str, Any]


@pytest.fixture(params=NAMES)
def result(request: pytest.FixtureRequest) -> Json:
    """A real result: oomd and the kernel agreed."""
    return sample(request.param)


def sample(name: str) -> Json:
    found: Json = json.loads((SAMPLES / f"{name}.json").read_text())
    return found


def chosen(result: Json) -> Json:
    """The row of the process that oomd would have chosen."""
    pid = result["audit"]["decision"]["chosen"]["pid"]
    found: Json = next(one for one in result["audit"]["tasks"] if one["pid"] == pid)
    return found


def with_other_choice(result: Json) -> Json:
    """The same, but oomd would have chosen the next on the list that the kernel's table has."""
    doctored = copy.deepcopy(result)
    report, _ = first_report(result["kmsg"])
    assert report is not None
    rows = {row.tgid for row in report.table.rows}
    pid = result["audit"]["decision"]["chosen"]["pid"]
    others = (one for one in doctored["audit"]["tasks"] if one["eligible"] and one["pid"] != pid)
    other = next(one for one in others if one["pid"] in rows)
    doctored["audit"]["decision"]["chosen"]["pid"] = other["pid"]
    return doctored


def test_a_real_result_agrees(result: Json) -> None:
    verdict = compare(result)
    assert verdict.agrees, verdict
    assert (verdict.victim_equal, verdict.dead_equal) == (True, True)
    assert verdict.total_equal is not False
    assert verdict.rows == verdict.rows_equal == verdict.points_equal >= 5


def test_another_choice_from_the_same_figures_is_a_matter_of_order(result: Json) -> None:
    verdict = compare(with_other_choice(result))
    assert (verdict.victim_equal, verdict.cause) == (False, "order")


def test_a_kernel_that_kills_somebody_else_is_the_policys(result: Json) -> None:
    report, _ = first_report(result["kmsg"])
    assert report is not None
    doctored = copy.deepcopy(result)
    small = min(report.table.rows, key=lambda row: row.rss_pages)
    old = f"Killed process {report.killed[0].pid} "
    doctored["kmsg"] = [
        line.replace(old, f"Killed process {small.pid} ") for line in doctored["kmsg"]
    ]
    assert compare(doctored).cause == "policy"


def test_figures_that_changed_are_told_from_the_policy(result: Json) -> None:
    doctored = with_other_choice(result)
    row = chosen(doctored)
    row["rss_pages"] += 100_000
    verdict = compare(doctored)
    assert verdict.cause == "changed"
    assert verdict.rows_equal == verdict.rows - 1
    assert f"{row['pid']}: oomd saw" in verdict.detail


def test_counters_that_the_kernel_does_not_sum_are_told_from_a_change(result: Json) -> None:
    doctored = with_other_choice(result)
    doctored["stat_rss_pages"] = {
        str(one["pid"]): one["rss_pages"] for one in doctored["audit"]["tasks"]
    }
    row = chosen(doctored)
    row["rss_pages"] += 100
    verdict = compare(doctored)
    assert verdict.cause == "counters"
    assert verdict.rows_equal_by_stat == verdict.rows == verdict.rows_equal + 1


def test_what_was_swapped_out_meanwhile_counts_as_before(result: Json) -> None:
    row = chosen(result)
    row["rss_pages"] -= 10
    row["swapents_pages"] += 10
    verdict = compare(result)
    assert (verdict.rows_equal, verdict.points_equal) == (verdict.rows - 1, verdict.rows)
    assert verdict.agrees


def test_a_death_too_many_is_the_policys(result: Json) -> None:
    alive = next(one["pid"] for one in result["people"] if one["pid"] not in result["dead"])
    result["dead"] = sorted([*result["dead"], alive])
    verdict = compare(result)
    assert (verdict.victim_equal, verdict.dead_equal, verdict.cause) == (True, False, "policy")


def test_another_total_is_the_policys() -> None:
    result = sample("sysrq")
    result["audit"]["decision"]["totalpages"] += 1
    assert compare(result).cause == "policy"


@pytest.mark.parametrize("kept", [0, 5])
def test_without_a_whole_report_nothing_is_said(result: Json, kept: int) -> None:
    result["kmsg"] = result["kmsg"][:kept]
    assert compare(result).cause == "harness"


def test_an_oom_before_the_audit_is_told(result: Json) -> None:
    result["early"] = True
    assert compare(result).cause == "early"


def test_the_kernels_line_is_the_one_that_oomd_would_write(result: Json) -> None:
    line = killed_line(result["kmsg"])
    assert "Killed process" in line
    assert rewritten(line) == line
    assert rewritten(line.replace("anon-rss", "rss")) == ""


def test_the_kernels_table_is_the_one_that_oomd_would_print(result: Json) -> None:
    report, _ = first_report(result["kmsg"])
    assert report is not None
    lines = table_lines(result["kmsg"])
    assert len(lines) == len(report.table.rows) + 1 >= 6
    assert rewritten_table(report.table.rows) == lines


def test_the_table_counts_and_names(tmp_path: Path) -> None:
    good, bad = sample("sysrq"), with_other_choice(sample("memcg"))
    results = Results([good, bad])
    text = table([results])
    rows = [line for line in text.splitlines() if line.startswith("| 6.1")]
    assert [row.split(" | ")[1:4] for row in rows] == [
        ["sysrq", "1", "all 1"],
        ["memcg", "1", "0 of 1"],
    ]
    assert rows[0].endswith("| none |")
    assert "2026-11-23" in text
    (line,) = disagreements(results.verdicts)
    assert "memcg population 6: of equals" in line
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}old\n{END}\nafter\n")
    write_readme(readme, text)
    assert readme.read_text() == f"before\n{BEGIN}{text}{END}\nafter\n"
    readme.write_text("no marks\n")
    with pytest.raises(ValueError, match="has no <!-- oracle:begin"):
        write_readme(readme, text)
