"""Reports of kernels that the project's own virtual machine ran: the policy agrees with each."""

from pathlib import Path

import pytest

from oomd.oom import Kill, Panic
from oomd.replay.findings import Judgement
from oomd.replay.steps import kind_of, steps_of
from tests.replay.reading import bare, judged, kernel_samples, only, reports, sample, sample_files

KINDS = {
    "cpuset": "cpuset",
    "mempolicy": "mempolicy",
    "memcg": "memcg",
    "sysrq": "sysrq",
    "panic": "panic",
    "global": "global",
    "allocating": "global",
}


def scene(path: Path) -> str:
    """What the sample is of: its name without the kernel's."""
    return path.stem.partition("-")[2]


KERNELS = kernel_samples()


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_the_policy_does_what_the_kernel_did(path: Path) -> None:
    found = judged(bare(path))
    assert found
    for one in found:
        assert one.report.complete
        assert one.profile.policy.name == "mainline"
        assert one.report.kernel.startswith(path.stem.partition("-")[0])
        assert kind_of(one.report) == KINDS[scene(path).partition("-")[0]]
        # What hangs on the host's swap is left open, and nothing else is.
        unknown = one.total.missing == "the host's swap"
        assert one.agrees is True or (unknown and one.agrees is None), one.notes


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_each_sample_says_how_it_was_made(path: Path) -> None:
    first, second = path.read_text(errors="replace").splitlines()[:2]
    assert first.startswith("# Linux ")
    assert "in the project's virtual machine: " in first
    assert second.startswith("# ")


def kill(judgement: Judgement) -> Kill:
    assert judgement.answer is not None
    decision = judgement.answer.decision
    assert isinstance(decision, Kill)
    return decision


def test_both_families_of_tables_are_there() -> None:
    columns = {reports(bare(path))[0].table.columns for path in KERNELS}
    assert any("rss_anon" in one for one in columns)
    assert any("rss_anon" not in one for one in columns)


def test_the_whole_machine_with_swap() -> None:
    found = only(sample("6.1-global-swap"))
    assert found.report.swap_total_kib
    assert found.total.pages == kill(found).totalpages
    assert kill(found).chosen.swapents_pages > 0


def test_a_memcg_with_swap_of_its_own() -> None:
    found = judged(sample("6.1-memcg-swap"))[0]
    # 40 MiB and 20 MiB, the latter used up or nearly so.
    assert found.total.high_pages == 60 * 256
    assert found.total.low_pages > 50 * 256


def test_a_group_spares_who_is_exempt() -> None:
    found = only(sample("6.1-memcg-group"))
    assert found.report.group == "/group"
    assert sorted(one.comm for one in found.report.killed) == ["hog", "member"]
    assert {row.comm for row in found.report.table.rows} == {"hog", "member", "exempt"}


def test_a_leader_that_has_exited() -> None:
    found = only(sample("6.1-sysrq-leader"))
    chosen = kill(found).chosen
    assert chosen.leader_exited
    assert found.report.killed[0].pid == chosen.mm_tid


def test_the_allocating_task() -> None:
    found = only(sample("6.1-allocating"))
    assert kill(found).points == 0
    assert "allocating_task" in kill(found).message


def test_only_tasks_of_the_nodes_are_counted() -> None:
    for name in ("6.1-cpuset", "6.1-mempolicy"):
        for found in judged(sample(name)):
            # Node 1 alone: 128 MiB, nearly all of it present.
            assert found.total.pages is not None
            assert 127 * 256 < found.total.pages <= 128 * 256
            # A task that may use it, though it has its memory elsewhere, is one of them.
            assert kill(found).chosen.comm in ("bound", "elsewhere")


@pytest.mark.parametrize(
    ("name", "step"), [("6.1-panic", 3), ("6.1-panic-memcg", 3), ("6.1-panic-none", 6)]
)
def test_panics_at_their_step(name: str, step: int) -> None:
    found = only(sample(name))
    assert found.answer is not None
    decision = found.answer.decision
    assert isinstance(decision, Panic)
    assert decision.step == step
    assert steps_of(found)[step - 1].kernel.startswith("panic: ")


def test_hostile_names_are_names() -> None:
    for path in sample_files():
        if "hostile" in path.stem:
            found = only(bare(path))
            assert {r"x\x0a[ 1] 0 1 2", "9 pages RAM"} <= {r.comm for r in found.report.table.rows}
            assert found.report.killed[0].comm == r"1) total-vm:\x0a9"
