"""Whatever a log holds, replay ends with a verdict or its one error, and never with another."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from oomd.replay.as_json import as_json
from oomd.replay.as_text import as_text
from oomd.replay.judge import judge
from oomd.replay.prefix import logged
from tests.replay.forms import FORMS
from tests.replay.reading import bare, judged, reports, sample_files, without_place
from tests.replay.synthetic import ERAS, Process, memcg_lines, report

REAL = [line for path in sample_files() for line in bare(path)]
MADE = [
    line
    for era in ERAS
    for line in report(era, [Process(100, 20, "a"), Process(200, 500_000, "b")], 200, 501)
]
LINES = sorted({*REAL, *MADE, *memcg_lines(4000, swap=(0, 0)), *memcg_lines(9, memsw=(9, 9))})

numbers = st.integers(-(1 << 70), 1 << 70).map(str)


@st.composite
def mangled(draw: st.DrawFn) -> str:
    """A line of a report with a piece of it cut, repeated, or made another number."""
    line = draw(st.sampled_from(LINES))
    start = draw(st.integers(0, len(line)))
    end = draw(st.integers(start, min(start + 12, len(line))))
    piece = draw(st.one_of(st.just(""), st.just(line[start:end] * 2), numbers, st.text(max_size=8)))
    return line[:start] + piece + line[end:]


any_line = st.one_of(
    st.sampled_from(LINES), st.sampled_from(LINES), mangled(), st.text(max_size=80)
)
any_form = st.sampled_from(sorted(FORMS))


def everything(lines: list[str]) -> None:
    """All that replay does with a log."""
    for policy in ("", "el7", "mainline"):
        for index, found in enumerate(judged(lines, policy), 1):
            json.dumps(as_json(index, found))
            assert all(one.text.isprintable() for one in as_text(index, found))
            if found.agrees is not None:
                assert found.answer is not None


@settings(deadline=None, max_examples=200)
@given(st.lists(any_line, max_size=60), any_form)
def test_no_log_breaks_it(lines: list[str], form: str) -> None:
    everything([FORMS[form](number, line) for number, line in enumerate(lines)])


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_no_shuffled_report_breaks_it(data: st.DataObject) -> None:
    era = data.draw(st.sampled_from(sorted(ERAS)))
    size = st.integers(0, 1 << 40)
    process = st.builds(
        Process,
        pid=st.integers(2, 1 << 22),
        rss=size,
        comm=st.text(max_size=15),
        uid=st.integers(-1, 1 << 32),
        adj=st.integers(-1000, 1000),
        pgtables=size,
        swapents=size,
    )
    processes = data.draw(st.lists(process, min_size=1, max_size=5, unique_by=lambda p: p.pid))
    chosen = data.draw(st.sampled_from(processes)).pid
    score = data.draw(st.integers(0, 1 << 40))
    limit = data.draw(st.integers(0, 1 << 62))
    memory = data.draw(
        st.sampled_from(
            ([], memcg_lines(limit, swap=(0, limit)), memcg_lines(limit, memsw=(limit, limit)))
        )
    )
    everything(report(era, processes, chosen, score, memory=memory, memcg="/x" if memory else ""))


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_break_a_line(line: bytes) -> None:
    logged(line.decode("utf-8", "surrogateescape"))


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_a_true_report_reads_the_same_in_each_form_with_anything_between(
    data: st.DataObject,
) -> None:
    era = data.draw(st.sampled_from(sorted(ERAS)))
    lines = report(era, [Process(100, 20, "a b"), Process(200, 500_000, "c")], 200, 501)
    (plain,) = reports(lines)
    form = FORMS[data.draw(any_form.filter(lambda name: name != "unheard of"))]
    noise = st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40), max_size=3
    )
    mixed = []
    for line in lines:
        mixed += [*data.draw(noise.map(lambda texts: [f"audit: {t}" for t in texts])), line]
    found = reports(form(number, line) for number, line in enumerate(mixed))
    assert [without_place(one) for one in found] == [without_place(plain)]
    assert judge(found[0]).agrees is True
