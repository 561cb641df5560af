"""WebSockets by the byte: both ends of one through the gateway, in the hands of one test."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from .backend import PATIENCE, Backend, Peer
from .client import Response
from .gateway import Gateway, request
from .wire import Cut, Head, Wire

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""The key of RFC 6455's examples."""
MASK = bytes((0x37, 0xFA, 0x21, 0x3D))
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
FIELDS = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}")


def accept(key: str = KEY) -> str:
    """What an upstream answers to a key (RFC 6455 section 4.2.2)."""
    return base64.b64encode(hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()).decode()


def switching(*fields: str, key: str = KEY) -> bytes:
    """An upstream's 101; `fields` are whole lines."""
    lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
    return "\r\n".join([*lines, f"Sec-WebSocket-Accept: {accept(key)}", *fields, "", ""]).encode()


def frame(opcode: int, payload: bytes = b"", *, mask: bytes = b"", fin: bool = True) -> bytes:
    """One frame, masked when `mask` is given (RFC 6455 section 5.2)."""
    count, bit = len(payload), 0x80 if mask else 0
    if count < 126:
        head = bytes((count | bit,))
    elif count < 1 << 16:
        head = bytes((126 | bit,)) + count.to_bytes(2, "big")
    else:
        head = bytes((127 | bit,)) + count.to_bytes(8, "big")
    hidden = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if mask else payload
    return bytes((opcode | (0x80 if fin else 0),)) + head + mask + hidden


def close(code: int, reason: str = "", *, mask: bytes = b"") -> bytes:
    """A Close frame."""
    return frame(CLOSE, code.to_bytes(2, "big") + reason.encode(), mask=mask)


@dataclass
class Side:
    """One end's bytes."""

    wire: Wire
    masks: bool
    head: Head

    def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.wire.sock.sendall(data)

    def say(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
        """Write a frame as this side must; the bytes."""
        data = frame(opcode, payload, mask=MASK if self.masks else b"", fin=fin)
        self.send(data)
        return data

    def take(self, count: int) -> bytes:
        """So many bytes of what comes. Raises AssertionError when the end comes before."""
        body = self.wire.body("length", count)
        assert body.complete, f"the end came after {body.data!r}"
        return body.data

    def take_close(self) -> tuple[int, str]:
        """Code and reason of the Close that must come next."""
        first, second = self.take(2)
        assert first == 0x80 | CLOSE, f"frame {first:#x}"
        mask = self.take(4) if second & 0x80 else bytes(4)
        payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.take(second & 0x7F)))
        assert bool(second & 0x80) is not self.masks, "masked in the wrong direction"
        return int.from_bytes(payload[:2], "big"), payload[2:].decode()

    def take_frame(self) -> tuple[int, bytes]:
        """Opcode and payload of the next frame, which must be a whole message."""
        first, second = self.take(2)
        assert first & 0xF0 == 0x80, f"frame {first:#x}"
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(self.take(2 if length == 126 else 8), "big")
        mask = self.take(4) if second & 0x80 else bytes(4)
        return first & 0xF, bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.take(length)))

    def rest(self) -> bytes:
        """All that comes until the end, however that comes about."""
        return self.wire.body("close").data

    def leave(self) -> None:
        """Close without a word."""
        self.wire.sock.close()

    def ended(self) -> bool:
        """Wait for the next byte or the end; whether it was the end."""
        with contextlib.suppress(Cut):
            return self.wire.ended()
        return True


@dataclass
class Pair:
    """A WebSocket's two ends, the gateway between them."""

    client: Side
    upstream: Side
    path: str

    def pass_on(self, data: bytes, *, to_client: bool) -> None:
        """Assert that these bytes come out as they went in."""
        source, target = (self.upstream, self.client) if to_client else (self.client, self.upstream)
        source.send(data)
        assert target.take(len(data)) == data


class Holding:
    """An answer that agrees to a WebSocket, and leaves the connection to the test."""

    def __init__(self, agreed: bytes) -> None:
        self._agreed = agreed
        self._peers: queue.Queue[Peer] = queue.Queue()
        self.done = threading.Event()

    def __call__(self, peer: Peer) -> None:
        peer.send(self._agreed)
        self._peers.put(peer)
        self.done.wait(PATIENCE)

    def side(self) -> Side:
        """The upstream's end."""
        peer = self._peers.get(timeout=PATIENCE)
        return Side(peer._wire, masks=False, head=peer.request.head)


@contextlib.contextmanager
def opened(
    gateway: Gateway,
    backend: Backend,
    *fields: str,
    agreed: bytes | None = None,
    under: str = "/ws",
    window: int | None = None,
) -> Iterator[Pair]:
    """A WebSocket that is open at both ends.

    `fields` are more lines of the client's, `agreed` is the upstream's answer, `window` the client's receive buffer.
    """
    holding = Holding(agreed or switching())
    path = backend.serve(holding, under=under)
    try:
        with gateway.client(window=window) as client:
            client.send(request("GET", path, *FIELDS, *fields))
            upstream = holding.side()
            head = client.head()
            assert head.start == b"HTTP/1.1 101 Switching Protocols", head.start
            yield Pair(Side(client.wire, masks=True, head=head), upstream, path)
    finally:
        holding.done.set()


def asked(gateway: Gateway, path: str, *fields: str) -> Response:
    """The answer to a handshake that is not agreed to."""
    return gateway.get(path, *FIELDS, *fields)
