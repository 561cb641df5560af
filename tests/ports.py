"""Ports of 127.0.0.1 for programs that listen on one they are told."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
from typing import Final

# Below the ports that the kernel gives to connections, so that none of those takes one that is meant for a listener,
# even one that stops and starts again.
LISTENERS: Final = range(10_000, 32_000)

# Tests that run side by side take turns: each process of theirs has every so many-th port.
_PROCESSES: Final = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_OWN: Final = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_turns: Final = itertools.count((os.getppid() if _PROCESSES > 1 else os.getpid()) * 97 * _PROCESSES + _OWN, _PROCESSES)


def free_port() -> int:
    """A port that nobody listens on just now, another one each time."""
    while True:
        port = LISTENERS[next(_turns) % len(LISTENERS)]
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port
