"""The socket that a service manager listens on (sd_notify(3)), for tests that are the manager."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# Seconds that any one message may take.
PATIENCE = 20.0
_CREDENTIALS = struct.Struct("3i")


class Message(NamedTuple):
    """One datagram: its lines, by what stands before `=`, and the process that sent it."""

    lines: dict[str, str]
    sender: int


class NotifySocket:
    """:param address: as it stands in `NOTIFY_SOCKET`."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._sock.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def next(self, within: float = PATIENCE) -> Message:
        """The next message; TimeoutError when none comes for so many seconds."""
        self._sock.settimeout(within)
        data, ancillary, _, _ = self._sock.recvmsg(4096, socket.CMSG_SPACE(_CREDENTIALS.size))
        sender = _CREDENTIALS.unpack(ancillary[0][2])[0]
        pairs = (line.split("=", 1) for line in data.decode().split("\n"))
        return Message({name: value for name, value in pairs}, sender)

    def await_state(self, name: str) -> Message:
        """The next message with such a line, pings aside; another state before it is a failure."""
        while True:
            message = self.next()
            if name in message.lines:
                return message
            unexpected = message.lines.keys() & {"READY", "RELOADING", "STOPPING"}
            assert not unexpected, f"{name} was to come, not {message.lines}"

    def rest(self) -> list[Message]:
        """All that has come and was not read."""
        found = []
        with contextlib.suppress(TimeoutError, BlockingIOError):
            while True:
                found.append(self.next(0))
        return found

    def silent(self, name: str, seconds: float) -> bool:
        """Whether no message with such a line comes for so long."""
        end = time.monotonic() + seconds
        with contextlib.suppress(TimeoutError):
            while (left := end - time.monotonic()) > 0:
                if name in self.next(left).lines:
                    return False
        return True

    def close(self) -> None:
        self._sock.close()
        if not self.address.startswith("@"):
            os.unlink(self.address)


@contextlib.contextmanager
def notify_socket(address: Path | str) -> Iterator[NotifySocket]:
    """Listen for as long as the block lasts."""
    sock = NotifySocket(str(address))
    try:
        yield sock
    finally:
        sock.close()
