"""Workers that misbehave, one for each thing that can go wrong: ``plan`` says which.

Started by the real :class:`WorkerProcess` in the place of the real worker.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from oomd import wire

PAGE = 4096


def say(channel: socket.socket, **message: Any) -> None:
    channel.send(wire.encode(message))


def result(channel: socket.socket, seq: int, name: str, claimed: int) -> None:
    say(
        channel,
        op="result",
        seq=seq,
        name=name,
        priority=3,
        claimed_bytes=claimed,
        verdict=f"claims {claimed // PAGE} pages",
        took_ms=1,
        mem_free_change_kib=-8,
        mem_available_change_kib=16,
    )


def answers(channel: socket.socket, seq: int) -> None:
    result(channel, seq, "one", 10 * PAGE)
    result(channel, seq, "two", 5 * PAGE)
    say(channel, op="done", seq=seq)


def answers_half(channel: socket.socket, seq: int) -> None:
    result(channel, seq, "one", 10 * PAGE)
    time.sleep(3600)


def answers_late(channel: socket.socket, seq: int) -> None:
    time.sleep(0.5)
    answers(channel, seq)


def crashes(channel: socket.socket, seq: int) -> None:
    os.kill(os.getpid(), 11)


def hangs_up(channel: socket.socket, seq: int) -> None:
    channel.close()
    time.sleep(3600)


def talks_nonsense(channel: socket.socket, seq: int) -> None:
    channel.send(b"\xff not json")


def lies_about_types(channel: socket.socket, seq: int) -> None:
    say(channel, op="result", seq=seq, name="one", priority="high", claimed_bytes=True)


def babbles(channel: socket.socket, seq: int) -> None:
    while True:
        say(channel, op="changed", what="nothing at all")


def answers_another(channel: socket.socket, seq: int) -> None:
    answers(channel, seq - 1)
    time.sleep(3600)


def talks_and_dies(channel: socket.socket, seq: int) -> None:
    channel.send(b"[]")
    os._exit(1)


KINDS: dict[str, Callable[[socket.socket, int], None]] = {
    kind.__name__: kind
    for kind in (
        answers,
        answers_another,
        answers_half,
        answers_late,
        babbles,
        crashes,
        hangs_up,
        lies_about_types,
        talks_and_dies,
        talks_nonsense,
    )
}


def main(argv: list[str]) -> int:
    options = dict(zip(argv[::2], map(int, argv[1::2]), strict=True))
    channel = socket.socket(fileno=options["--channel"])
    with open(options["--plan"]) as file:
        kind = json.load(file).get("kind", "idle")
    if kind == "idle":
        # Somebody has knocked: serve that one, and go.
        listener = socket.socket(fileno=options["--listen"])
        listener.accept()[0].send(b"hello")
        return wire.EXIT_IDLE
    say(channel, op="registered", count=2)
    while kind == "babbles_in_the_calm":
        say(channel, op="changed", what="nothing at all")
    if kind == "fails_at_once":
        return 0
    while data := channel.recv(wire.MAX_BYTES):
        message = wire.decode(data)
        if message["op"] == "calm":
            say(channel, op="changed", what="heard that it is calm")
        else:
            assert message["wanted_bytes"] > 0
            assert 0 < message["deadline_ms"] < 3_600_000
            KINDS[kind](channel, message["seq"])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
