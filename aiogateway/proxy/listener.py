"""The server side: connections of clients, and requests as the gateway sees them.

With `exchange` the only module that touches aiohttp's half-public parts. A request here is a thin view on what the
parser gave: aiohttp's own `Request` and `StreamResponse` cost more than the whole way through the gateway. What
aiohttp's server lacks is added: a deadline for a request's head, problem answers to what can't be parsed, a request
body that ends when its framing breaks, interim answers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, Protocol, cast

from aiohttp import web
from aiohttp.helpers import set_exception
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import HttpRequestParser, HttpRequestParserPy, RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR, RequestHandler, RequestPayloadError, _ErrInfo

from aiogateway.address import client_of, is_trusted, parse
from aiogateway.deadlines import Deadline, Deadlines
from aiogateway.errors import Problem
from aiogateway.proxy.headers import (
    RawFields,
    forwarded_lines,
    goes_outward,
    named_by_connection,
    trusted_forwarded_lines,
    without,
)
from aiogateway.routes import Match, Route

# RFC 9112 section 3 recommends at least 8000 octets for a request line; fields get as much, one by one.
MAX_LINE: Final = 16 * 1024
MAX_FIELDS: Final = 100
# Bytes of a client's body kept before reading pauses; aiohttp pauses at twice this.
BODY_BUFFER: Final = 64 * 1024
# Seconds an unread body is read and thrown away after an early answer, so that the client reads the answer.
LINGER: Final = 10.0


class Answer(Protocol):
    """What a handler gives back: aiohttp's server calls these, in this order, after the last middleware returned."""

    @property
    def keep_alive(self) -> bool | None: ...

    async def prepare(self, request: Any) -> Any: ...

    async def write_eof(self, data: bytes = b"") -> None: ...


Handler = Callable[["Request"], Awaitable[Answer]]


class Request:
    """One request. What the client sent is never changed; `id`, `route` and `match` are filled in on the way.

    `path` and `query` are as the client wrote them; `query` includes its `?`.
    """

    __slots__ = (
        "connection",
        "content",
        "headers",
        "id",
        "keep_alive",
        "match",
        "message",
        "method",
        "path",
        "query",
        "route",
        "version",
    )

    route: Route
    match: Match

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        connection: ClientConnection,
    ) -> None:
        self.message = message
        self.content = payload
        self.connection = connection
        self.id = ""
        self.method = message.method
        self.headers = message.headers
        self.version = message.version
        self.keep_alive = not message.should_close
        target = message.path
        if target[0] != "/":
            target = origin_form(target)
        self.path, mark, rest = target.partition("?")
        self.query = mark + rest

    @property
    def has_body(self) -> bool:
        """Whether the head announced a body with something in it (RFC 9112 section 6.3)."""
        return not self.content.is_eof() or self.content.total_bytes > 0

    def forwarded_lines(self, host: bytes) -> bytes:
        """The `X-Forwarded-*` lines for the upstream; `host` as the client named us."""
        connection = self.connection
        if connection.trusted_peer:
            return trusted_forwarded_lines(self.message.raw_headers, connection.peer, connection.scheme, host)
        return forwarded_lines(connection.peer, connection.scheme, host)

    def public_origin(self) -> bytes:
        """Scheme and authority by which the client knows us, for `Location` fields."""
        scheme, host = self.connection.scheme, self.headers.get("Host", "")
        if self.connection.trusted_peer:
            scheme = self.headers.get("X-Forwarded-Proto", scheme)
            host = self.headers.get("X-Forwarded-Host", host)
        return f"{scheme}://{host}".encode("utf-8", "surrogateescape")

    def client_address(self) -> str:
        """The client's address, through trusted proxies only."""
        connection = self.connection
        if not connection.trusted_peer:
            return connection.peer
        return client_of(connection.peer, self.headers.getall("X-Forwarded-For", ()), connection.trusted)

    def write(self, data: bytes) -> None:
        """Put bytes on the client's connection.

        :raises ConnectionResetError: the client is gone.
        """
        transport = self.connection.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        transport.write(data)

    def early_hints(self, fields: RawFields, connection: Sequence[str]) -> None:
        """Pass a 103 on (RFC 8297); a client of HTTP/1.0 knows no interim answers."""
        if self.version >= (1, 1):
            named = named_by_connection(connection)
            lines = [b": ".join(field) for field in without(fields, named) if goes_outward(field[0].lower())]
            self.write(b"\r\n".join([b"HTTP/1.1 103 Early Hints", *lines, b"\r\n"]))

    @property
    def must_wait(self) -> bool:
        """Whether the client reads slower than we write."""
        return self.connection.writing_paused

    async def drain(self) -> None:
        """Wait until the client has read enough for more to be written."""
        await self.connection._drain_helper()

    def unsent(self) -> int:
        """Bytes that wait in our buffer for the client."""
        transport = self.connection.transport
        return 0 if transport is None else transport.get_write_buffer_size()

    def abort(self) -> None:
        """Cut the client's connection off: after a head is sent, that is the only way left to say 'not complete'."""
        if (transport := self.connection.transport) is not None:
            transport.abort()

    # What aiohttp's server calls on a request.
    def _finish(self) -> None:
        pass

    def _cancel(self, exc: BaseException) -> None:
        set_exception(self.content, exc)


def origin_form(target: str) -> str:
    """Path and query of an absolute-form target, as written (RFC 9112 section 3.2.2); any other form as it is."""
    _, separator, rest = target.partition("://")
    if not separator:
        return target
    cut = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    return rest[cut:] if rest[cut : cut + 1] == "/" else "/" + rest[cut:]


class ClientConnection(RequestHandler):
    """One client's connection: aiohttp's protocol, with the deadlines and answers it lacks."""

    _current_request: Any  # ours, not aiohttp's
    finish_response: Any

    __slots__ = ("_head_deadline", "closing", "peer", "scheme", "server", "trusted", "trusted_peer")

    def __init__(self, server: Server, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self.server = server
        self.trusted = server.trusted
        self.closing = False
        self.trusted_peer = False
        self.peer = ""
        self.scheme = "http"
        self._head_deadline: Deadline | None = None

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

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
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
        parser, payload = self._parser, EMPTY_PAYLOAD
        if self._manager is None or parser is None:
            return
        handler = cast(Handler, self._manager.request_handler)
        try:
            while not self._force_close and not self._close:
                if not self._messages:
                    await self._next_message()
                message, payload = self._messages.popleft()
                parser.message_consumed()
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

    async def _next_message(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

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
                await answer.prepare(request)
                await answer.write_eof()
        except ConnectionError:
            return False
        finally:
            self._current_request = None
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)
        return bool(answer.keep_alive) and payload.is_eof()

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
        return Problem("header_too_large", "the request line or a field is too long")
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
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
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

    def __call__(self) -> ClientConnection:
        return ClientConnection(self, loop=self._loop, **self._kwargs)
