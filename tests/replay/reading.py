"""A log read and judged, as a test asks for it."""

from collections.abc import Iterable
from pathlib import Path

from oomd.oom import Kill
from oomd.replay.collect import Collector
from oomd.replay.findings import Judgement
from oomd.replay.judge import judge
from oomd.replay.kernel_report import KernelReport
from oomd.replay.prefix import logged

__all__ = [
    "SAMPLES",
    "bare",
    "explained",
    "judged",
    "kernel_samples",
    "only",
    "points",
    "reports",
    "sample",
    "sample_files",
    "without_place",
]

SAMPLES = Path(__file__).parent / "samples"


def reports(lines: Iterable[str]) -> list[KernelReport]:
    """All reports of a log."""
    collector = Collector()
    found: list[KernelReport] = []
    for number, line in enumerate(lines, 1):
        found += collector.feed(number, logged(line))
    return [*found, *collector.finish()]


def judged(lines: Iterable[str], policy: str = "") -> list[Judgement]:
    """All reports of a log, judged."""
    return [judge(report, policy) for report in reports(lines)]


def only(lines: Iterable[str], policy: str = "") -> Judgement:
    """The one report of a log, judged."""
    found = judged(lines, policy)
    assert len(found) == 1, [one.report for one in found]
    return found[0]


def without_place(report: KernelReport) -> dict[str, object]:
    """A report without what depends on where and in which form it was logged."""
    names = set(report.__slots__) - {"line", "when", "earlier_victims"}
    return {name: getattr(report, name) for name in names}


def sample_files() -> list[Path]:
    """The reports of the virtual machine, one a file; not the same one in other forms."""
    return sorted(SAMPLES.glob("*.log"))


def kernel_samples() -> list[Path]:
    """Those that a kernel has printed; the daemon's own lines are in a form already."""
    return [path for path in sample_files() if not path.stem.endswith("by-oomd")]


def bare(path: Path) -> list[str]:
    """A sample's lines, without its header."""
    text = path.read_bytes().decode("utf-8", "surrogateescape")
    return [line for line in text.split("\n")[:-1] if not line.startswith("# ")]


def sample(name: str) -> list[str]:
    """A sample by its name."""
    return bare(SAMPLES / f"{name}.log")


def points(judgement: Judgement) -> tuple[int, int]:
    """Whom the policy chooses, and with how many points."""
    assert judgement.answer is not None
    decision = judgement.answer.decision
    assert isinstance(decision, Kill)
    return decision.chosen.pid, decision.points


def explained(judgement: Judgement, words: str) -> bool:
    """The explanation has these words."""
    return any(words in note for note in judgement.notes)
