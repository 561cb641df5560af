"""One connection to an upstream: the bytes of a request out, the parsed answer in.

With `protocol` and `connector` the client side's only modules that stand on aiohttp's half-public parts.
`ClientSession.request` costs more than the rest of the gateway together (URL building, header merging, cookies,
redirects, timers), so the session gives its connector, the connector a connection, and its protocol is spoken to
directly.
"""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp.connector import Connection
from aiohttp.helpers import TimerNoop, set_exception
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from aiogateway.streams import PlainBody
from aiogateway.upstreams.protocol import UpstreamProtocol

# Bytes of an answer kept before reading pauses; aiohttp pauses at twice this.
ANSWER_BUFFER: Final = 64 * 1024
MAX_LINE: Final = 32 * 1024
MAX_FIELDS: Final = 200

_NO_TIMER: Final = TimerNoop()


def is_silent(descriptor: int) -> bool:
    """Whether nothing waits to be read from a socket, not even its end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return not poll.poll(0)


def head_size(data: bytes, fields: int) -> int:
    """How many bytes a head has; 0 when it goes on behind `data`, -1 when only a lax parser takes it.

    aiohttp's parser takes bare line feeds and folded lines (RFC 9112 sections 2.2, 5.2). A head that comes in pieces
    is taken as the parser reads it: that is safe, for no head is given on as it came.

    :param data: the first bytes of an answer.
    :param fields: how many the parser found.
    """
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return 0 if data.count(b"\n") == data.count(b"\r\n") else -1
    lines = data.count(b"\n", 0, end)
    return end + 4 if lines == fields and data.count(b"\r", 0, end) == lines else -1


class UpstreamConnection:
    """A connection taken from a session's connector, and never given back to it: its pool keeps it.

    :param now: the clock's time, in seconds.
    :ivar next_head: gives the head of the next answer, interim ones included, and its body's stream, to be awaited at
        once. Raises `aiohttp.ClientError` when the connection is lost, `HttpProcessingError` when what came can't be
        parsed.
    :ivar is_open: whether an idle one may be used.
    :ivar payload: the body that is being read, set by who reads it.
    :ivar address: the peer's, without its port.
    """

    __slots__ = (
        "_bodiless",
        "_connection",
        "_head_size",
        "_protocol",
        "address",
        "born",
        "idle_since",
        "is_open",
        "next_head",
        "payload",
        "reused",
    )

    def __init__(self, connection: Connection, now: float) -> None:
        protocol = connection.protocol
        if not isinstance(protocol, UpstreamProtocol):
            raise TypeError(f"the connector made a {type(protocol).__name__}")
        self._connection = connection
        self._protocol = protocol
        self.next_head: Callable[[], Awaitable[tuple[RawResponseMessage, StreamReader]]] = protocol.next_head
        self.is_open: Callable[[], bool] = protocol.is_open
        self.payload: StreamReader = EMPTY_PAYLOAD
        self._bodiless: bool | None = None
        self._head_size = 0
        peer = None if connection.transport is None else connection.transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        self.born = now
        self.idle_since = now
        self.reused = False

    def is_reusable(self) -> bool:
        """Whether it is open, and holds no bytes that nobody asked for."""
        return self._protocol.is_done()

    @property
    def answered(self) -> bool:
        """Whether a byte came since `begin`."""
        return self._protocol.answered

    def take_head(self, message: RawResponseMessage) -> bool:
        """Look at the first head of an answer; False when it is one that only a lax parser takes."""
        first, self._protocol.first = self._protocol.first, b""
        self._head_size = head_size(first, len(message.raw_headers))
        return self._head_size >= 0

    def saw_interim(self) -> None:
        """The head that was looked at is not that of the answer: where the answer ends can't be checked."""
        self._head_size = 0

    def complete(self, message: RawResponseMessage) -> None:
        """The exchange is over, with this as its answer's head: see whether anything came that doesn't belong to it.

        The parser serves the next exchange too when every byte is accounted for. Otherwise a new one does: the old
        may have begun to read something behind the answer, and aiohttp's gives a body's trailers out as fields of
        what follows.
        """
        protocol = self._protocol
        protocol.active = protocol.answered = False
        if protocol.full:
            protocol.full = False
            descriptor = self.descriptor()
            if descriptor is not None and not is_silent(descriptor):
                protocol.force_close()  # or what stands behind the answer would be read as the next one
        if protocol.plain is not None or self._bodiless is None:
            return
        if message.chunked or not self._head_size:
            self._bodiless = None
        elif protocol.received != self._head_size + self.payload.total_bytes:
            protocol.force_close()

    def begin(self, data: bytes, *, bodiless: bool) -> None:
        """Start an exchange: write the request's head, with its body when that is small.

        :param bodiless: the answer has no body whatever its head says (RFC 9112 section 6.3, HEAD).
        """
        protocol = self._protocol
        if bodiless is not self._bodiless:
            # A parser reads any number of answers, but is made for those with bodies or for those without.
            self._bodiless = bodiless
            protocol.set_response_params(
                timer=_NO_TIMER,
                skip_payload=bodiless,
                read_until_eof=True,
                auto_decompress=False,
                read_bufsize=ANSWER_BUFFER,
                max_line_size=MAX_LINE,
                max_field_size=MAX_LINE,
                max_headers=MAX_FIELDS,
            )
        protocol.active, protocol.answered, protocol.received = True, False, 0
        protocol.stalled = False
        self.write(data)

    def write(self, data: bytes) -> None:
        """Put bytes on the connection; on a closed one they vanish, and reading says so."""
        transport = self._protocol.transport
        if transport is not None and not transport.is_closing():
            transport.write(data)

    @property
    def must_wait(self) -> bool:
        """Whether the upstream reads slower than we write."""
        return self._protocol.writing_paused

    async def drain(self) -> None:
        """Wait until the upstream has read enough for more to be written.

        :raises ConnectionError: the connection is lost.
        """
        await self._protocol._drain_helper()

    def read_plainly(self, length: int) -> None:
        """Hand the rest of the answer's body on as it comes, past the parser.

        :param length: of the whole body, as announced.
        """
        payload = self.payload
        left = length - payload.total_bytes
        if left > 0 and not payload.is_eof():
            self._protocol.plain = PlainBody(payload, left)
            self._bodiless = None  # the next exchange needs a new parser

    def descriptor(self) -> int | None:
        """The descriptor of its socket, as `splice.descriptor_of`."""
        transport = self._protocol.transport
        return None if transport is None or transport.is_closing() else self._protocol.descriptor

    async def flushed(self) -> None:
        """Wait until all that was written is with the kernel.

        :raises ConnectionError: the connection is lost.
        """
        if (transport := self._protocol.transport) is not None:
            transport.set_write_buffer_limits(high=0)
            await self._protocol._drain_helper()
            transport.set_write_buffer_limits()

    def was_reset(self) -> None:
        """The kernel said so to who wrote, and says it once: reading would find a clean end."""
        self._protocol.reset = True

    def hold(self) -> None:
        """Read no more, until `moved`: the rest of the body goes another way."""
        if (transport := self._protocol.transport) is not None:
            transport.pause_reading()

    def moved(self, count: int) -> None:
        """So many bytes of the body being read plainly went another way."""
        protocol, payload = self._protocol, self.payload
        protocol.received += count
        payload.total_bytes += count
        if (plain := protocol.plain) is not None:
            plain.left -= count
            if not plain.left:
                protocol.full = True
                protocol.plain = protocol._parser = None  # as when it had come this way
                payload.feed_eof()
        if (transport := protocol.transport) is not None and not transport.is_closing():
            transport.resume_reading()

    @property
    def lost(self) -> bool:
        """Whether it has nothing for another protocol: its end is known, and nothing came behind the answer's head."""
        own = self._protocol
        return own.transport is None or (own.transport.is_closing() and not own._tail)

    def hand_over(self) -> tuple[asyncio.Transport, bytes]:
        """For another protocol, which takes over at once.

        :returns: the transport, which may be closing, and what came behind the answer's head.
        :raises ConnectionError: the connection is lost.
        """
        own = self._protocol
        transport = own.transport
        if transport is None:
            raise ConnectionResetError("the service closed the connection")
        behind, own._tail = own._tail, b""
        return transport, behind

    def fail(self, exc: Exception) -> None:
        """Wake whoever reads head or body with an exception."""
        self._protocol.set_exception(exc)
        if self.payload is not EMPTY_PAYLOAD:
            set_exception(self.payload, exc)

    def close(self) -> None:
        """Close in good order; for a connection that nothing waits on."""
        self.payload = EMPTY_PAYLOAD
        self._connection.close()

    def abort(self) -> None:
        """Close at once: what was written and not yet sent is dropped, so that no peer takes it for complete."""
        self._protocol.abort()
        self.close()
