"""Where the lines come from: a file or standard input, the kernel's ring, the journal.

A source yields numbered lines and asks back whether somebody is interested: while no report is
under way, a text file is searched for the few words that one can begin with, and nothing else is
looked at. Anything that yields such lines can be replayed.
"""

import os
import stat
from collections.abc import Callable, Iterator
from typing import BinaryIO

from oomd.cli_words import UsageError
from oomd.replay.prefix import Logged, logged

__all__ = ["Line", "ReplayError", "kernel_ring", "open_log", "text_lines"]

Line = tuple[int, Logged]

_BLOCK_BYTES = 1 << 20
# Longer than any line of a report, even with all of it in one; the rest of such a line is dropped.
_LINE_BYTES = 1 << 22
# More than any record that /dev/kmsg gives out (CONSOLE_EXT_LOG_MAX).
_KMSG_RECORD_BYTES = 8192
# Documentation/admin-guide/devices.txt: 11 = /dev/kmsg.
_KMSG_DEVICE = os.makedev(1, 11)

# One of these is in each line that a report may begin with. The last two are a journal's message
# that is no clean text, as a hostile comm makes it: an array of numbers.
_BEGINNINGS = (
    b"oom-killer:",
    b"ut of memory",
    b"illed process ",
    b"total_vm",
    b"Mem-Info:",
    b"pages RAM",
    b"kB, limit ",
    b"Linux version ",
    b'"MESSAGE":[',
    b'"MESSAGE" : [',
)

_MAGIC = (
    (b"\x1f\x8b", "compressed: zcat FILE | oomd replay -"),
    (b"\xfd7zXZ\0", "compressed: xzcat FILE | oomd replay -"),
    (b"BZh", "compressed: bzcat FILE | oomd replay -"),
    (b"\x28\xb5\x2f\xfd", "compressed: zstdcat FILE | oomd replay -"),
    (b"LPKSHHRH", "a journal: journalctl -k --file FILE | oomd replay -"),
)


class ReplayError(UsageError):
    """A log that cannot be read or judged."""


class _Search:
    """The next line of a block that a report may begin with."""

    __slots__ = ("_block", "_found")

    def __init__(self, block: bytes) -> None:
        self._block = block
        self._found = {word: block.find(word) for word in _BEGINNINGS}

    def next_from(self, at: int) -> int:
        """Where that line begins; the length of the block if there is none."""
        nearest = len(self._block)
        for word in _BEGINNINGS:
            if 0 <= self._found[word] < at:
                self._found[word] = self._block.find(word, at)
            if 0 <= self._found[word] < nearest:
                nearest = self._found[word]
        if nearest == len(self._block):
            return nearest
        return max(self._block.rfind(b"\n", 0, nearest) + 1, at)


def _read(stream: BinaryIO) -> bytes:
    try:
        return stream.read(_BLOCK_BYTES)
    except OSError as error:
        raise ReplayError(f"the log cannot be read to its end: {error.strerror}") from None


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    """Whole lines, many at a time; a line without an end is cut."""
    rest = b""
    dropping = False
    while block := _read(stream):
        if dropping:
            newline = block.find(b"\n")
            if newline < 0:
                continue
            # The newline stays: it ends the line that was cut.
            block, dropping = block[newline:], False
        block = rest + block
        end = block.rfind(b"\n") + 1
        rest = block[end:]
        if end:
            yield block[:end]
        if len(rest) > _LINE_BYTES:
            yield rest
            rest, dropping = b"", True
    if rest:
        yield rest


def text_lines(
    stream: BinaryIO, busy: Callable[[], bool], advance: Callable[[int], None]
) -> Iterator[Line]:
    """The lines of a text log that can matter. ``advance`` is told of the bytes gone through."""
    done = 0
    for block in _blocks(stream):
        search = _Search(block)
        at = 0
        while at < len(block):
            if not busy():
                start = search.next_from(at)
                done += block.count(b"\n", at, start)
                at = start
                if at == len(block):
                    break
            end = block.find(b"\n", at)
            end = len(block) if end < 0 else end
            yield done + 1, logged(block[at:end].decode("utf-8", "surrogateescape"))
            done += end < len(block)
            at = end + 1
        advance(len(block))


def kernel_ring(fd: int) -> Iterator[Line]:
    """All that ``/dev/kmsg`` holds now; it does not wait for more."""
    number = 0
    while True:
        try:
            record = os.read(fd, _KMSG_RECORD_BYTES)
        except BlockingIOError:
            return
        except BrokenPipeError:
            # Overtaken by new lines: it goes on with the oldest that is left.
            yield number, Logged("printk: messages suppressed", origin="kernel")
            continue
        except OSError as error:
            raise ReplayError(f"the kernel's ring cannot be read: {error.strerror}") from None
        number += 1
        # Below the message come the device's properties, indented.
        text = record.decode("utf-8", "surrogateescape").partition("\n")[0]
        yield number, logged(text)


def is_kernel_ring(fd: int) -> bool:
    """An open ``/dev/kmsg``, whatever it was called."""
    status = os.fstat(fd)
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == _KMSG_DEVICE


def open_log(name: str) -> int:
    """A descriptor of a log. Raises ReplayError."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError as error:
        hint = " (run it as root)" if isinstance(error, PermissionError) else ""
        raise ReplayError(f"{name}: cannot be read: {error.strerror}{hint}") from None
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        raise ReplayError(f"{name}: a folder: name a log in it")
    return fd


def refuse_what_is_no_text(name: str, head: bytes) -> None:
    """A file whose first bytes say that it has to be unpacked first. Raises ReplayError."""
    for magic, hint in _MAGIC:
        if head.startswith(magic):
            raise ReplayError(f"{name}: {hint.replace('FILE', name)}")
