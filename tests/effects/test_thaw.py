"""Victims in a cgroup v1 freezer: fake trees, and a real one where this machine has it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oomd.effects.oom_kill_process import Victim, kill, open_victim
from oomd.effects.thaw import freezer_path, thaw
from oomd.proc.root import WritableRoot
from tests.effects.children import OwnChildren, has_exited, task_of, wait_exit

FakeTree = Callable[[dict[str, bytes]], WritableRoot]
MOUNT = "sys/fs/cgroup/freezer"


@pytest.mark.parametrize(
    ("cgroup", "path"),
    [
        (b"6:freezer:/box\n", "box"),
        (b"7:cpu,freezer:/a/b:c\n1:name=systemd:/x\n", "a/b:c"),
        (b"6:freezer:/\n", ""),
        (b"0::/user.slice\n", ""),
        (b"1:name=freezer:/x\n", ""),
        # Outside our cgroup namespace.
        (b"6:freezer:/../other\n", ""),
        (b"", ""),
    ],
)
def test_freezer_path(cgroup: bytes, path: str) -> None:
    assert freezer_path(cgroup) == path


def tree(fake_tree: FakeTree, frozen: str) -> WritableRoot:
    files = {"proc/10/cgroup": b"6:freezer:/a/b\n"}
    for path in ("a", "a/b"):
        files[f"{MOUNT}/{path}/freezer.self_freezing"] = b"1\n" if path == frozen else b"0\n"
        files[f"{MOUNT}/{path}/freezer.state"] = b"FROZEN\n"
    return fake_tree(files)


@pytest.mark.parametrize("frozen", ["a", "a/b"])
def test_the_cgroup_that_was_frozen_is_thawed(
    fake_tree: FakeTree, tmp_path: Path, frozen: str
) -> None:
    root = tree(fake_tree, frozen)
    assert thaw(root, 10) == f"thawed freezer cgroup /{frozen}"
    for path in ("a", "a/b"):
        state = (tmp_path / MOUNT / path / "freezer.state").read_bytes()
        assert state == (b"THAWED\n" if path == frozen else b"FROZEN\n")


def test_nothing_frozen_nothing_done(fake_tree: FakeTree) -> None:
    assert thaw(tree(fake_tree, "neither"), 10) == ""


def test_a_victim_that_is_gone_needs_no_thaw(fake_tree: FakeTree) -> None:
    assert thaw(fake_tree({}), 10) == ""


def test_what_cannot_be_thawed_is_said(fake_tree: FakeTree, tmp_path: Path) -> None:
    root = tree(fake_tree, "a")
    (tmp_path / MOUNT / "a/freezer.state").unlink()
    assert thaw(root, 10).startswith("freezer cgroup /a could not be thawed: ")


@pytest.fixture
def real_freezer() -> Iterator[Path]:
    path = Path("/") / MOUNT / f"oomd-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup v1 freezer that may be used here: {error}")
    yield path
    path.rmdir()


@pytest.mark.live
def test_a_frozen_child_dies_when_thawed(real_freezer: Path, children: OwnChildren) -> None:
    child = children.start_ready()
    (real_freezer / "cgroup.procs").write_text(str(child.pid))
    state = real_freezer / "freezer.state"
    state.write_text("FROZEN")
    try:
        while state.read_text() != "FROZEN\n":
            pass
        root = WritableRoot()
        victim = open_victim(root, task_of(child.pid))
        assert isinstance(victim, Victim)
        assert isinstance(kill(root, victim), Victim)
        assert not has_exited(victim.pidfd)
        assert thaw(root, child.pid) == f"thawed freezer cgroup /{real_freezer.name}"
        wait_exit(victim.pidfd)
        os.close(victim.pidfd)
    finally:
        state.write_text("THAWED")
        child.kill()
        child.wait()
