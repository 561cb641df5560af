"""A service's answer, whose body is relayed as it comes, never faster than the client reads.

After a head is sent no status can be invented: an upstream that breaks off in the middle of a body makes us cut the
client's connection, which is the only way to say that the answer is not complete.
"""

from __future__ import annotations

import time

import aiohttp
from aiohttp.hdrs import CONTENT_LENGTH

from aiogateway.errors import Problem
from aiogateway.proxy.exchange import Exchange
from aiogateway.proxy.request import Request
from aiogateway.proxy.response import SMALL_ANSWER, Response, status_line
from aiogateway.proxy.shelf import Shelf
from aiogateway.proxy.upload import write_chunk
from aiogateway.splice import possible
from aiogateway.streams import take


class UpstreamAnswer(Response):
    """An upstream's answer: the lines that go on, and the exchange its body comes from.

    :param exchange: past its head; this response ends it.
    :param lines: what goes on of the upstream's fields, `Content-Length` and framing aside.
    :param shelf: where the rest may stand while the client reads; None for nowhere.
    :param stream_idle: for an event stream, seconds in which the client must read something.
    """

    __slots__ = ("_chunked", "_shelf", "_shelved", "exchange")

    # Bytes up to which a body that has arrived whole is sent in one write with its head.
    small = SMALL_ANSWER

    def __init__(
        self, exchange: Exchange, lines: list[bytes], shelf: Shelf | None = None, *, stream_idle: float | None = None
    ) -> None:
        # An answer that comes before the request's end leaves bytes on the client's connection that aren't a request.
        Response.__init__(self, exchange.message.code, lines, close=exchange.uploading)
        self.exchange = exchange
        self.stream_idle = stream_idle
        self._chunked = False
        self._shelf = shelf
        self._shelved = 0

    @property
    def shelf(self) -> Shelf | None:
        """Where the rest may stand; None for nowhere."""
        return self._shelf

    def abandon(self) -> None:
        self.exchange.abort()

    def _length(self) -> int | None:
        """What the upstream says of the body's length, in bytes."""
        message = self.exchange.message
        length = message.headers.get(CONTENT_LENGTH)
        return None if length is None or message.chunked else int(length)

    def _head(self, length: int | None) -> bytes:
        """The whole head, with the framing that fits client and answer (RFC 9112 section 6).

        :param length: of the body as it is sent, in bytes; None when that isn't known.
        """
        request = self.request
        if length is not None and self.status != 204:
            framing = b"\r\nContent-Length: %d\r\n" % length
        elif request.method == "HEAD" or self.status in (204, 304):
            framing = b"\r\n"
        elif request.version >= (1, 1):
            self._chunked = True
            framing = b"\r\nTransfer-Encoding: chunked\r\n"
        else:
            self.keep_alive = False  # HTTP/1.0: the end of the connection is the end of the body
            framing = b"\r\n"
        return b"%b%b%b%b" % (status_line(self.status), b"\r\n".join(self.lines), framing, self.connection_line())

    async def write_eof(self, data: bytes = b"") -> None:
        """Write the head and relay the body to its end.

        :raises ConnectionResetError: the client is gone, or had to be cut off.
        """
        exchange, request = self.exchange, self.request
        payload = exchange.payload
        try:
            if payload.is_eof() and payload.total_bytes <= self.small:  # nothing of it was read yet
                request.record.released = request.record.headed
                self._write(request, take(payload))
            else:
                await self._relay(request, exchange)
            if payload.is_eof():
                exchange.finish()  # whoever reads slowly needs nothing more of the upstream
            if request.must_wait:
                await self.wait_for_client()
        except (aiohttp.ClientError, Problem) as exc:
            request.record.code = exc.code if isinstance(exc, Problem) else "upstream_bad_response"
            exchange.abort()
            request.abort()
            raise ConnectionResetError("the answer could not be completed") from exc
        except BaseException:
            exchange.abort()
            raise
        finally:
            if self._shelf is not None and self._shelved:
                self._shelf.give_back(self._shelved)
        exchange.finish()

    def _write(self, request: Request, body: bytes) -> None:
        """Write the head and a small body that has arrived whole."""
        head = self._head(self._length())
        request.record.bytes_out = len(body)
        if self._chunked:
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
        request.write(head + body)

    async def _relay(self, request: Request, exchange: Exchange) -> None:
        """Write the head and the body as it comes."""
        length = self._length()
        request.write(self._head(length))
        exchange.read_plainly()
        record = request.record
        chunk = exchange.at_hand() or await exchange.read()
        while chunk:
            self._give(request, chunk)
            chunk = b""  # not to be held while the client reads
            if request.must_wait and not self._shelve(length, record.bytes_out):
                await self.wait_for_client()
            if length is not None and possible(length - record.bytes_out) and not self._shelved:
                chunk = await self._splice(request, exchange, length)
            chunk = chunk or await exchange.read()
        record.released = time.monotonic()
        if self._chunked:
            request.write(b"0\r\n\r\n")

    async def _splice(self, request: Request, exchange: Exchange, length: int) -> bytes:
        """Have the kernel move the rest of the body, or as much as it can.

        What may be put aside for a client that reads slowly is moved for as long as the client keeps up.

        :param length: of the whole body, in bytes.
        :returns: what has to be given next.
        """
        connection, record = request.connection, request.record
        if (sink := connection.descriptor()) is None or not exchange.may_splice():
            return b""
        while arrived := exchange.at_hand():
            self._give(request, arrived)
        if not (left := length - record.bytes_out):
            return b""
        exchange.hold()
        if request.must_wait or connection.unsent():
            connection.flush(whole=True)
            if request.must_wait:
                await self.wait_for_client()
            connection.flush(whole=False)
        taking = connection.taking()
        brief = self._shelf is not None and self._shelf.has_room(left)
        try:
            return await exchange.splice(sink, left, taking, brief=brief)
        finally:
            record.bytes_out += taking.bytes
            record.sending += taking.waited

    def _give(self, request: Request, chunk: bytes) -> None:
        request.record.bytes_out += len(chunk)
        if self._chunked:
            write_chunk(request.write, chunk)
        else:
            request.write(chunk)

    def _shelve(self, length: int | None, taken: int) -> bool:
        """Whether the rest is taken from the upstream now, whether the client reads or not.

        :param length: of the body as the upstream sends it, in bytes; None when that isn't known.
        :param taken: bytes of that so far.
        """
        if not self._shelved and self._shelf is not None and length is not None and self._shelf.take(length - taken):
            self._shelved = length - taken
        return self._shelved > 0
