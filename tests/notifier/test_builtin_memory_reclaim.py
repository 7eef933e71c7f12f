"""memory.reclaim: whom it asks, for how much, and what it claims."""

import errno
import os
from pathlib import Path

import pytest

from oomd.notifier.builtin.memory_reclaim import (
    PIECE_BYTES,
    WALK_AGAIN_S,
    WALK_GROUPS,
    WALK_STEP_S,
    MemoryReclaim,
)
from oomd.proc.root import Gone, ReadError, Refused, Root
from tests.notifier.kernel_files import KernelFiles, event, kernel_files
from tests.roots import Cgroup

MIB = 1 << 20
MOUNT = "sys/fs/cgroup"


def machine(path: Path, **held_mib: int) -> KernelFiles:
    """Groups that hold so much; ``__`` in a name is a slash. They give back what is asked for."""
    names = {name.replace("__", "/"): size for name, size in held_mib.items()}
    cgroups: list[Cgroup] = [
        {"path": f"/{name}", "usage_pages": size * 256} for name, size in names.items()
    ]
    root = kernel_files(path, cgroups)
    root.put(f"{MOUNT}/memory.reclaim", "")
    for name in names:
        give(root, name)
    return root


def give(root: KernelFiles, name: str, least_mib: int = 0, taken_mib: int = 0) -> None:
    """This group gives back all that is asked for, down to something, and then says EAGAIN.

    ``taken_mib``: what its processes take each time while it is reclaimed.
    """
    current = f"{MOUNT}/{name}/memory.current"

    def reclaim(data: str) -> None:
        before = int(root.text(current))
        after = max(before - int(data), least_mib * MIB)
        root.put(current, f"{after + taken_mib * MIB}\n")
        if before - after < int(data):
            raise OSError(errno.EAGAIN, "EAGAIN")

    root.put(f"{MOUNT}/{name}/memory.reclaim", "")
    root.effects[f"{MOUNT}/{name}/memory.reclaim"] = reclaim


def releaser(root: KernelFiles, *cgroups: str, xattr: str = "") -> MemoryReclaim:
    return MemoryReclaim(root, cgroups=cgroups, xattr=xattr)


def started(root: KernelFiles, *cgroups: str, xattr: str = "") -> MemoryReclaim:
    one = releaser(root, *cgroups, xattr=xattr)
    one.start()
    return one


def held_mib(root: KernelFiles, name: str) -> int:
    return int(root.text(f"{MOUNT}/{name}/memory.current")) // MIB


# --- whom


def test_what_is_named_in_full_is_asked_as_soon_as_it_is_there(tmp_path: Path) -> None:
    root = machine(tmp_path, kept=64)
    one = started(root, "/late/", "/late/below", "/kept", "/star*")
    assert one.targets == (f"{MOUNT}/kept",)
    for name, size_mib in (("late", 64), ("late/below", 32), ("starred", 64)):
        root.put(f"{MOUNT}/{name}/memory.current", f"{size_mib * MIB}\n")
        give(root, name)
    # In no walk yet; what is below one of them is in it already.
    assert one.release(event(128 * MIB)) == 128 * MIB
    left = [held_mib(root, name) for name in ("kept", "late", "late/below", "starred")]
    assert left == [0, 0, 32, 64]


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (("/a",), ["a"]),
        (("a/",), ["a"]),
        (("/a/x", "/b"), ["a/x", "b"]),
        (("/a/*",), ["a/x", "a/y.service"]),
        (("/*/*.service",), ["a/y.service"]),
        (("/[ab]",), ["a", "b"]),
        # What is below a chosen group is in it already.
        (("/a", "/a/x"), ["a"]),
        (("/A",), []),
        (("/a/*/z",), []),
        (("/",), [""]),
        ((), []),
    ],
)
def test_paths_choose_groups(tmp_path: Path, patterns: tuple[str, ...], chosen: list[str]) -> None:
    root = machine(tmp_path, a=4, a__x=2, b=1)
    root.put(f"{MOUNT}/a/y.service/memory.current", "7\n")
    one = started(root, *patterns)
    assert list(one.targets) == [f"{MOUNT}/{name}".rstrip("/") for name in chosen]


def test_a_path_that_leads_out_is_refused_at_the_start(tmp_path: Path) -> None:
    root = machine(tmp_path, a=4)
    with pytest.raises(ReadError, match="/../proc: not the path of a cgroup"):
        releaser(root, "/../proc").start()


def test_marked_groups_are_chosen(tmp_path: Path) -> None:
    root = machine(tmp_path, a=4, b=4, c=4, c__inner=2)
    mark = "user.oomd_reclaim"
    os.setxattr(tmp_path / MOUNT / "a", mark, b"1")
    os.setxattr(tmp_path / MOUNT / "b", mark, b"0")
    os.setxattr(tmp_path / MOUNT / "c/inner", mark, b"1")
    one = started(root, xattr=mark)
    assert list(one.targets) == [f"{MOUNT}/a", f"{MOUNT}/c/inner"]
    assert Root(str(tmp_path)).xattr(f"{MOUNT}/nowhere", mark) is None


def test_the_walk_is_done_again_in_the_calm_in_small_steps(tmp_path: Path) -> None:
    root = machine(tmp_path, a=4)
    one = started(root, "/a", "/job-*")
    assert list(one.targets) == [f"{MOUNT}/a"]
    for number in range(WALK_GROUPS + 10):
        root.put(f"{MOUNT}/job-{number}/memory.current", "0\n")
    assert one.calm(0.0) == WALK_STEP_S
    assert list(one.targets) == [f"{MOUNT}/a"], "half a walk is no answer"
    assert one.calm(1.0) == WALK_AGAIN_S
    assert len(one.targets) == 1 + WALK_GROUPS + 10


def test_a_group_that_has_ended_since_is_passed_over(tmp_path: Path) -> None:
    root = machine(tmp_path, a=40, b=40)
    one = started(root, "/a", "/b")
    for file in (tmp_path / MOUNT / "a").iterdir():
        file.unlink()
    assert one.release(event(8 * MIB)) == 8 * MIB
    assert held_mib(root, "b") == 32


# --- how much


def test_what_is_wanted_is_spread_by_what_they_hold(tmp_path: Path) -> None:
    root = machine(tmp_path, a=300, b=100)
    one = started(root, "/a", "/b")
    assert one.release(event(100 * MIB)) == 100 * MIB
    assert (held_mib(root, "a"), held_mib(root, "b")) == (225, 75)
    # A piece at a time, so that the deadline can be seen in between.
    assert max(int(data) for _, data in root.written) == PIECE_BYTES


def test_who_has_more_makes_up_for_who_has_less(tmp_path: Path) -> None:
    root = machine(tmp_path, a=100, b=100)
    give(root, "a", least_mib=90)
    one = started(root, "/a", "/b")
    assert one.release(event(100 * MIB)) == 100 * MIB
    assert (held_mib(root, "a"), held_mib(root, "b")) == (90, 10)
    asked_a = [data for path, data in root.written if "/a/" in path]
    # Ten MiB in pieces of four: the third ask is the one that it could not meet.
    assert len(asked_a) == 3, "asked again after it said that there is no more"


def test_eagain_claims_what_was_given_all_the_same(tmp_path: Path) -> None:
    root = machine(tmp_path, a=100)
    give(root, "a", least_mib=70)
    assert started(root, "/a").release(event(1000 * MIB)) == 30 * MIB


def test_a_group_that_takes_as_fast_as_it_gives_is_left(tmp_path: Path) -> None:
    root = machine(tmp_path, a=100)
    give(root, "a", taken_mib=4)
    assert started(root, "/a").release(event(64 * MIB)) == 0
    assert len(root.written) == 1


def test_nothing_is_asked_for_past_the_deadline(tmp_path: Path) -> None:
    root = machine(tmp_path, a=100)
    assert started(root, "/a").release(event(64 * MIB, within_s=0.0)) == 0
    assert root.written == []


def test_the_whole_machine_is_measured_by_mem_free(tmp_path: Path) -> None:
    root = machine(tmp_path, a=100)
    root.effects[f"{MOUNT}/memory.reclaim"] = lambda data: root.memory(
        mem_free_kib=(8 << 20) + 4096
    )
    assert started(root, "/").release(event(4 * MIB)) == 4 * MIB


# --- what is wrong


def test_one_that_refuses_does_not_keep_the_others(tmp_path: Path) -> None:
    def refuse(data: str) -> None:
        raise PermissionError(errno.EACCES, "EACCES")

    root = machine(tmp_path, a=100, b=50)
    root.effects[f"{MOUNT}/a/memory.reclaim"] = refuse
    assert started(root, "/a", "/b").release(event(30 * MIB)) == 30 * MIB
    with pytest.raises(Refused, match="a/memory.reclaim: EACCES"):
        started(root, "/a").release(event(30 * MIB))


def test_a_kernel_without_it_is_named_at_the_start(tmp_path: Path) -> None:
    root = kernel_files(tmp_path, [{"path": "/a"}])
    with pytest.raises(Gone, match=r"memory\.reclaim: is not there: it came with Linux 5\.19"):
        releaser(root, "/a").start()
    (tmp_path / MOUNT / "cgroup.controllers").unlink()
    with pytest.raises(Gone, match="no cgroup v2 hierarchy"):
        releaser(root, "/a").start()
