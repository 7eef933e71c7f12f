"""Memory cgroups of both versions."""

from pathlib import Path
from typing import Literal

import pytest

from oomd.mm_types import MemCgroup
from oomd.proc.memcg import BadCgroup, read_memcg, read_memcg_meminfo, read_oom_groups
from oomd.proc.root import Refused
from tests.roots import DEFAULT_MEMINFO, Cgroup, make_root

TREE: list[Cgroup] = [
    {
        "path": "/app",
        "limit_pages": 1000,
        "usage_pages": 900,
        "swap_limit_pages": 50,
        "memsw_limit_pages": 1200,
        "swappiness": 10,
        "oom_kill_disable": True,
        "pids": [7, 0],
    },
    {"path": "/app/x.service", "pids": [8, 9], "oom_group": True},
    {"path": "/app/x.service/deep", "pids": [10], "oom_group": True},
    {"path": "/app/y", "pids": [11]},
    {"path": "/else", "pids": [12], "oom_group": True},
]


def test_v1(tmp_path: Path) -> None:
    root = make_root(tmp_path, cgroups=TREE, cgroup_version=1)
    assert read_memcg(root, "/app", 4096) == MemCgroup(
        path="/app",
        version=1,
        usage_pages=900,
        limit_pages=1000,
        memsw_limit_pages=1200,
        swappiness=10,
        oom_kill_disable=True,
        pids=frozenset({7, 8, 9, 10, 11}),
    )


def test_v2(tmp_path: Path) -> None:
    root = make_root(tmp_path, cgroups=TREE, cgroup_version=2, swappiness=33)
    assert read_memcg(root, "app/", 4096) == MemCgroup(
        path="/app",
        version=2,
        usage_pages=900,
        limit_pages=1000,
        swap_limit_pages=50,
        swappiness=33,
        pids=frozenset({7, 8, 9, 10, 11}),
        scan_order=(7, 8, 9, 10, 11),
        oom_groups=(
            ("/app/x.service", frozenset({8, 9, 10})),
            ("/app/x.service/deep", frozenset({10})),
        ),
    )


def test_hybrid_takes_memory_from_v1(tmp_path: Path) -> None:
    root = make_root(tmp_path, cgroups=TREE, cgroup_version="hybrid")
    assert read_memcg(root, "/app", 4096).version == 1


@pytest.mark.parametrize("version", [1, 2])
def test_no_limit(tmp_path: Path, version: Literal[1, 2]) -> None:
    root = make_root(tmp_path, cgroups=TREE, cgroup_version=version)
    memcg = read_memcg(root, "/app/y", 4096)
    assert (memcg.limit_pages, memcg.swap_limit_pages, memcg.memsw_limit_pages) == (None,) * 3


def test_pages_of_64_kib(tmp_path: Path) -> None:
    root = make_root(tmp_path, cgroups=TREE, page_size_bytes=65536)
    assert read_memcg(root, "/app", 65536).limit_pages == 1000
    assert read_memcg(root, "/app/y", 65536).limit_pages is None


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", ["/nope", "/app/../else", "/a\0b", "/app\nx"])
def test_unknown_cgroup_is_one_line(tmp_path: Path, version: Literal[1, 2], name: str) -> None:
    root = make_root(tmp_path, cgroups=TREE, cgroup_version=version)
    with pytest.raises(BadCgroup) as caught:
        read_memcg(root, name, 4096)
    assert str(caught.value).isprintable()


def test_machine_without_cgroups(tmp_path: Path) -> None:
    with pytest.raises(BadCgroup, match="^/app: this machine has no memory cgroups$"):
        read_memcg(make_root(tmp_path), "/app", 4096)


def test_v2_root_is_the_whole_machine(tmp_path: Path) -> None:
    root = make_root(tmp_path, cgroups=TREE, cgroup_version=2)
    with pytest.raises(BadCgroup, match="^/: the root cgroup has no limit"):
        read_memcg(root, "/", 4096)


def test_v2_without_the_controller(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/bare/cgroup.procs": ""}
    root = make_root(tmp_path, cgroups=TREE, cgroup_version=2, files=files)
    with pytest.raises(BadCgroup, match="^/bare: the memory controller is not enabled"):
        read_memcg(root, "/bare", 4096)


def test_threaded_cgroup_has_no_processes_of_its_own(tmp_path: Path) -> None:
    refused = {"sys/fs/cgroup/app/y/cgroup.procs": "EOPNOTSUPP"}
    root = make_root(tmp_path, cgroups=TREE, cgroup_version=2, refused=refused)
    assert read_memcg(root, "/app", 4096).pids == {7, 8, 9, 10}


def test_refused_membership_is_not_passed_over(tmp_path: Path) -> None:
    refused = {"sys/fs/cgroup/app/y/cgroup.procs": "EACCES"}
    root = make_root(tmp_path, cgroups=TREE, cgroup_version=2, refused=refused)
    with pytest.raises(Refused):
        read_memcg(root, "/app", 4096)


def test_oom_groups_of_the_machine(tmp_path: Path) -> None:
    v2 = make_root(tmp_path / "2", cgroups=TREE, cgroup_version=2)
    assert [path for path, _ in read_oom_groups(v2)] == [
        "/app/x.service",
        "/app/x.service/deep",
        "/else",
    ]
    assert read_oom_groups(make_root(tmp_path / "1", cgroups=TREE)) == ()


# --- as if it were a machine


def test_meminfo_of_v2(tmp_path: Path) -> None:
    stat = (
        "anon 1000000\nfile 500000\nshmem 4096\ninactive_file 204800\nactive_file 102400\n"
        "slab 81920\nslab_reclaimable 40960\n"
    )
    files = {
        "sys/fs/cgroup/app/memory.stat": stat,
        "sys/fs/cgroup/app/memory.swap.current": "40960\n",
    }
    root = make_root(tmp_path, cgroups=TREE, cgroup_version=2, files=files)
    meminfo = read_memcg_meminfo(root, "/app")
    assert (meminfo.mem_total_kib, meminfo.mem_free_kib) == (4000, 400)
    assert meminfo.mem_available_kib == 400 + 200 + 100 + 40
    assert (meminfo.swap_total_kib, meminfo.swap_free_kib) == (200, 160)
    assert (meminfo.anon_pages_kib, meminfo.cached_kib, meminfo.shmem_kib) == (976, 488, 4)


def test_meminfo_of_v1(tmp_path: Path) -> None:
    stat = "cache 1\nrss 1\ntotal_cache 500000\ntotal_rss 1000000\ntotal_inactive_file 204800\n"
    files = {
        "sys/fs/cgroup/memory/app/memory.stat": stat,
        "sys/fs/cgroup/memory/app/memory.memsw.usage_in_bytes": f"{1000 * 4096}\n",
    }
    root = make_root(tmp_path, cgroups=TREE, files=files)
    meminfo = read_memcg_meminfo(root, "/app")
    assert (meminfo.mem_total_kib, meminfo.mem_available_kib) == (4000, 600)
    # 200 pages above the limit, 100 of which are in use.
    assert (meminfo.swap_total_kib, meminfo.swap_free_kib) == (800, 400)


def test_meminfo_without_a_limit_is_bounded_by_the_machine(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/app/y/memory.stat": "anon 4096\n"}
    root = make_root(tmp_path, cgroups=TREE, cgroup_version=2, files=files)
    meminfo = read_memcg_meminfo(root, "/app/y")
    assert meminfo.mem_total_kib == DEFAULT_MEMINFO.mem_total_kib
    assert meminfo.swap_free_kib == DEFAULT_MEMINFO.swap_free_kib
