"""Panic, on fake trees only: nothing here may reach this machine's kernel."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from oomd.effects.panic import PanicAction, panic
from oomd.proc.root import Refused, WritableRoot
from tests.effects.children import LyingRoot

WORDS = "Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled"
FakeTree = Callable[[dict[str, bytes]], WritableRoot]


def no_reboot() -> int:
    raise AssertionError("reboot(2) was called")


class RefusingRoot(LyingRoot):
    """A live root that only looks so: whatever is written is refused."""

    def write(self, rel: str, data: bytes) -> None:
        raise Refused(rel, "EROFS")


@pytest.mark.parametrize(
    ("action", "level", "key"), [("sysrq", "<0>", b"c"), ("reboot", "<0>", b"b")]
)
def test_the_words_and_the_key(
    fake_tree: FakeTree, tmp_path: Path, action: PanicAction, level: str, key: bytes
) -> None:
    root = fake_tree({"dev/kmsg": b"", "proc/sysrq-trigger": b""})
    said = panic(root, WORDS, action, no_reboot)
    assert said == "panic by sysrq-trigger asked for, its words are in kmsg"
    assert (tmp_path / "dev/kmsg").read_text() == f"{level}{WORDS}\n"
    assert (tmp_path / "proc/sysrq-trigger").read_bytes() == key


def test_the_words_come_first() -> None:
    root = LyingRoot()
    panic(root, WORDS, "sysrq", no_reboot)
    assert root.written == [("dev/kmsg", f"<0>{WORDS}\n".encode()), ("proc/sysrq-trigger", b"c")]


def test_defer_only_warns(fake_tree: FakeTree, tmp_path: Path) -> None:
    root = fake_tree({"dev/kmsg": b"", "proc/sysrq-trigger": b""})
    said = panic(root, WORDS, "defer", no_reboot)
    assert said == "panic left to the kernel, its words are in kmsg"
    assert (tmp_path / "dev/kmsg").read_text() == f"<4>{WORDS}\n"
    assert (tmp_path / "proc/sysrq-trigger").read_bytes() == b""


def test_the_words_are_one_line(fake_tree: FakeTree, tmp_path: Path) -> None:
    panic(fake_tree({"dev/kmsg": b""}), "one\n<0>two", "defer", no_reboot)
    assert (tmp_path / "dev/kmsg").read_text() == "<4>one\\x0a<0>two\n"


def test_no_kmsg_does_not_stop_it(fake_tree: FakeTree, tmp_path: Path) -> None:
    said = panic(fake_tree({"proc/sysrq-trigger": b""}), WORDS, "sysrq", no_reboot)
    assert said.endswith("its words could not be written: dev/kmsg: ENOENT")
    assert (tmp_path / "proc/sysrq-trigger").read_bytes() == b"c"


def test_without_sysrq_a_recorded_tree_reboots_nobody(fake_tree: FakeTree) -> None:
    for action in ("sysrq", "reboot"):
        said = panic(fake_tree({"dev/kmsg": b""}), WORDS, action, no_reboot)
        assert said == "panic refused: proc/sysrq-trigger: ENOENT; its words are in kmsg"


def test_without_sysrq_a_live_machine_is_rebooted_by_call() -> None:
    called = []

    def refused() -> int:
        called.append(True)
        return -errno.EPERM

    said = panic(RefusingRoot(), WORDS, "reboot", refused)
    assert called == [True]
    assert said.startswith("reboot refused: proc/sysrq-trigger: EROFS, EPERM;")


def test_a_crash_that_is_refused_is_no_reboot() -> None:
    assert panic(RefusingRoot(), WORDS, "sysrq", no_reboot).startswith("panic refused: ")
