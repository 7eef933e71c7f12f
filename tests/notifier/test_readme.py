"""What README tells authors is true: its snippets run, its messages are those of the socket."""

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from oomd import wire
from oomd.client.question import ask
from oomd.notifier.chain import Result
from oomd.notifier.server import described
from oomd.testing import Harness

README = (Path(__file__).parents[2] / "README.md").read_text()
SECTION = README.partition("## Writing a notifier\n")[2].partition("\n## ")[0]
PLUGIN, TEST, CLIENT = (part.partition("```")[0] for part in SECTION.split("```python\n")[1:])

Message = dict[str, Any]


def table() -> dict[str, Message]:
    """The messages of the table, by op."""
    cells = [line.split("|")[2].strip() for line in SECTION.splitlines() if line.startswith("| ")]
    messages = [wire.decode(cell.strip("`").encode()) for cell in cells if cell.startswith("`")]
    return {message["op"]: message for message in messages}


MESSAGES = table()


def test_the_plugin_and_its_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "thumbnails.py").write_text(PLUGIN)
    folder = tmp_path / "folder"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, Any] = {}
    exec(compile(TEST, "README.md", "exec"), namespace)
    namespace["test_it_gives_memory_back"](folder)
    assert os.listdir(folder) == []


def test_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cache:
        def shrink(self, wanted_bytes: int) -> int:
            return wanted_bytes // 2

    with Harness() as oomd:
        monkeypatch.setenv("OOMD_NOTIFY_SOCKET", oomd.socket)
        namespace: dict[str, Any] = {"cache": Cache()}
        exec(compile(CLIENT, "README.md", "exec"), namespace)
        oomd.wait_until_ready("my-cache")
        released = oomd.release(1 << 20, name="my-cache")
        namespace["client"].close()
    assert (released.claimed_bytes, released.priority) == (1 << 19, 10)


def same_form(message: Message, documented: Message) -> None:
    """The same fields, with values of the same types."""
    assert {key: type(value) for key, value in message.items()} == {
        key: type(value) for key, value in documented.items()
    }


def hear(connection: socket.socket) -> Message:
    return wire.decode(connection.recv(wire.MAX_BYTES + 1))


def test_the_messages() -> None:
    with Harness() as oomd, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(30.0)
        connection.connect(oomd.socket)
        connection.send(json.dumps(MESSAGES["register"]).encode())
        same_form(hear(connection), MESSAGES["registered"])
        (listed,) = ask(oomd.socket, MESSAGES["list"])
        same_form(listed, MESSAGES["notifier"])

        if os.geteuid() == 0:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as roots:
                roots.settimeout(30.0)
                roots.connect(oomd.socket)
                roots.send(json.dumps(MESSAGES["run"]).encode())
                event = hear(connection)
                same_form(event, MESSAGES["oom"])
                connection.send(json.dumps({**MESSAGES["freed"], "seq": event["seq"]}).encode())
                result = hear(roots)
                same_form(result, MESSAGES["result"])
                assert result["claimed_bytes"] == MESSAGES["freed"]["bytes"]
                assert hear(roots) == MESSAGES["end"]
            (listed,) = ask(oomd.socket, MESSAGES["list"])
            documented = described(Result("x", 0, 0, ""))
            assert set(listed["last"]) == {*documented, "ago_s"}

        # The other name for the same thing is refused.
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as second:
            second.settimeout(30.0)
            second.connect(oomd.socket)
            second.send(json.dumps(MESSAGES["register"]).encode())
            same_form(hear(second), MESSAGES["refused"])
            assert second.recv(1) == b""


def test_failing_is_a_fault() -> None:
    with Harness() as oomd, socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(30.0)
        connection.connect(oomd.socket)
        connection.send(json.dumps(MESSAGES["register"]).encode())
        hear(connection)
        if os.geteuid() != 0:
            pytest.skip("only root may run one in a running worker")
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as roots:
            roots.settimeout(30.0)
            roots.connect(oomd.socket)
            roots.send(json.dumps(MESSAGES["run"]).encode())
            seq = hear(connection)["seq"]
            connection.send(json.dumps({**MESSAGES["failed"], "seq": seq}).encode())
            result = hear(roots)
        assert result["fault"] is True
        assert result["verdict"] == "failed: ..."


def test_every_message_is_in_the_table() -> None:
    assert set(MESSAGES) == {
        "register",
        "registered",
        "refused",
        "oom",
        "freed",
        "failed",
        "list",
        "notifier",
        "run",
        "result",
        "end",
    }
