"""What the bench makes of what the guest says; nothing here boots a machine."""

from pathlib import Path
from typing import Any

import pytest

from tests.bench.storms.daemons import DAEMONS
from tests.bench.storms.judge import judge
from tests.bench.storms.measure import Raw, parse_deaths, raw_result
from tests.bench.storms.results import append, claimed, done, path_of, read_cells
from tests.bench.storms.scenes import STORMS
from tests.bench.storms.table import table

OBSERVED = """ready
total 476652
began 10000000
sample 10000000 300000 0
sample 12000000 46000 0
sample 12500000 21000 0
sample 13000000 290000 0
crossed 12000000
recovered 13000000
ended 16000000
stalled 250000
"""
BEATEN = "ready\ngap 9000000 500000\ngap 12400000 150500\ngap 17000000 900000\nlongest 900000\n"
TRACE = """# tracer: nop
          python-137     [000] d..1.    12.505000: signal_generate: sig=9 errno=0 code=0 comm=culprit pid=170 grp=1 res=0
   kworker/0:1-a b-9     [001] d..2.    12.600000: signal_generate: sig=9 errno=0 code=128 comm=(sd pam) pid=171 grp=1 res=0
         systemd-1       [000] d..1.    12.700000: signal_generate: sig=15 errno=0 code=0 comm=culprit pid=170 grp=1 res=0
         python3-60      [000] d..1.    16.100000: signal_generate: sig=15 errno=0 code=0 comm=heartbeat pid=160 grp=1 res=0
"""  # noqa: E501 - as the kernel writes it


def result(daemon: str = "oomd", storm: str = "leak-slow", **changes: Any) -> Raw:
    """A run of ten seconds in which nobody died."""
    return {
        "daemon": daemon,
        "storm": storm,
        "run": 1,
        "daemon_version": "a",
        "bench_version": "b",
        "kernel": "6.1",
        "machine": "QEMU",
        "date": "2026-01-01",
        "crossed_ms": 2000.0,
        "recovered_ms": 3000.0,
        "ended_ms": 6000.0,
        "gaps_ms": [],
        "deaths": [],
        "kernel_kills": 0,
        **changes,
    }


def death(sender: str, comm: str, at_ms: float = 2500.0, signal: int = 9) -> dict[str, Any]:
    return {
        "at_ms": at_ms,
        "sender": sender,
        "signal": signal,
        "comm": comm,
        "pid": int(at_ms * 10),
        "available_kib": 20480,
    }


# --- what the guest says


def test_the_trace_names_sender_and_victim_once_each() -> None:
    found = [(one.sender, one.signal, one.comm, one.pid) for one in parse_deaths(TRACE)]
    assert found == [
        ("python", 9, "culprit", 170),
        ("kworker/0:1-a b", 9, "(sd pam)", 171),
        ("python3", 15, "heartbeat", 160),
    ]


def test_a_run_is_told_from_the_beginning_of_the_storm() -> None:
    raw: Any = raw_result(OBSERVED, BEATEN, TRACE, storm_ms=10_000.0)
    assert raw["total_kib"] == 476652
    assert raw["lowest_kib"] == 21000
    assert (raw["crossed_ms"], raw["recovered_ms"], raw["ended_ms"]) == (2000, 3000, 6000)
    assert raw["stalled_ms"] == 250
    # The gap from before the storm is the harness's own.
    assert raw["gaps_ms"] == [(2400, 150.5), (7000, 900)]
    assert raw["deaths"][0]["at_ms"] == 2505
    assert raw["deaths"][0]["available_kib"] == 21000


def test_memory_that_never_fell_or_never_came_back() -> None:
    lines = [line for line in OBSERVED.splitlines() if not line.startswith(("crossed", "recov"))]
    raw = raw_result("\n".join(lines), "", "", storm_ms=10_000.0)
    assert raw["crossed_ms"] is raw["recovered_ms"] is None


# --- what came of it


@pytest.mark.parametrize(
    ("storm", "deaths", "kernel_kills", "verdict"),
    [
        ("leak-slow", [death("python", "culprit")], 0, "right"),
        ("leak-slow", [], 0, "nobody"),
        ("leak-slow", [death("python", "culprit"), death("python", "database")], 0, "others"),
        # What systemd ends with the culprit's unit was not chosen by anybody.
        ("leak-slow", [death("python", "culprit"), death("systemd", "x", 2600, 15)], 0, "right"),
        ("leak-slow", [death("culprit", "culprit")], 1, "kernel"),
        ("leak-slow", [death("python", "culprit")], 1, "kernel"),
        ("leak-slow", [death("python", "culprit"), death("sh", "database", 2600)], 1, "others"),
        ("leak-slow", [death("python", "culprit"), death("systemd", "database")], 1, "others"),
        ("burst", [], 0, "right"),
        ("burst", [death("timeout", "burst", signal=15)], 0, "right"),
        ("burst", [death("python", "burst")], 0, "others"),
        ("stall", [death("python", "culprit")], 0, "others"),
        # After the end it is the harness that tidies up.
        ("burst", [death("python", "burst", 6001)], 0, "right"),
    ],
)
def test_verdicts(
    storm: str, deaths: list[dict[str, Any]], kernel_kills: int, verdict: str
) -> None:
    assert judge(result(storm=storm, deaths=deaths, kernel_kills=kernel_kills)).verdict == verdict


def test_figures_are_from_the_crossing_on_and_within_the_storm() -> None:
    run = judge(
        result(
            deaths=[death("python", "culprit"), death("python", "culprit", 2600)],
            gaps_ms=[[100, 150], [850, 151], [2400, 250], [6001, 900]],
        )
    )
    assert run.killed == {"culprit": 2}
    assert (run.to_kill_s, run.left_mib, run.to_recovery_s) == (0.5, 20, 1)
    assert (run.longest_ms, run.gaps_ms) == (250, 401)


# --- what is kept


def test_a_cell_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    path = path_of(tmp_path, "oomd", "leak-slow")
    assert done(path, result()) == 0
    append(path, result())
    append(path, result(run=2))
    with path.open("a") as file:
        file.write('{"daemon": "oomd", "run": 3, "dea')
    assert done(path, result()) == 2
    append(path, result(run=3))
    assert done(path, result()) == 3
    # Another version of the daemon or of the storm has to be measured anew.
    assert done(path, result(daemon_version="c")) == done(path, result(bench_version="c")) == 0


def test_no_cell_mixes_versions(tmp_path: Path) -> None:
    path = path_of(tmp_path, "oomd", "leak-slow")
    for version in ("a", "c", "c"):
        append(path, result(daemon_version=version))
    runs = read_cells(tmp_path).runs("leak-slow", "oomd")
    assert [run["daemon_version"] for run in runs] == ["c", "c"]


def test_a_cell_is_measured_by_one_at_a_time(tmp_path: Path) -> None:
    path = path_of(tmp_path, "Meta oomd", "leak-slow")
    with claimed(path) as first, claimed(path) as second:
        assert (first, second) == (True, False)
    with claimed(path) as again:
        assert again


def test_the_table_says_what_happened_and_what_was_not_measured(tmp_path: Path) -> None:
    right, wrong = death("python", "culprit"), death("python", "database")
    for run, deaths in enumerate(([right], [right], [right, wrong])):
        gaps = [[2400, 100 * (run + 1)]]
        append(path_of(tmp_path, "oomd", "leak-slow"), result(deaths=deaths, gaps_ms=gaps))
    killed = [death("earlyoom", "culprit", signal=15)]
    append(path_of(tmp_path, "earlyoom", "leak-slow"), result("earlyoom", deaths=killed))
    text = table(read_cells(tmp_path))
    storm = STORMS[0].title
    missing = " | not measured" * (len(DAEMONS) - 2)
    died = "**culprit** (2 of 3); culprit, database (1 of 3) | **culprit**"
    assert f"| {storm} | {died}{missing} |\n" in text
    assert f"| {storm} | 0.20 / 0.30 (0.20 / 0.30) | 0.00 (0.00){missing} |\n" in text
    assert f"| {storm} | 0.5 s, 20 MiB; 1.0 s | 0.5 s, 20 MiB; 1.0 s{missing} |\n" in text
    assert "oomd a, earlyoom a, systemd-oomd not measured" in text
    assert "cells: 1 × 1 runs, 1 × 3 runs" in text


def test_every_storm_and_daemon_has_a_name_of_its_own() -> None:
    assert len({storm.name for storm in STORMS}) == len(STORMS)
    assert len({daemon.name for daemon in DAEMONS}) == len(DAEMONS)
