"""Asking without registering: ``list`` and ``run``, as ``oomd notifiers`` does."""

import socket
import struct
from typing import Any

from oomd import wire
from oomd.client.protocol import ANSWER_S, NotRunning, Refused, receive, send_first, unreachable

__all__ = ["ask"]


def ask(
    path: str,
    message: wire.Message,
    patience_s: float = ANSWER_S,
    setting: str = "notifiers.clients",
    room_s: int = 0,
) -> list[dict[str, Any]]:
    """The messages that answer a question, without the ``end`` that they end with.

    ``patience_s``: how long each of them may take. ``setting``: which one says who may ask.
    ``room_s``: how long to wait until others make room. Raises NotRunning and Refused.
    """
    answers: list[dict[str, Any]] = []
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
            if room_s:
                # struct timeval. Without blocking, a full queue is an error at once.
                patience = struct.pack("ll", room_s, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
            else:
                connection.settimeout(patience_s)
            connection.connect(path)
            connection.settimeout(patience_s)
            send_first(connection, wire.encode(message))
            while data := receive(connection):
                answer = wire.decode(data)
                if answer["op"] == "end":
                    return answers
                if answer["op"] == "refused":
                    raise Refused(wire.text(answer, "error", wire.MAX_BYTES))
                answers.append(answer)
    except OSError as error:
        raise unreachable(path, error, patience_s, setting) from None
    except wire.WireError as error:
        raise NotRunning(f"{path} sent {error}: is this oomd?") from None
    raise NotRunning(f"{path} was closed by oomd before it had answered")
