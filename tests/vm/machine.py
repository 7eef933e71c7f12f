"""A virtual machine as a test sees it: boot it, run things in it, wait for what it logs.

    with Machine(image, log_dir=tmp_path) as machine:
        hog = machine.start("hog --mib 100 --hold")
        hog.wait_line("^ready")

Every timeout is an upper bound for a slow day and no more: what is waited for is an event. An
emulated machine takes 10 to 20 times as long as the real one.
"""

import io
import json
import shlex
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self, TypeVar

from tests.vm.channel import AgentError, AgentTimeout, Channel, ChannelClosed, NoAnswer
from tests.vm.guest.protocol import CHUNK_BYTES, decode, encode
from tests.vm.image import Image
from tests.vm.installed import tracked_files
from tests.vm.qemu import Hardware, Qemu
from tests.vm.qmp import Qmp

__all__ = ["CommandFailed", "Completed", "GuestError", "GuestProcess", "GuestTimeout", "Machine"]

BOOT_TIMEOUT_S = 300.0
TIMEOUT_S = 120.0
ANSWER_GRACE_S = 120.0
"""How much longer than its own timeout the agent may take to say so: the guest may be thrashing."""
CONSOLE_TAIL_LINES = 25

T = TypeVar("T")
Command = str | Sequence[str]


class GuestError(Exception):
    """The machine has failed: what happened in one line, then the end of its console."""


class GuestTimeout(GuestError):
    """What was waited for did not happen in time."""


class CommandFailed(GuestError):
    """A command in the guest ended with another status than 0."""


class Completed(NamedTuple):
    """How a command in the guest ended: a negative status is the signal that killed it."""

    returncode: int
    stdout: str
    stderr: str


class GuestProcess:
    """A process in the guest that runs in the background. It ends with the machine."""

    def __init__(self, machine: "Machine", pid: int) -> None:
        self._machine = machine
        self.pid = pid

    def wait(self, timeout_s: float = TIMEOUT_S) -> Completed:
        """Waits until it has ended."""
        answer = self._machine.call("wait", timeout_s, pid=self.pid)
        return _completed(answer)

    def poll(self) -> int | None:
        """Its exit status, or None while it lives."""
        returncode: int | None = self._machine.call("poll", pid=self.pid)
        return returncode

    def kill(self, signal: int = 9) -> None:
        """Sends a signal, if it has not ended yet."""
        self._machine.call("kill", pid=self.pid, signal=signal)

    def wait_line(self, pattern: str, timeout_s: float = TIMEOUT_S) -> str:
        """Waits for a line of its stdout that the pattern is found in, and returns that line."""
        line: str = self._machine.call("wait_line", timeout_s, pid=self.pid, pattern=pattern)
        return line


class Machine:
    """A booted machine. Its methods may be called from several threads at once."""

    def __init__(
        self,
        image: Image,
        *,
        log_dir: Path,
        memory_mib: int = 512,
        cpus: int = 2,
        memory_slots: int = 0,
        max_memory_mib: int = 0,
        cmdline_extra: str = "",
        qemu_args: Sequence[str] = (),
    ) -> None:
        log_dir.mkdir(parents=True, exist_ok=True)
        hardware = Hardware(
            memory_mib=memory_mib,
            cpus=cpus,
            memory_slots=memory_slots,
            max_memory_mib=max_memory_mib,
            cmdline_extra=cmdline_extra,
            qemu_args=qemu_args,
        )
        self._qemu = Qemu(image, hardware, log_dir)
        self._channel = Channel(self._qemu.agent)
        self._qmp = Qmp(self._qemu.qmp)
        try:
            self._explained(lambda: self._channel.wait_hello(BOOT_TIMEOUT_S))
            self._wait_booted()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the machine at once. May be called again."""
        self._qemu.kill()
        self._channel.close()
        self._qmp.close()

    # --- commands ---

    def run(
        self,
        command: Command,
        *,
        timeout_s: float = TIMEOUT_S,
        check: bool = True,
        oom_score_adj: int = 0,
    ) -> Completed:
        """Runs a command to its end: a string by the shell, a list as it is.

        What it leaves in the background lives on. Past its time it is killed, with its children.
        """
        argv = _argv(command)
        answer = self.call("run", timeout_s, argv=argv, oom_score_adj=oom_score_adj)
        completed = _completed(answer)
        if check and completed.returncode != 0:
            output = (completed.stdout + completed.stderr).strip()[-2000:]
            text = command if isinstance(command, str) else shlex.join(command)
            raise CommandFailed(f"in the guest, {text!r} ended with {completed[0]}: {output}")
        return completed

    def start(self, command: Command, *, oom_score_adj: int = 0) -> GuestProcess:
        """Starts a command in the background; a string is run by the shell, which it replaces."""
        argv = ["/bin/sh", "-c", f"exec {command}"] if isinstance(command, str) else list(command)
        return GuestProcess(self, self.call("start", argv=argv, oom_score_adj=oom_score_adj))

    def wait_exit(self, pid: int, timeout_s: float = TIMEOUT_S) -> None:
        """Waits until any process of the guest has exited; at once if there is none."""
        self.call("wait_exit", timeout_s, pid=pid)

    # --- files ---

    def put(self, path: str, data: bytes | str, mode: int = 0o644) -> None:
        """Writes a file."""
        content = data.encode() if isinstance(data, str) else data
        for offset in range(0, max(len(content), 1), CHUNK_BYTES):
            piece = encode(content[offset : offset + CHUNK_BYTES])
            self.call("put", path=path, data=piece, mode=mode, append=offset > 0)

    def get(self, path: str) -> bytes:
        """Reads a file; those of /proc too."""
        content = b""
        while True:
            answer = self.call("get", path=path, offset=len(content), size=CHUNK_BYTES)
            piece = decode(answer)
            if not piece:
                return content
            content += piece

    def put_tree(self, local_dir: Path, guest_dir: str) -> None:
        """Copies a Git working tree as it is now: what is tracked, and what is new and not ignored.

        Everything belongs to root there, and modes are kept.
        """
        archive = "/run/put-tree.tar.gz"
        self.put(archive, _tar_of_tree(local_dir))
        self.run(["mkdir", "-p", guest_dir])
        self.run(["tar", "-C", guest_dir, "-xzf", archive])
        self.run(["rm", archive])

    def vmstat(self, name: str) -> int:
        """A counter of /proc/vmstat, such as `oom_kill`."""
        # In one read: it is larger than what get() takes at a time, and changes in between.
        text = self.run(["cat", "/proc/vmstat"]).stdout
        counters = dict(line.split() for line in text.splitlines())
        return int(counters[name])

    # --- logs ---

    def journal_cursor(self) -> str:
        """Now, in both the journal and the kernel's log: what has been sent is before it."""
        return json.dumps(self.call("cursor"))

    def wait_journal(
        self,
        pattern: str,
        *,
        since: str,
        unit: str | None = None,
        kernel: bool = False,
        timeout_s: float = TIMEOUT_S,
    ) -> dict[str, Any]:
        """Waits for the first entry after `since` whose MESSAGE the pattern is found in.

        With `kernel`, among the lines of /dev/kmsg (what programs wrote there too); else in the
        journal, of one unit or of all. Times are in microseconds: `__MONOTONIC_TIMESTAMP`.
        """
        arguments = {"pattern": pattern, "unit": unit, "kernel": kernel}
        answer = self.call("wait_journal", timeout_s, since=json.loads(since), **arguments)
        entry: dict[str, Any] = answer
        return entry

    def journal(self, since: str, unit: str | None = None, kernel: bool = False) -> list[str]:
        """The messages after `since`, complete up to now."""
        since_point = json.loads(since)
        messages: list[str] = self.call("journal", since=since_point, unit=unit, kernel=kernel)
        return messages

    def console(self) -> str:
        """All that has come out of the serial console."""
        return self._qemu.console()

    # --- the machine itself ---

    def qmp(self, command: str, **arguments: Any) -> Any:
        """Runs a command of QEMU's machine protocol; `-` in an argument's name is written `_`."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        return self._qmp.command(command, named, TIMEOUT_S)

    def wait_panic(self, timeout_s: float = TIMEOUT_S) -> str:
        """Waits until the kernel has panicked and QEMU has ended; returns the console's text."""
        if not self._qemu.wait_end(timeout_s):
            raise GuestTimeout(self._with_console(f"no panic after {timeout_s:g} s"))
        console = self.console()
        if "Kernel panic" not in console:
            raise GuestError(self._with_console("the machine has ended without a panic"))
        return console

    def call(self, op: str, timeout_s: float | None = None, **arguments: Any) -> Any:
        """Has the agent do something. With a timeout, the agent is told, and answers in time."""
        if timeout_s is not None:
            arguments["timeout_s"] = timeout_s
        answer_timeout_s = (timeout_s or 0) + ANSWER_GRACE_S
        return self._explained(lambda: self._channel.call(op, arguments, answer_timeout_s))

    def _wait_booted(self) -> None:
        """Waits until systemd has started all it was to start, which may be with failed units."""
        wait = ["systemctl", "is-system-running", "--wait"]
        state = self.run(wait, timeout_s=BOOT_TIMEOUT_S, check=False).stdout.strip()
        if state not in {"running", "degraded"}:
            raise GuestError(self._with_console(f"the machine is {state!r} after its boot"))
        # systemd does not wait for drivers that udev is still loading.
        self.run(["udevadm", "settle"], timeout_s=BOOT_TIMEOUT_S)

    def _explained(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except AgentTimeout as error:
            raise GuestTimeout(str(error)) from None
        except AgentError as error:
            raise GuestError(f"in the guest: {error}") from None
        except (NoAnswer, ChannelClosed) as error:
            raise GuestError(self._with_console(str(error))) from None

    def _with_console(self, message: str) -> str:
        lines = self.console().splitlines()
        panics = [line for line in lines if "Kernel panic" in line]
        headline = ": ".join([message, *panics[:1]])
        tail = "\n".join(lines[-CONSOLE_TAIL_LINES:])
        return "\n".join(filter(None, [headline, self._qemu.errors(), "console:", tail]))


def _argv(command: Command) -> list[str]:
    return ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)


def _completed(answer: dict[str, Any]) -> Completed:
    stdout = decode(answer["stdout"]).decode(errors="replace")
    stderr = decode(answer["stderr"]).decode(errors="replace")
    return Completed(answer["returncode"], stdout, stderr)


def _tar_of_tree(directory: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as tar:
        for name in tracked_files(directory):
            tar.add(directory / name, arcname=name, recursive=False, filter=_owned_by_root)
    return buffer.getvalue()


def _owned_by_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info
