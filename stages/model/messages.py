"""Messages of two processes: a JSON object on each line."""

import json
import socket
import sys
from contextlib import suppress
from typing import Any

KEEP_ALIVE = {"TCP_KEEPIDLE": 5, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # a lost machine is noticed within 20 s
MOST = 2**20  # bytes of a message

Message = dict[str, Any]


def keep_alive(connection: socket.socket) -> None:
    """Wait without limit; fail when the host is silent for 20 s."""
    connection.settimeout(None)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items() if sys.platform == "linux" else ():
        connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def send(connection: socket.socket, message: Message) -> None:
    """Send a message; one to a process that is gone is lost.

    The connection itself tells, to whoever reads it, that the process is gone.
    """
    with suppress(OSError):
        connection.sendall(json.dumps(message).encode() + b"\n")


def receive(connection: socket.socket) -> Message | None:
    """The next line as a message.

    None at the end of the connection or when the line is no message.
    """
    line = bytearray()
    try:
        while not line.endswith(b"\n") and len(line) < MOST:
            byte = connection.recv(1)
            if not byte:
                return None
            line += byte
        message = json.loads(line)
    except (OSError, ValueError):
        return None
    return message if isinstance(message, dict) else None
