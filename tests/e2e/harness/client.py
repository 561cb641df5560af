"""A client that writes the bytes it is given and reads answers strictly."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import struct
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from .wire import Body, Cut, Head, Wire, framing_of

BODILESS = (204, 304)


@dataclass(frozen=True)
class Response:
    """One final response, the interim ones before it, and its body as it came."""

    interim: tuple[Head, ...]
    head: Head
    body: Body

    @property
    def status(self) -> int:
        """The status code."""
        return status_of(self.head)

    @property
    def data(self) -> bytes:
        """The body. Raises AssertionError when it was cut."""
        assert self.body.complete, f"the body was cut after {self.body.count} bytes"
        return self.body.data

    def values(self, name: str) -> list[str]:
        """Every value of a field."""
        return self.head.values(name)

    def value(self, name: str) -> str | None:
        """The one value of a field, or None."""
        return self.head.value(name)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.data)


def status_of(head: Head) -> int:
    """The status code of a response's head. Raises AssertionError when its first line is no status line of HTTP/1."""
    version, _, rest = head.start.partition(b" ")
    assert version in (b"HTTP/1.1", b"HTTP/1.0"), head.start
    assert rest[3:4] == b" ", f"no reason phrase's space in {head.start!r}"
    return int(rest[:3])


def reset(sock: socket.socket) -> None:
    """Close with a RST instead of a FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Client:
    """One connection to the gateway.

    `timeout` is seconds for each single wait. `window` asks for a small receive buffer, in bytes.
    """

    def __init__(self, port: int, timeout: float = 30.0, window: int | None = None) -> None:
        self.sock = socket.socket()
        try:
            if window is not None:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            self.sock.settimeout(timeout)
            self.sock.connect(("127.0.0.1", port))
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            self.sock.close()
            raise
        self.wire = Wire(self.sock)
        self._method = "GET"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        """Write `data`; a request's first word is remembered, as the answer to HEAD has no body."""
        word = data.partition(b" ")[0]
        if word.isalpha() and word.isupper():
            self._method = word.decode()
        self.sock.sendall(data)

    def push(self, data: bytes) -> bool:
        """Write `data` to a peer that may have hung up; False when it had."""
        with contextlib.suppress(ConnectionError, BrokenPipeError):
            self.sock.sendall(data)
            return True
        return False

    def head(self) -> Head:
        """The next head, interim or final."""
        return self.wire.head()

    def read(self) -> Response:
        """The final response to the request sent last. Raises Cut when the connection ends before its body."""
        interim: list[Head] = []
        while status_of(head := self.head()) < 200 and status_of(head) != 101:
            interim.append(head)
        return Response(tuple(interim), head, self.body_of(head))

    def body_of(self, head: Head) -> Body:
        """Read the body that `head` announces."""
        framing, length = framing_of(head)
        if self._method == "HEAD" or status_of(head) in BODILESS:
            framing = "none"
        elif framing == "none":
            framing = "close"
        return self.wire.body(framing, length)

    def ask(self, data: bytes) -> Response:
        """Send and read."""
        self.send(data)
        return self.read()

    def hung_up(self) -> bool:
        """Wait, within the timeout, for the gateway to close; False when a byte came or nothing did."""
        try:
            return self.wire.ended()
        except Cut:
            return True
        except TimeoutError:
            return False

    def silent(self, seconds: float) -> bool:
        """True when neither a byte nor an end comes for so many seconds."""
        return not select.select([self.sock], [], [], seconds)[0]

    def half_close(self) -> None:
        """End the sending side only."""
        self.sock.shutdown(socket.SHUT_WR)

    def leave(self) -> None:
        """Close the connection in the usual way."""
        self.sock.close()

    def reset(self) -> None:
        """Close the connection with a RST."""
        reset(self.sock)
