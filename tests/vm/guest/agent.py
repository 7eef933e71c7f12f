"""The guest's end of the harness: does what the host asks, and outlives what the host provokes.

It holds all its memory before it says hello, is exempt from the kernel's choice, and loads nothing
later. Each request occupies one of a fixed set of threads, so that a wait delays no other request.
"""

import ctypes
import gc
import json
import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.vm.guest import log
from tests.vm.guest.children import Children, run, wait_until_gone
from tests.vm.guest.protocol import PORT_NAME, decode, encode

THREADS = 24
STACK_BYTES = 256 * 1024
HEAP_RESERVE_BYTES = 16 * 1024 * 1024
WRITE_BYTES = 4096
"""What is written at once: the driver copies it to a buffer, and one page it can always get."""

Arguments = dict[str, Any]

PORT_PATIENCE_S = 60.0


# --- memory -------------------------------------------------------------------------------------


def hold_memory() -> None:
    """Grows the heap, which the unit tells malloc never to shrink, and locks all there is."""
    bytearray(HEAP_RESERVE_BYTES)
    mcl_current, mcl_future, mcl_onfault = 1, 2, 4
    libc = ctypes.CDLL(None, use_errno=True)
    # From then on only what is touched: the journal's files are mapped in windows of megabytes.
    for flags in (mcl_current | mcl_future, mcl_future | mcl_onfault):
        if libc.mlockall(flags) != 0:
            raise OSError(ctypes.get_errno(), "mlockall")
    gc.freeze()


# --- what the host may ask for ------------------------------------------------------------------


class Agent:
    """The operations; each takes the request's arguments by name and returns plain JSON."""

    def __init__(self) -> None:
        self.children = Children()

    def op_ping(self) -> None:
        return None

    def op_run(self, argv: list[str], oom_score_adj: int, timeout_s: float) -> Arguments:
        returncode, stdout, stderr = run(self.children, argv, oom_score_adj, timeout_s)
        return {"returncode": returncode, "stdout": encode(stdout), "stderr": encode(stderr)}

    def op_start(self, argv: list[str], oom_score_adj: int) -> int:
        return self.children.start(argv, oom_score_adj).pid

    def op_wait(self, pid: int, timeout_s: float) -> Arguments:
        child = self.children.get(pid)
        returncode = self.children.wait(child, timeout_s)
        stdout, stderr = encode(child.stdout), encode(child.stderr)
        return {"returncode": returncode, "stdout": stdout, "stderr": stderr}

    def op_poll(self, pid: int) -> int | None:
        return self.children.get(pid).returncode

    def op_wait_line(self, pid: int, pattern: str, timeout_s: float) -> str:
        return self.children.wait_line(self.children.get(pid), pattern, timeout_s)

    def op_kill(self, pid: int, signal: int) -> None:
        self.children.kill(self.children.get(pid), signal)

    def op_wait_exit(self, pid: int, timeout_s: float) -> None:
        wait_until_gone(pid, timeout_s)

    def op_put(self, path: str, data: str, mode: int, append: bool) -> None:
        flags = os.O_WRONLY | os.O_CREAT | (os.O_APPEND if append else os.O_TRUNC)
        with open(os.open(path, flags, mode), "wb", buffering=0) as file:
            file.write(decode(data))
            # /proc/sys refuses even to be given the mode that it has.
            if not append and stat.S_IMODE(os.fstat(file.fileno()).st_mode) != mode:
                os.fchmod(file.fileno(), mode)

    def op_get(self, path: str, offset: int, size: int) -> str:
        with open(path, "rb", buffering=0) as file:
            file.seek(offset)
            return encode(file.read(size))

    def op_cursor(self) -> log.Cursor:
        return log.cursor_now()

    def op_journal(self, since: list[Any], unit: str | None, kernel: bool) -> list[str]:
        return [entry["MESSAGE"] for entry in log.entries(log.Cursor(*since), unit, kernel)]

    def op_wait_journal(
        self, pattern: str, since: list[Any], unit: str | None, kernel: bool, timeout_s: float
    ) -> log.Entry:
        return log.wait_for_entry(pattern, log.Cursor(*since), unit, kernel, timeout_s)


# --- the channel --------------------------------------------------------------------------------


def find_port() -> str:
    """The device of the port that the host listens on; empty while there is none."""
    ports = "/sys/class/virtio-ports"
    try:
        for port in os.listdir(ports):
            with open(f"{ports}/{port}/name") as name:
                if name.read().strip() == PORT_NAME and os.path.exists(f"/dev/{port}"):
                    return f"/dev/{port}"
    except FileNotFoundError:
        pass
    return ""


def open_port() -> int:
    """Opens the virtio port; its drivers are modules, and udev may not have come to them yet."""
    modprobe = ["modprobe", "-a", "virtio_pci", "virtio_console"]
    os.waitpid(os.posix_spawn("/sbin/modprobe", modprobe, os.environ), 0)
    # A port comes after its driver, and its name after the port: the kernel announces neither here.
    deadline = time.monotonic() + PORT_PATIENCE_S
    while time.monotonic() < deadline:
        device = find_port()
        if device:
            return os.open(device, os.O_RDWR | os.O_CLOEXEC)
        time.sleep(0.02)
    raise RuntimeError(f"there is no virtio port called {PORT_NAME}")


class Channel:
    """Reads requests into a queue and writes answers, whole lines both ways."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._write_lock = threading.Lock()
        self._requests: deque[Arguments] = deque()
        self._queued = threading.Semaphore(0)

    def send(self, message: Arguments) -> None:
        line = memoryview(json.dumps(message).encode() + b"\n")
        with self._write_lock:
            while line:
                line = line[os.write(self._fd, line[:WRITE_BYTES]) :]

    def next_request(self) -> Arguments:
        self._queued.acquire()
        return self._requests.popleft()

    def read_forever(self) -> None:
        """Never does any work itself, so that the host never waits to be read."""
        parts: list[bytes] = []
        # The driver hands out a page at a time: a long line is joined once, when it is whole.
        while data := os.read(self._fd, 65536):
            first, *others = data.split(b"\n")
            parts.append(first)
            for other in others:
                self._requests.append(json.loads(b"".join(parts)))
                self._queued.release()
                parts = [other]


def serve(agent: Agent, channel: Channel) -> None:
    """One of the threads: takes a request, answers it, for ever."""
    while True:
        request = channel.next_request()
        answer: Arguments = {"id": request["id"]}
        try:
            operation: Callable[..., Any] = getattr(agent, f"op_{request['op']}")
            answer["ok"] = operation(**request["args"])
        except TimeoutError as error:
            answer |= {"kind": "timeout", "error": str(error)}
        except Exception as error:  # whatever it is, the host is told, and the agent lives
            answer |= {"kind": "failed", "error": f"{type(error).__name__}: {error}"}
        channel.send(answer)


def main() -> None:
    threading.stack_size(STACK_BYTES)
    channel = Channel(open_port())

    def tell_and_die(failure: threading.ExceptHookArgs) -> None:
        """A thread that failed would be missed for ever by who waits for it: the host is told."""
        error = failure.exc_value or failure.exc_type()
        sys.__excepthook__(failure.exc_type, error, failure.exc_traceback)
        channel.send({"died": repr(error)})
        os._exit(1)

    threading.excepthook = tell_and_die
    agent = Agent()
    for number in range(THREADS):
        name = f"request-{number}"
        threading.Thread(target=serve, args=(agent, channel), name=name, daemon=True).start()
    log.warm_up()
    hold_memory()
    channel.send({"hello": os.getpid()})
    channel.read_forever()
    sys.exit("the host has closed the channel")


if __name__ == "__main__":
    main()
