"""The server side: the connections of clients.

With `upstreams.connection` the only module that stands on aiohttp's half-public parts. What aiohttp's server lacks is
added: a deadline for a request's head, problem answers to what can't be parsed, a request body that ends when its
framing breaks, and a loop over a connection's requests that makes no task for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, Protocol, cast

from aiohttp import web
from aiohttp.helpers import set_exception
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR, MAX_MSG_QUEUE_SIZE, RequestHandler, RequestPayloadError, _ErrInfo

from aiogateway.address import is_trusted, parse
from aiogateway.deadlines import Deadline, Deadlines
from aiogateway.errors import Problem
from aiogateway.proxy.request import Request
from aiogateway.streams import PlainBody

# RFC 9112 section 3 recommends at least 8000 octets for a request line. A field may hold a token of 16 KiB.
MAX_TARGET: Final = 16 * 1024
MAX_FIELD: Final = 24 * 1024
MAX_FIELDS: Final = 100
# Bytes of a client's body kept before reading pauses; aiohttp pauses at twice this.
BODY_BUFFER: Final = 64 * 1024
# Seconds an unread body is read and thrown away after an early answer, so that the client reads the answer.
LINGER: Final = 10.0


class Answer(Protocol):
    """What a handler gives back. `begin`, or aiohttp's `prepare`, is called first, then `write_eof`."""

    @property
    def keep_alive(self) -> bool | None: ...

    def begin(self, request: Request) -> None: ...

    async def prepare(self, request: Any) -> Any: ...

    async def write_eof(self, data: bytes = b"") -> None: ...


Handler = Callable[[Request], Awaitable[Answer]]


class ClientConnection(RequestHandler):
    """One client's connection: aiohttp's protocol, with the deadlines and answers it lacks."""

    _current_request: Any  # ours, not aiohttp's
    finish_response: Any

    __slots__ = ("_head_deadline", "_last", "_plain", "closing", "peer", "scheme", "server", "trusted", "trusted_peer")

    def __init__(self, server: Server, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self.server = server
        self.trusted = server.trusted
        self.closing = False
        self.trusted_peer = False
        self.peer = ""
        self.scheme = "http"
        self._head_deadline: Deadline | None = None
        self._plain: PlainBody | None = None
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        address = parse(peername[0]) if isinstance(peername, tuple) else None
        self.peer = str(address) if address is not None else "unknown"
        self.trusted_peer = bool(self.trusted) and is_trusted(address, self.trusted)
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"

    @property
    def busy(self) -> bool:
        """Whether a request is being answered."""
        return bool(self._request_in_progress or self._messages)

    def wind_down(self) -> None:
        """Take no further request: an idle connection closes now, a busy one after its answer."""
        self.closing = True
        if not self.busy:
            self.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._end_head_wait()
        super().connection_lost(exc)

    async def drain(self) -> None:
        """Wait until the client has read enough for more to be written."""
        await self._drain_helper()

    def reset(self) -> None:
        """End the connection with a TCP reset; what wasn't sent is dropped."""
        transport = self.transport
        if transport is None:
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and not transport.is_closing():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()

    def read_plainly(self, content: StreamReader, length: int) -> None:
        """Hand the rest of the body being read on as it comes, past the parser.

        :param length: of the whole body, as announced.
        """
        if not content.is_eof() and not self._upgraded:
            self._plain = PlainBody(content, length - content.total_bytes)

    def data_received(self, data: bytes) -> None:
        if (plain := self._plain) is not None:
            if not data or self._force_close or self._close:
                return
            data = plain.feed(data)
            if plain.left:
                return
            # The parser still waits for that body: what follows is for a new one.
            self._plain = None
            self._parser = self.server.make_parser(self)
            if not data:
                return
        super().data_received(data)
        self._last = data[-4:]
        messages = self._messages
        if messages:
            if self._head_deadline is not None:
                self._end_head_wait()
            if type(messages[-1][0]) is _ErrInfo:
                self._break_body()
        elif self._head_deadline is None and self._waiter is not None and not self._waiter.done():
            self._head_deadline = self.server.deadlines.after(self.server.header_timeout, self._head_expired)

    async def start(self) -> None:
        """Answer the requests of this connection, one after the other.

        aiohttp's own loop makes a task and a writer for each request; here the connection's one task does it all. It
        is cancelled when the client is gone, and the exchange with it.
        """
        payload: StreamReader = EMPTY_PAYLOAD
        if self._manager is None:
            return
        handler = cast(Handler, self._manager.request_handler)
        try:
            while not self._force_close and not self._close:
                if not self._messages:
                    self._waiter = self._loop.create_future()
                    try:
                        await self._waiter
                    finally:
                        self._waiter = None
                message, payload = self._messages.popleft()
                if self._parser is not None:
                    self._parser.message_consumed()
                if self._buffer_paused and len(self._messages) <= self._msg_queue_resume_size:
                    self._resume_reading_if_drained()
                if not await self._answer(message, payload, handler):
                    break
                self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
                if self._keepalive_handle is None:
                    self._keepalive_handle = self._loop.call_at(
                        self._next_keepalive_close_time, self._process_keepalive
                    )
            await self._linger(payload)
        finally:
            self.force_close()

    def resume_reading(self, resume_parser: bool = True) -> None:
        # aiohttp calls this at every read from a short buffer, and feeds its parser nothing each time.
        if self._reading_paused:
            super().resume_reading(resume_parser)

    async def _answer(self, message: RawRequestMessage | _ErrInfo, payload: StreamReader, handler: Handler) -> bool:
        """Answer one request; whether another may follow on this connection."""
        broken = message if isinstance(message, _ErrInfo) else None
        request = Request(ERROR if isinstance(message, _ErrInfo) else message, payload, self)
        self._current_request = request
        self._request_in_progress = True
        try:
            answer = await handler(request) if broken is None else self.server.answer_unparsed(unparsed(broken.exc))
            self._current_request = None
            if self._upgraded:  # an upgrade that was declined: aiohttp parses what came behind it
                await self.finish_response(request, answer, None)
            else:
                answer.begin(request)
                await answer.write_eof()
        except ConnectionError:
            return False
        finally:
            self._current_request = None
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        if not answer.keep_alive or not payload.is_eof():
            return False
        return not request.message.chunked or self._shed_trailers()

    def _shed_trailers(self) -> bool:
        """After a body in chunks: whether its trailers are kept from the next request; else none may follow.

        aiohttp's parser gives a body's trailers out as the first fields of the request behind it. A new parser knows
        nothing of them, but may only take over between two requests.
        """
        if self._messages or self._last != b"\r\n\r\n":
            return False
        self._parser = self.server.make_parser(self)
        return True

    async def _linger(self, payload: StreamReader) -> None:
        """Read what is left of a body, within a bound: a close with bytes unread would lose the answer on its way."""
        with contextlib.suppress(TimeoutError, RequestPayloadError, ConnectionError, Problem):
            async with asyncio.timeout(LINGER):
                while not payload.is_eof() and self.transport is not None and not self._force_close:
                    await payload.readany()

    def _end_head_wait(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_expired(self) -> None:
        self._head_deadline = None
        transport = self.transport
        if transport is not None and self._waiter is not None and not self._waiter.done():
            transport.write(self.server.refuse(Problem("request_timeout")))
            self.force_close()

    def _break_body(self) -> None:
        """The framing of the body being read is broken: aiohttp forgets the reader, who would wait for ever."""
        request = self._current_request
        if request is not None and not request.content.is_eof():
            set_exception(request.content, Problem("bad_request", "the body's framing is malformed"))

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> Any:
        """Answer what can't be parsed. The client's bytes are neither echoed nor logged."""
        return self.server.answer_unparsed(unparsed(exc))


def unparsed(exc: BaseException | None) -> Problem:
    """What a request that can't be parsed is told."""
    if isinstance(exc, LineTooLong):
        # The exception says which limit was passed, not what passed it.
        return Problem("uri_too_long" if exc.args[1] == MAX_TARGET else "header_too_large")
    if exc is not None and "Too many headers" in str(exc):
        return Problem("header_too_large", f"the request has more than {MAX_FIELDS} fields")
    return Problem("bad_request", "the request can't be parsed")


class Server(web.Server):
    """The public listener's protocol factory.

    :param handler: answers every request.
    :param answer_unparsed: makes the answer to a request that couldn't be parsed.
    :param refuse: the same as bytes, for when nothing but the transport is there.
    :param header_timeout: seconds for a request's head, from its first byte to its last.
    :param keepalive_timeout: seconds an idle connection is kept.
    :raises RuntimeError: aiohttp's C parser is missing; the pure Python one lets requests by that the C one refuses.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        answer_unparsed: Callable[[Problem], Answer],
        refuse: Callable[[Problem], bytes],
        deadlines: Deadlines,
        header_timeout: float,
        keepalive_timeout: float,
        trusted: Sequence[IPv4Network | IPv6Network],
    ) -> None:
        if HttpRequestParser is HttpRequestParserPy:
            raise RuntimeError("aiohttp's C extensions are missing: install aiohttp from a wheel, or with a compiler")
        super().__init__(
            cast(Any, handler),
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=keepalive_timeout,
            lingering_time=LINGER,
            max_line_size=MAX_TARGET,
            max_field_size=MAX_FIELD,
            max_headers=MAX_FIELDS,
            read_bufsize=BODY_BUFFER,
        )
        self.answer_unparsed = answer_unparsed
        self.refuse = refuse
        self.deadlines = deadlines
        self.header_timeout = header_timeout
        self.trusted = trusted

    def pre_shutdown(self) -> None:
        """Wind every connection down. aiohttp's own way drops the bytes of bodies that are still arriving."""
        for connection in self.connections:
            cast(ClientConnection, connection).wind_down()

    def busy(self) -> int:
        """How many connections are answering a request."""
        return sum(cast(ClientConnection, connection).busy for connection in self.connections)

    def make_parser(self, connection: ClientConnection) -> HttpRequestParser:
        """A parser for the requests that are still to come on a connection."""
        return HttpRequestParser(
            connection,
            self._loop,
            BODY_BUFFER,
            max_line_size=MAX_TARGET,
            max_field_size=MAX_FIELD,
            max_headers=MAX_FIELDS,
            payload_exception=RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=MAX_MSG_QUEUE_SIZE,
        )

    def __call__(self) -> ClientConnection:
        return ClientConnection(self, loop=self._loop, **self._kwargs)
