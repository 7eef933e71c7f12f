"""What both ends of the agent's channel agree on: JSON objects, one a line, over virtio-serial.

    host to guest   {"id": 7, "op": "run", "args": {...}}
    guest to host   {"hello": 1}                    once, when the agent is ready
                    {"id": 7, "ok": ...}            the answer; answers come in any order
                    {"id": 7, "error": "...", "kind": "timeout" | "failed"}
                    {"died": "..."}                 the last thing it says

Bytes travel as base64. The host sends files in pieces, so that no line is long.
"""

import base64

__all__ = ["CHUNK_BYTES", "PORT_NAME", "decode", "encode"]

PORT_NAME = "oomd.vm.agent"
"""The virtio port's name; the guest finds its device by it."""

CHUNK_BYTES = 256 * 1024
"""The most that one line carries of a file."""


def encode(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode("ascii")


def decode(text: str) -> bytes:
    return base64.b64decode(text)
