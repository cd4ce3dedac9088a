"""Ports of this machine for the servers of tests."""

import random
import socket
from contextlib import ExitStack

# Below 32768, where Linux begins to give ports to outgoing connections: none of these takes the port meanwhile.
POSSIBLE = range(20000, 32000)


def free_port() -> int:
    """A port that nobody uses; the next one is free too."""
    while True:
        port = random.SystemRandom().choice(POSSIBLE)  # tests seed the common generator
        with ExitStack() as stack:
            probes = [stack.enter_context(socket.socket()) for _ in range(2)]
            try:
                for offset, probe in enumerate(probes):
                    probe.bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port
