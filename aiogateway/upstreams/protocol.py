"""aiohttp's client protocol, as a gateway's connections to upstreams need it.

`tests/test_aiohttp_parts.py` fails in clear words when aiohttp moves a piece that this stands on.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from typing import cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.helpers import _EXC_SENTINEL, EMPTY_BODY_STATUS_CODES, set_exception
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import RawResponseMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from aiogateway.splice import descriptor_of
from aiogateway.streams import PlainBody
from aiogateway.upstreams.intake import FIRST, Intake


class UpstreamProtocol(ResponseHandler):
    """aiohttp's client protocol, which also knows what came first since the request was sent.

    :ivar descriptor: of its socket, as `splice.descriptor_of`; of no use once the transport is closing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self.active = False
        self.answered = False
        self.full = False
        self.stalled = False
        self.reset = False
        self.first = b""
        self.received = 0
        self.plain: PlainBody | None = None
        self.descriptor: int | None = None
        self.expecting: asyncio.Future[tuple[RawResponseMessage, StreamReader]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.descriptor = descriptor_of(transport)
        if self.descriptor is not None:
            cast(asyncio.Transport, transport).set_protocol(Intake(self))

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        if not self.answered:
            self.answered = True
            self.first = data
            if not self.active and data:
                self.force_close()  # nobody asked: whatever this is, it must not be read as an answer
        if (plain := self.plain) is not None:
            if not data:
                return
            data = plain.feed(data)
            if plain.left:
                return
            # The parser still waits for that body: whatever comes now was not asked for, and stays unparsed.
            self.plain = self._parser = None
            if not data:
                return
        parser = self._parser
        if parser is None or self._upgraded:
            super().data_received(data)
            return
        # aiohttp's own way, less its timers, which nobody sets here.
        try:
            messages, self._upgraded, tail = parser.feed_data(data)
        except HttpProcessingError as exc:
            self._break_off(exc)
            return
        for message, payload in messages:
            if message.should_close:
                self._should_close = True
            empty = self._skip_payload or message.code in EMPTY_BODY_STATUS_CODES
            self._payload = EMPTY_PAYLOAD if empty else payload
            self.feed_data((message, self._payload))
            if len(data) == FIRST and self._payload.total_bytes and not self._payload.is_eof():
                self.pause_reading()  # until the body is read, so that the kernel may be asked to move what follows
        if tail:
            super().data_received(tail)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        waiter = self.expecting
        if waiter is None or waiter.done():
            super().feed_data(data, size)
        else:
            self.expecting = None
            waiter.set_result(data)

    def set_exception(self, exc: BaseException, exc_cause: BaseException = _EXC_SENTINEL) -> None:
        super().set_exception(exc, exc_cause)
        if (waiter := self.expecting) is not None:
            self.expecting = None
            set_exception(waiter, exc, exc_cause)

    def next_head(self) -> Awaitable[tuple[RawResponseMessage, StreamReader]]:
        """As `read`, without a coroutine where the answer is still to come."""
        if self._buffer or self._eof:
            return self.read()
        self.expecting = waiter = self._loop.create_future()
        return waiter

    def is_open(self) -> bool:
        """Whether nothing speaks against using an idle connection."""
        transport = self.transport
        return transport is not None and not self._should_close and not transport.is_closing()

    def is_done(self) -> bool:
        """Whether another request may follow: `should_close`, which is a property of many parts, spelled out."""
        payload = self._payload
        return (
            self.is_open()
            and not (self._upgraded or self._buffer or self._tail)
            and self._exception is None
            and (payload is None or payload.is_eof())
        )

    def _break_off(self, exc: HttpProcessingError) -> None:
        if self.transport is not None:
            self.transport.close()
        payload = self._payload
        if payload is not None and not payload.is_eof():
            # aiohttp's parser forgets the body that it was in, and who reads that would wait for ever.
            set_exception(payload, aiohttp.ClientPayloadError("the body's framing is malformed"), exc)
        self.set_exception(exc)

    def pause_reading(self) -> None:
        self.stalled = True
        super().pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp calls this at every read from a short buffer, and feeds its parser nothing each time. It has to be
        # done once reading was paused: between two chunks that stops the parser only at the next bytes of the body.
        if self._reading_paused or (self.stalled and self.plain is None):
            super().resume_reading(resume_parser)

    def connection_lost(self, exc: BaseException | None) -> None:
        payload = self._payload
        if (
            payload is not None
            and not payload.is_eof()
            and (exc is not None or self.reset or is_unfinished(self.transport))
        ):
            # aiohttp takes a reset, or TLS cut off, for the end of a body that ends with its connection.
            set_exception(payload, aiohttp.ClientPayloadError("the connection broke off"), exc or _EXC_SENTINEL)
        super().connection_lost(exc)


def is_unfinished(transport: asyncio.BaseTransport | None) -> bool:
    """Whether a lost connection has TLS that was not said to end.

    Whoever stands on the way can end the TCP beneath it: only a closure alert says that all came (RFC 9112, 9.8).
    """
    tls = None if transport is None else transport.get_extra_info("ssl_object")
    if tls is None:
        return False
    try:
        tls.read(1)
    except ssl.SSLZeroReturnError:
        return False
    except ssl.SSLError:
        pass
    return True
