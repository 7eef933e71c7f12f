"""A real worker, driven over a real channel, as the sentinel drives it."""

import json
import os
import select
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from oomd import wire
from oomd.helpers import spawn

__all__ = [
    "ENOUGH_MS",
    "DrivenWorker",
    "RawClient",
    "answer_one",
    "builtin",
    "children_of",
    "freed",
    "hostile",
    "plan",
    "wait_gone",
    "with_clients",
]

# A deadline that only a hang would miss, and a patience that only a defect would.
ENOUGH_MS = 60_000
_PATIENCE_MS = 120_000


def hostile(*attributes: str) -> list[dict[str, str]]:
    """Entries of a plan for plugins of :mod:`tests.notifier.hostile`."""
    module = "tests.notifier.hostile"
    return [{"source": f"entry point {one}", "module": module, "attr": one} for one in attributes]


def builtin(name: str, priority: int = 0, **options: object) -> dict[str, object]:
    return {"name": name, "priority": priority, "deadline_ms": ENOUGH_MS, "options": options}


def plan(**changes: Any) -> dict[str, Any]:
    """A plan as the configuration's helper writes it; generous, so that only hangs are late."""
    return {
        "deadline_ms": ENOUGH_MS,
        "chain_deadline_ms": ENOUGH_MS,
        "clients": "all",
        "user_priority_max": 0,
        "max_clients": 32,
        "plugin_memory_mib": 64,
        "watch_devices": False,
        "builtin": [],
        "plugins": [],
        "options": {},
        **changes,
    }


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def wait_gone(pid: int) -> None:
    """Wait for the end of a process that need not be our child."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    try:
        assert poll.poll(_PATIENCE_MS), f"{pid} is still there"
    finally:
        os.close(pidfd)


def children_of(pid: int) -> set[int]:
    """The children of a process, as the kernel lists them."""
    children: set[int] = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        children |= {int(one) for one in (task / "children").read_text().split()}
    return children


class RawClient:
    """The other end of the socket, without any manners of its own."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            # Without a timeout: with one a full backlog would be an error at once.
            self.socket.connect(str(path))
        except BaseException:
            self.socket.close()
            raise
        self.socket.settimeout(_PATIENCE_MS / 1000)

    def send(self, message: Mapping[str, object] | bytes) -> None:
        self.socket.send(message if isinstance(message, bytes) else json.dumps(message).encode())

    def receive(self) -> dict[str, Any] | None:
        """The next message; None: the conversation is over."""
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return None
        return wire.decode(data) if data else None

    def register(self, name: str, priority: int = 0) -> dict[str, Any]:
        self.send({"op": "register", "api": 1, "name": name, "priority": priority})
        answer = self.receive()
        assert answer is not None
        return answer

    def ask(self, **question: object) -> list[dict[str, Any]]:
        """All that is said up to the ``end``, or up to a refusal."""
        self.send(question)
        answers = []
        while (answer := self.receive()) is not None and answer["op"] != "end":
            answers.append(answer)
        return answers

    def close(self) -> None:
        self.socket.close()


class DrivenWorker:
    """The worker's sentinel. As a context: whatever is still there is ended at its end."""

    def __init__(
        self,
        folder: Path,
        document: Mapping[str, Any] | bytes,
        *,
        listens: bool = True,
        module: str = "oomd.notifier.worker",
    ) -> None:
        self.path = folder / "notify.sock"
        self._clients: list[RawClient] = []
        self._log = b""
        self.lines: list[str] = []
        """What was logged so far."""
        self._log_fd, log = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.channel.settimeout(_PATIENCE_MS / 1000)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(self.path))
        self._listener.listen(16)
        plan_fd = os.memfd_create("plan")
        os.write(plan_fd, document if isinstance(document, bytes) else _json(document))
        listen_fd = self._listener.fileno() if listens else -1
        fds = {"--channel": theirs.fileno(), "--listen": listen_fd, "--plan": plan_fd}
        # Its stderr is the pipe: only while it is started is that ours, too.
        ours = os.dup(2)
        os.dup2(log, 2)
        try:
            self.pid = spawn(
                module,
                [word for option, fd in fds.items() for word in (option, str(fd))],
                inherited=[fd for fd in fds.values() if fd >= 0],
                data_bytes=-1,
                ends_with_us=True,
            )
        finally:
            os.dup2(ours, 2)
            os.close(ours)
        self.pidfd = os.pidfd_open(self.pid)
        os.close(plan_fd)
        os.close(log)
        theirs.close()
        self.seq = 0

    # --- as the sentinel

    def receive(self) -> dict[str, Any]:
        data = self.channel.recv(65536)
        assert data, "the worker has gone"
        return wire.decode(data)

    def until_registered(self, count: int) -> None:
        """Wait for the worker to know so many notifiers."""
        while (message := self.receive()) != {"op": "registered", "count": count}:
            assert message["op"] == "registered", message

    def send_oom(self, deadline_ms: int = ENOUGH_MS, wanted_bytes: int = 1 << 30) -> None:
        self.seq += 1
        question = {"op": "oom", "seq": self.seq, "wanted_bytes": wanted_bytes}
        about = {"reason": "exhaustion", "constraint": "CONSTRAINT_NONE"}
        self.channel.send(wire.encode({**question, "deadline_ms": deadline_ms, **about}))

    def results(self) -> list[dict[str, Any]]:
        """The results of the chain that was asked for last, to its end."""
        results = []
        while (message := self.receive()) != {"op": "done", "seq": self.seq}:
            if message["op"] != "registered":
                assert message["op"] == "result" and message["seq"] == self.seq, message
                results.append(message)
        return results

    def oom(self, deadline_ms: int = ENOUGH_MS) -> dict[str, dict[str, Any]]:
        """A whole chain: the results by name, in order."""
        self.send_oom(deadline_ms)
        return {one["name"]: one for one in self.results()}

    def calm(self) -> None:
        self.channel.send(wire.encode({"op": "calm"}))

    # --- what it does beside that

    def client(self) -> RawClient:
        client = RawClient(self.path)
        self._clients.append(client)
        return client

    def listing(self) -> dict[str, dict[str, Any]]:
        """What ``list`` says, by name; by source where there is none."""
        client = RawClient(self.path)
        try:
            answers = client.ask(op="list")
        finally:
            client.close()
        return {one["name"] or one["source"]: one for one in answers}

    def until(self, done: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
        """Ask who there is until it is as wanted."""
        for _ in range(_PATIENCE_MS // 20):
            if done(self.listing()):
                return
            select.select([], [], [], 0.02)
        raise AssertionError(f"still {self.listing()}; {self.lines}")

    def until_ready(self, name: str) -> None:
        self.until(lambda listed: name in listed and listed[name]["state"] == "ready")

    def logged(self, words: str) -> str:
        """The first line with these words in it; waits for it. It is taken out of ``lines``."""
        for line in self._all_lines():
            if words in line:
                self.lines.remove(line)
                return line
        raise AssertionError(f"nobody said {words!r}: {self.lines}")

    def rest_of_the_log(self) -> list[str]:
        """All lines up to the end of the worker, which is waited for."""
        for _ in self._all_lines():
            pass
        return self.lines

    def _all_lines(self) -> Iterator[str]:
        yield from tuple(self.lines)
        poll = select.poll()
        poll.register(self._log_fd, select.POLLIN)
        while poll.poll(_PATIENCE_MS):
            data = os.read(self._log_fd, 65536)
            *lines, self._log = (self._log + data).split(b"\n")
            new = [line.decode("utf-8", "backslashreplace") for line in lines]
            self.lines += new
            yield from new
            if not data:
                return

    # --- its end

    def wait(self) -> int:
        """How it ends: its exit code. It has to end by itself."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        assert poll.poll(_PATIENCE_MS), "the worker is still there"
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        return os.waitstatus_to_exitcode(status)

    def hang_up(self) -> int:
        """The sentinel vanishes."""
        self.channel.close()
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in self._clients:
            client.close()
        try:
            if self.pid:
                assert self.hang_up() == 0
        finally:
            self.channel.close()
            self._listener.close()
            os.close(self.pidfd)
            os.close(self._log_fd)


def freed(seq: int, size_bytes: int = 4096, **more: object) -> dict[str, object]:
    return {"op": "freed", "seq": seq, "bytes": size_bytes, **more}


def answer_one(client: RawClient, size_bytes: int) -> dict[str, Any]:
    """Be asked, and answer."""
    question = client.receive()
    assert question is not None and question["op"] == "oom"
    client.send(freed(question["seq"], size_bytes))
    return question


def with_clients(worker: DrivenWorker, *names: str) -> list[RawClient]:
    clients = [worker.client() for _ in names]
    for priority, (client, name) in enumerate(zip(clients, names, strict=True)):
        assert client.register(name, -priority)["op"] == "registered"
    worker.until_registered(len(names))
    return clients
