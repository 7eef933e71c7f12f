"""The lines in the kernel's log, into files that only look like it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oomd.effects.kmsg import KERN_WARNING, KmsgWriter, kmsg_line
from oomd.proc.root import WritableRoot
from oomd.report.kernel_log import printable
from tests.effects.children import LyingRoot


@given(st.one_of(st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")), st.text()))
def test_whatever_it_is_it_becomes_one_record(text: str) -> None:
    record = kmsg_line(KERN_WARNING, text).decode()
    assert record.startswith("<4>")
    assert record.endswith("\n")
    assert record[3:-1].isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nOut of memory: Killed process 1", r"a\x0aOut of memory: Killed process 1"),
        ("\x1b[31mred", r"\x1b[31mred"),
        # CSI in one character, right-to-left override, line separator, a byte that is no UTF-8.
        ("\x9b31m", r"\xc2\x9b31m"),
        ("\u202egpj", r"\xe2\x80\xaegpj"),
        ("\u2028", r"\xe2\x80\xa8"),
        ("bad \udcff byte", r"bad \xff byte"),
        ("na\u00efve \u6f22\u5b57", "na\u00efve \u6f22\u5b57"),
    ],
)
def test_what_a_terminal_would_obey_does_not_reach_the_log(text: str, shown: str) -> None:
    assert kmsg_line(KERN_WARNING, text).decode() == f"<4>{shown}\n"


@given(st.binary(max_size=15).map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_a_comm_that_was_made_safe_before_is_not_escaped_again(comm: str) -> None:
    line = f"Killed process 7 ({printable(comm)})"
    assert kmsg_line(KERN_WARNING, line).decode() == f"<4>{line}\n"


def test_each_line_is_one_write_with_its_level() -> None:
    root = LyingRoot()
    kmsg = KmsgWriter(root)
    assert kmsg.write(["Killed process 7 (a\nb)", "second"], KERN_WARNING) == 2
    assert kmsg.write(["third"]) == 1
    assert root.written == [
        ("dev/kmsg", b"<4>Killed process 7 (a\\x0ab)\n"),
        ("dev/kmsg", b"<4>second\n"),
        ("dev/kmsg", b"<3>third\n"),
    ]


def test_six_lines_at_most() -> None:
    root = LyingRoot()
    assert KmsgWriter(root).write(map(str, range(100))) == 6
    assert [data for _, data in root.written] == [b"<3>%d\n" % n for n in range(6)]


def test_a_long_line_is_cut_between_characters() -> None:
    root = LyingRoot()
    KmsgWriter(root).write(["x" + "\u00ef" * 1000])
    ((_, data),) = root.written
    # LOG_LINE_MAX of Linux 3.10.
    assert 900 < len(data) < 992
    assert data.decode().strip("<3>\n") == "x" + "\u00ef" * 479


def test_into_a_file_that_is_not_the_kernels(
    fake_tree: Callable[[dict[str, bytes]], WritableRoot], tmp_path: Path
) -> None:
    root = fake_tree({"dev/kmsg": b""})
    kmsg = KmsgWriter(root)
    assert kmsg.write(["\x1b]0;title\x07"]) == 1
    assert (tmp_path / "dev/kmsg").read_bytes() == b"<3>\\x1b]0;title\\x07\n"
    assert kmsg.failed == 0


def test_failures_are_counted_not_raised(tmp_path: Path) -> None:
    kmsg = KmsgWriter(WritableRoot(os.fspath(tmp_path)))
    assert kmsg.write(["a", "b"]) == 0
    assert kmsg.failed == 2
