"""What a kernel lacks."""

import os
from pathlib import Path

import pytest

from oomd.proc.probe import Probe, ZramDevice, probe
from oomd.proc.root import Root
from tests.roots import DEFAULT_MEMINFO, make_root


def test_a_machine_with_everything(tmp_path: Path) -> None:
    files = {
        "proc/sys/kernel/pid_max": "4194304\n",
        "sys/block/sda/size": "8\n",
        "sys/block/zram0/disksize": "1073741824\n",
        "sys/block/zram0/mm_stat": "  4096       74    12288        0    12288  0  0  0  0\n",
        "sys/block/zram1/disksize": "0\n",
    }
    root = make_root(tmp_path, [{"pid": 1}], cgroup_version=2, files=files)
    assert probe(root) == Probe(
        has_psi=True,
        has_swap=True,
        cgroup_version=2,
        has_children_file=True,
        pid_max=4194304,
        zram=(ZramDevice("zram0", 1 << 30, 12288), ZramDevice("zram1", 0, None)),
    )


def test_a_machine_with_nothing(tmp_path: Path) -> None:
    meminfo = DEFAULT_MEMINFO._replace(swap_total_kib=0, swap_free_kib=0)
    root = make_root(tmp_path, [{"pid": 1}], meminfo=meminfo, pressure=None, children_files=False)
    assert probe(root) == Probe(False, False, None, False, None, ())
    assert probe(Root(str(tmp_path / "empty"))) == Probe(False, False, None, False, None, ())


def test_psi_switched_off_leaves_the_file(tmp_path: Path) -> None:
    root = make_root(tmp_path, refused={"proc/pressure/memory": "EOPNOTSUPP"})
    assert not probe(root).has_psi


def test_cgroups_of_v1(tmp_path: Path) -> None:
    v1 = make_root(tmp_path / "1", cgroups=[{"path": "/"}])
    hybrid = make_root(tmp_path / "h", cgroups=[{"path": "/"}], cgroup_version="hybrid")
    assert probe(v1).cgroup_version == 1
    assert probe(hybrid).cgroup_version == "hybrid"


@pytest.mark.live
def test_the_live_machine() -> None:
    found = probe(Root())
    assert found.has_psi == os.path.exists("/proc/pressure/memory")
    assert found.pid_max is not None
    me = os.getpid()
    assert found.has_children_file == os.path.exists(f"/proc/{me}/task/{me}/children")
