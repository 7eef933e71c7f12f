"""The pure parsers: by example, and that no bytes can make them raise anything undeclared."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.mm_types import MemInfo, Node, Pressure, Stall, Sysctls
from oomd.proc.memcg import parse_limit, parse_oom_control
from oomd.proc.meminfo import parse_meminfo
from oomd.proc.nodes import parse_zoneinfo
from oomd.proc.pressure import parse_pressure, pressure_file, read_pressure
from oomd.proc.relatives import parse_children
from oomd.proc.root import Unparsable
from oomd.proc.sysctl import parse_int, read_sysctls
from oomd.proc.task import Status, parse_stat, parse_status
from oomd.proc.vmstat import parse_oom_kill, read_oom_kill
from tests.proc.formats import Row, stat_text, status_text
from tests.roots import IDLE_PRESSURE, make_root

PARSERS: tuple[Callable[[bytes], object], ...] = (
    parse_children,
    parse_int,
    lambda data: parse_limit(data, 4096),
    parse_meminfo,
    parse_oom_control,
    parse_oom_kill,
    parse_pressure,
    parse_stat,
    parse_status,
    parse_zoneinfo,
)

WORDS = st.sampled_from(
    [
        *(
            b"MemTotal:",
            b"Node",
            b"0,",
            b"zone",
            b"spanned",
            b"present",
            b"start_pfn:",
            b"oom_kill",
        ),
        *(b"some", b"full", b"avg10=0.00", b"avg60=nan", b"avg300=1e9", b"total=5", b"max", b"-"),
        *(b"\nTracerPid:\t", b"\nUid:\t", b"\nGid:", b"\nVmSize:", b"\nVmRSS:", b"\nVmPTE:"),
        *(b"\nVmSwap:", b" kB", b"\nSigPnd:\t", b"\nShdPnd:\t", b"\nCapEff:\t", b"\nThreads:"),
        *(b"\nMems_allowed:\t", b"ff,ff", b"(", b")", b"S", b"1", b"0", b"9" * 5000, b"\xff", b"_"),
    ]
)
STIRRED = st.lists(st.one_of(WORDS, st.sampled_from([b" ", b"\n"])), max_size=60).map(b"".join)


@pytest.mark.parametrize("number", range(len(PARSERS)))
@given(data=st.one_of(st.binary(max_size=300), STIRRED))
def test_arbitrary_bytes_raise_nothing_undeclared(number: int, data: bytes) -> None:
    try:
        PARSERS[number](data)
    except Unparsable as error:
        assert "\n" not in str(error)


ROW: Row = {"pid": 7, "comm": "a b", "rss_pages": 12345, "swapents_pages": 7, "num_threads": 2}
ROW |= {"has_mm": True, "total_vm_pages": 99999, "anon_rss_pages": 12345}
ROW |= {"flags": 4, "starttime_ticks": 8812345}


@given(cut=st.integers(0, 2000))
def test_torn_files_never_pass_for_whole_ones(cut: int) -> None:
    """However a file is cut short: what it says is refused, or what the whole one says."""
    for text, parse in (
        (stat_text(7, ROW, ROW, 4096), parse_stat),
        (status_text(7, ROW, ROW, 4096, "mainline"), parse_status),
    ):
        assert isinstance(parse(text), tuple)
        try:
            parsed = parse(text[:cut])
        except Unparsable:
            continue
        # The mask of nodes comes last, and a kernel may have no such line.
        whole = parse(text)
        if isinstance(whole, Status) and isinstance(parsed, Status):
            whole = whole._replace(mems_allowed=parsed.mems_allowed)
        assert parsed == whole


# --- meminfo


def test_meminfo() -> None:
    text = (
        "MemTotal:       24684092 kB\nMemFree:        23854712 kB\nMemAvailable:   24343240 kB\n"
        "Buffers:           12644 kB\nCached:           647908 kB\nSwapCached:            0 kB\n"
        "Mlocked:           14920 kB\nSwapTotal:          1024 kB\nSwapFree:            512 kB\n"
        "AnonPages:         15560 kB\nShmem:              8856 kB\nSlab:             107548 kB\n"
        "SReclaimable:      83744 kB\nHugePages_Total:      10\nHugepagesize:       2048 kB\n"
        "Hugetlb:           40960 kB\nDirectMap4k:       26624 kB\n"
    )
    assert parse_meminfo(text.encode()) == MemInfo(
        mem_total_kib=24684092,
        mem_free_kib=23854712,
        mem_available_kib=24343240,
        swap_total_kib=1024,
        swap_free_kib=512,
        buffers_kib=12644,
        cached_kib=647908,
        shmem_kib=8856,
        slab_kib=107548,
        slab_reclaimable_kib=83744,
        hugetlb_kib=40960,
        mlocked_kib=14920,
        anon_pages_kib=15560,
    )


def test_meminfo_before_memavailable() -> None:
    text = b"MemTotal: 900 kB\nMemFree: 100 kB\nBuffers: 20 kB\nCached: 50 kB\nShmem: 30 kB\n"
    assert parse_meminfo(text).mem_available_kib == 140


def test_meminfo_before_hugetlb() -> None:
    text = b"MemTotal: 900 kB\nMemFree: 1 kB\nHugePages_Total: 3\nHugepagesize: 2048 kB\n"
    assert parse_meminfo(text).hugetlb_kib == 6144


# --- pressure


def test_pressure() -> None:
    text = (
        b"some avg10=1.50 avg60=0.25 avg300=0.00 total=123\n"
        b"full avg10=100.00 avg60=3.00 avg300=0.10 total=99\n"
    )
    assert parse_pressure(text) == Pressure(Stall(1.5, 0.25, 0.0, 123), Stall(100.0, 3.0, 0.1, 99))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        IDLE_PRESSURE.replace("0.00", "nan", 1).encode(),
        IDLE_PRESSURE.replace("avg60", "avg61").encode(),
        IDLE_PRESSURE.replace(" total=0", "").encode(),
    ],
)
def test_pressure_of_another_form(text: bytes) -> None:
    with pytest.raises(Unparsable):
        parse_pressure(text)


def test_no_pressure_is_none(tmp_path: Path) -> None:
    assert read_pressure(make_root(tmp_path / "old", pressure=None)) is None
    off = make_root(tmp_path / "off", refused={"proc/pressure/memory": "EOPNOTSUPP"})
    assert read_pressure(off) is None


def test_pressure_of_a_cgroup(tmp_path: Path) -> None:
    text = IDLE_PRESSURE.replace("total=0", "total=7")
    root = make_root(tmp_path, cgroups=[{"path": "/a", "pressure": text}], cgroup_version=2)
    pressure = read_pressure(root, "/a")
    assert pressure is not None
    assert pressure.full.total_us == 7
    assert read_pressure(root, "/b") is None


def test_pressure_file_by_hierarchy(tmp_path: Path) -> None:
    v1 = make_root(tmp_path / "1")
    hybrid = make_root(tmp_path / "h", cgroup_version="hybrid")
    assert pressure_file(v1, "/a") is None
    assert pressure_file(hybrid, "a/b/") == "sys/fs/cgroup/unified/a/b/memory.pressure"
    with pytest.raises(Unparsable):
        pressure_file(hybrid, "/a/../../../etc")


# --- sysctl


def test_sysctls(tmp_path: Path) -> None:
    sysctls = Sysctls(panic_on_oom=2, oom_kill_allocating_task=1, oom_dump_tasks=0)
    assert read_sysctls(make_root(tmp_path, sysctls=sysctls)) == sysctls


def test_sysctls_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    root = make_root(
        tmp_path,
        sysctls=Sysctls(panic_on_oom=1, oom_dump_tasks=0),
        refused={"proc/sys/vm/panic_on_oom": "EACCES"},
        files={"proc/sys/vm/oom_kill_allocating_task": "yes\n"},
    )
    names = ("panic_on_oom", "oom_kill_allocating_task")
    assert read_sysctls(root) == Sysctls(0, 0, 0, not_observable=names)


@pytest.mark.parametrize(("data", "value"), [(b"0\n", 0), (b"-1000\n", -1000), (b" 17", 17)])
def test_parse_int(data: bytes, value: int) -> None:
    assert parse_int(data) == value


# --- zoneinfo


ZONEINFO = b"""\
Node 0, zone      DMA
  per-node stats
      nr_mapped    2721
  pages free     3840
        min      62
        spanned  4095
        present  3998
        managed  3840
      nr_free_pages 3840
  node_unreclaimable:  0
  start_pfn:           1
Node 0, zone    DMA32
  pages free     740000
        spanned  1044480
        present  782272
        managed  757000
  start_pfn:           4096
Node 0, zone   Normal
  pages free     900000
        spanned  1000000
        present  990000
        managed  980000
  start_pfn:           1048576
Node 0, zone  Movable
  pages free     0
        spanned  0
        present  0
        managed  0
        protection: (0, 0, 0, 0, 0)
Node 1, zone   Normal
  pages free     900000
        spanned  500000
        present  500000
        managed  490000
  start_pfn:           2048576
Node 2, zone   Normal
  pages free     0
        spanned  0
        present  0
        managed  0
"""


def test_zoneinfo() -> None:
    assert parse_zoneinfo(ZONEINFO) == (
        Node(0, 1048576 + 1000000 - 1, 3998 + 782272 + 990000),
        Node(1, 500000, 500000),
    )


def test_zoneinfo_without_start_pfn_sums_the_spans() -> None:
    text = b"\n".join(line for line in ZONEINFO.split(b"\n") if b"start_pfn" not in line)
    assert parse_zoneinfo(text)[0].spanned_pages == 4095 + 1044480 + 1000000


# --- the small ones


def test_oom_kill_counter(tmp_path: Path) -> None:
    assert parse_oom_kill(b"pgfault 7\noom_kill 12\ndrop_pagecache 0\n") == 12
    assert parse_oom_kill(b"pgfault 7\n") is None
    assert read_oom_kill(make_root(tmp_path)) is None


def test_children() -> None:
    assert parse_children(b"12 7 1009 ") == [12, 7, 1009]
    assert parse_children(b"") == []


@pytest.mark.parametrize(
    ("data", "pages"),
    [
        (b"max\n", None),
        (b"9223372036854771712\n", None),
        (b"9223372036854710272\n", None),
        (b"9223372036854775807\n", None),
        (b"4096\n", 1),
        (b"0\n", 0),
        (b"1099511627776\n", 268435456),
    ],
)
def test_limit(data: bytes, pages: int | None) -> None:
    assert parse_limit(data, 4096) == pages
