"""HTTP/1.1 framing read from a socket, strictly: one reader for the tests' clients and backends.

Heads are kept as the raw lines that came. A body knows how it was framed, how much came, its digest and whether its
end was a true one (RFC 9112 section 8); only its first `KEPT` bytes are held, so that large bodies cost no memory.
"""

from __future__ import annotations

import hashlib
import socket
from dataclasses import dataclass, field

KEPT = 8 << 20
BUFFER = 256 << 10


class Cut(Exception):
    """The peer closed or reset the connection where HTTP did not allow it; carries what had come."""

    def __init__(self, had: bytes) -> None:
        super().__init__(f"cut after {had[-200:]!r}")
        self.had = had


@dataclass(frozen=True)
class Head:
    """A start line and the field lines below it, byte for byte and in order, without their line ends."""

    start: bytes
    lines: tuple[bytes, ...]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Names in lower case, values stripped of the optional whitespace around them."""
        pairs = (line.decode("latin1").partition(":") for line in self.lines)
        return [(name.lower(), value.strip(" \t")) for name, _, value in pairs]

    def values(self, name: str) -> list[str]:
        """Every value of a field, in order."""
        return [value for known, value in self.fields if known == name.lower()]

    def value(self, name: str) -> str | None:
        """The one value of a field, None if it is absent. Raises AssertionError when it is repeated."""
        found = self.values(name)
        assert len(found) <= 1, f"{name} is repeated: {found}"
        return found[0] if found else None


@dataclass
class Body:
    """A message body as it came: `framing` is none, length, chunked or close."""

    framing: str
    count: int = 0
    kept: bytearray = field(default_factory=bytearray)
    complete: bool = False
    trailers: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        self._hash = hashlib.sha256()

    @property
    def data(self) -> bytes:
        """The whole body. Raises AssertionError when it was too large to be kept."""
        assert self.count <= KEPT, f"{self.count} bytes were not kept"
        return bytes(self.kept)

    @property
    def digest(self) -> str:
        """SHA-256 of what came, in hexadecimal."""
        return self._hash.hexdigest()

    def add(self, data: bytes | memoryview) -> None:
        """Count, hash and, while there is room, keep `data`."""
        self.count += len(data)
        self._hash.update(data)
        if len(self.kept) < KEPT:
            self.kept += data[: KEPT - len(self.kept)]


class Wire:
    """A buffered reader over a connected socket. Every read is bounded by the socket's own timeout."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._held = bytearray()

    def _fill(self) -> bool:
        """Take in what came; False at a clean end. Raises Cut on a reset."""
        try:
            data = self.sock.recv(BUFFER)
        except (ConnectionError, BrokenPipeError):
            raise Cut(bytes(self._held)) from None
        self._held += data
        return bool(data)

    def line(self) -> bytes:
        """One line without its CRLF. Raises Cut at any end before it, AssertionError on a bare LF."""
        while (end := self._held.find(b"\n")) < 0:
            if not self._fill():
                raise Cut(bytes(self._held))
        line = bytes(self._held[: end + 1])
        del self._held[: end + 1]
        assert line.endswith(b"\r\n"), f"bare LF in {line!r}"
        return line[:-2]

    def head(self) -> Head:
        """A start line and its fields, through the empty line."""
        start, lines = self.line(), []
        while line := self.line():
            lines.append(line)
        return Head(start, tuple(lines))

    def ended(self) -> bool:
        """Wait for the peer's next byte or its end; True when the end came. Raises Cut on a reset."""
        return not self._held and not self._fill()

    def _into(self, body: Body, count: int) -> None:
        taken = min(count, len(self._held))
        body.add(memoryview(bytes(self._held[:taken])))
        del self._held[:taken]
        count -= taken
        room = memoryview(bytearray(min(count, BUFFER)))
        while count:
            try:
                got = self.sock.recv_into(room[: min(count, BUFFER)])
            except (ConnectionError, BrokenPipeError):
                got = 0
            if not got:
                raise Cut(b"")
            body.add(room[:got])
            count -= got

    def _chunks(self, body: Body) -> None:
        while size := int(self.line().partition(b";")[0], 16):
            self._into(body, size)
            after = self.line()
            assert after == b"", f"chunk of {size} bytes runs on with {after!r}"
        body.trailers = tuple(iter(self.line, b""))

    def chunk(self) -> bytes:
        """The next chunk of a chunked body; empty for the last. Raises Cut when the connection ends before it."""
        body = Body("chunked")
        if size := int(self.line().partition(b";")[0], 16):
            self._into(body, size)
        self.line()
        return body.data

    def _to_the_end(self, body: Body) -> None:
        while True:
            body.add(bytes(self._held))
            self._held.clear()
            if not self._fill():
                return

    def body(self, framing: str, length: int = 0, into: Body | None = None) -> Body:
        """Read a body into `into`, a new one by default, so that others may watch it grow.

        A body whose end was cut comes back with `complete` false. Raises TimeoutError when the peer is silent.
        """
        body = into or Body(framing)
        body.framing = framing
        try:
            if framing == "length":
                self._into(body, length)
            elif framing == "chunked":
                self._chunks(body)
            elif framing == "close":
                self._to_the_end(body)
        except Cut:
            return body
        body.complete = True
        return body


def framing_of(head: Head) -> tuple[str, int]:
    """How the fields frame a body: its framing and its length, ("none", 0) when they name neither."""
    codings = head.values("transfer-encoding")
    lengths = head.values("content-length")
    assert not (codings and lengths), "both Transfer-Encoding and Content-Length"
    if codings:
        assert codings == ["chunked"], codings
        return "chunked", 0
    if lengths:
        assert len(lengths) == 1, lengths
        return "length", int(lengths[0])
    return "none", 0


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """`chunks` in the chunked coding, closed by `end`."""
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + end
