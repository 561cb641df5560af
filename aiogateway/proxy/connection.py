"""One client's connection: aiohttp's server protocol, with the loop, deadlines and answers it lacks.

With `listener` and `upstreams.connection` the only modules that stand on aiohttp's half-public parts;
`tests/test_aiohttp_parts.py` fails in clear words when aiohttp moves one. What is added: a deadline for a request's
head, problem answers to what can't be parsed, a request body that ends when its framing breaks, and a loop over a
connection's requests that makes no task for each.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Final, cast

from aiohttp import web
from aiohttp.helpers import set_exception
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import ERROR, RequestHandler, RequestPayloadError, _ErrInfo

from aiogateway.address import is_trusted, parse
from aiogateway.deadlines import Deadline
from aiogateway.errors import Problem
from aiogateway.proxy.headers import forwarded_lines
from aiogateway.proxy.pace import Pace
from aiogateway.proxy.parsing import make_parser, unparsed
from aiogateway.proxy.request import Request
from aiogateway.proxy.terms import Handler, Terms
from aiogateway.streams import PlainBody

# Seconds an unread body is read and thrown away after an early answer, so that the client reads the answer.
LINGER: Final = 10.0
# Bytes of it that are read at the most.
LINGER_BYTES: Final = 512 << 20
# Seconds a client gets to read what is left of its last answer, once its connection is to be closed.
CLOSING: Final = 30.0
# States of a socket whose peer has closed: CLOSE and CLOSE_WAIT of Linux' <net/tcp_states.h>.
_TCP_LEFT: Final = frozenset({7, 8})
HEAD_END: Final = b"\r\n\r\n"


class ClientConnection(RequestHandler):
    """One client's connection: aiohttp's protocol, with the deadlines and answers it lacks."""

    _current_request: Any  # ours, not aiohttp's
    finish_response: Any

    __slots__ = (
        "_content",
        "_deaf",
        "_head_deadline",
        "_last",
        "_plain",
        "_terms",
        "_watch",
        "closing",
        "forwarded",
        "peer",
        "scheme",
        "trusted_peer",
    )

    def __init__(self, server: web.Server, terms: Terms, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(server, loop=loop, **options)
        self._terms = terms
        self.closing = False
        self.trusted_peer = False
        self.peer = ""
        self.forwarded = b""
        self.scheme = "http"
        self._head_deadline: Deadline | None = None
        self._plain: PlainBody | None = None
        self._last = b""
        self._deaf = False
        self._watch: Deadline | None = None
        self._content: StreamReader = EMPTY_PAYLOAD

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peername = transport.get_extra_info("peername")
        address = parse(peername[0]) if isinstance(peername, tuple) else None
        self.peer = str(address) if address is not None else "unknown"
        self.trusted_peer = is_trusted(address, self.trusted)
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = "https"
        self.forwarded = forwarded_lines(self.peer, self.scheme)

    @property
    def trusted(self) -> Sequence[IPv4Network | IPv6Network]:
        """Networks whose `X-Forwarded-*` is believed."""
        return self._terms.trusted

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
        # Bodies hold this connection: a circle that would keep both until the next collection.
        self._messages.clear()
        self._content, self._plain = EMPTY_PAYLOAD, None

    async def drained(self) -> None:
        """Wait until the client has read enough for more to be written, however long that takes."""
        await self._drain_helper()

    def unsent(self) -> int:
        """Bytes that wait in our buffer for the client."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def pace(self, stream_idle: float | None) -> Pace:
        """How the client has to read an answer.

        :param stream_idle: for an event stream, seconds in which something must be read.
        """
        min_rate = self._terms.download_min_rate if stream_idle is None else 0
        return Pace(self, self._terms.deadlines, min_rate=min_rate, idle=stream_idle)

    def force_close(self) -> None:
        """Close, once the client has read what is left for it, or its time for that is over."""
        transport = self.transport
        super().force_close()
        if transport is not None and transport.get_write_buffer_size():
            self._terms.deadlines.after(CLOSING, transport.abort)

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
        left = length - content.total_bytes
        # When none are left, a parser that paused on the last of them has yet to say that the body ends.
        if left > 0 and not content.is_eof() and not self._upgraded:
            self._plain = PlainBody(content, left)

    def _pause_transport_reading(self) -> None:
        super()._pause_transport_reading()
        if self._watch is None:
            self._watch = self._terms.deadlines.after(0, self._look_for_client)

    def _look_for_client(self) -> None:
        """Nobody reads, so nobody is told when the client leaves: ask the kernel."""
        self._watch = None
        transport = self.transport
        if transport is None or not (self._reading_paused or self._buffer_paused):
            return
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] in _TCP_LEFT:
            transport.abort()
        else:
            self._watch = self._terms.deadlines.after(0, self._look_for_client)

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if (plain := self._plain) is not None:
            if not data or self._force_close or self._close:
                return
            data = plain.feed(data)
            if plain.left:
                return
            # The parser still waits for that body: what follows is for a new one.
            self._plain = None
            self._parser = make_parser(self, self._loop)
            if not data:
                return
        content = self._content
        in_body, before = not content.is_eof(), content.total_bytes
        super().data_received(data)
        self._last = (self._last + data[-4:])[-4:]
        messages = self._messages
        if messages:
            if self._head_deadline is not None:
                self._end_head_wait()
            newest = messages[-1][0]
            if isinstance(newest, _ErrInfo):
                newest.exc.with_traceback(None)  # its frames hold what was received, and themselves in a circle
                self._break_body()
            elif newest.upgrade and not self._upgraded and data.find(HEAD_END) + len(HEAD_END) != len(data):
                # aiohttp loses what stands in the same packet behind an upgrade that it doesn't know, such as `h2c`.
                self.closing = True
        elif self._head_deadline is None:
            if in_body:
                # More than the body's end came; the end of one in chunks looks like that of a head.
                begun = content.is_eof() and len(data) > content.total_bytes - before and self._last != HEAD_END
            else:
                begun = bool(data.strip(b"\r\n"))
            if begun:
                self._await_head()

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
                    if self._head_deadline is None and not payload.total_bytes and self._last not in (b"", HEAD_END):
                        self._await_head()  # the next head began in the packet of the one before
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
        self._content = payload
        self._current_request = request
        self._request_in_progress = True
        try:
            answer = await handler(request) if broken is None else self._terms.answer_unparsed(unparsed(broken.exc))
            self._current_request = None
            request.keep_alive = request.keep_alive and payload.is_eof() and self._may_go_on(request.message)
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
            if self._handler_waiter is not None and not self._handler_waiter.done():
                self._handler_waiter.set_result(None)
        if not answer.keep_alive or not payload.is_eof() or not self._may_go_on(request.message):
            return False
        if request.message.chunked:
            self._parser = make_parser(self, self._loop)
        return True

    def _may_go_on(self, message: RawRequestMessage) -> bool:
        """Whether another request may follow this one.

        Behind a body in chunks only when nothing stands there yet: aiohttp's parser gives a body's trailers out as
        the first fields of the next request. A new parser knows nothing of them, but can only take over between two.
        """
        return not message.chunked or (not self._messages and self._last == HEAD_END)

    async def _linger(self, payload: StreamReader) -> None:
        """Read what is left of a body, within bounds: a close with bytes unread would lose the answer on its way."""
        with contextlib.suppress(TimeoutError, RequestPayloadError, OSError, Problem):
            async with asyncio.timeout(LINGER):
                await asyncio.sleep(0)  # an upload that was just cancelled lets go of the body in this turn
                end = payload.total_bytes + LINGER_BYTES
                while not payload.is_eof() and not self._force_close and payload.total_bytes < end:
                    await payload.readany()
                if self._messages or self._reading_paused or self._buffer_paused:
                    await self._outlast()

    async def _outlast(self) -> None:
        """Throw away what stands behind the last request, until the client has read its answer and leaves."""
        self._deaf = True
        self._messages.clear()
        if (transport := self.transport) is not None:
            if transport.can_write_eof():
                transport.write_eof()
            transport.resume_reading()
            await self._loop.create_future()  # its leaving cancels this task, as at any other time

    def _await_head(self) -> None:
        self._head_deadline = self._terms.deadlines.after(self._terms.header_timeout, self._head_expired)

    def _end_head_wait(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _head_expired(self) -> None:
        self._head_deadline = None
        if self.busy:
            self._await_head()  # it began behind a request that is still being answered
        elif self.transport is not None:
            self.transport.write(self._terms.refuse(Problem("request_timeout")))
            self.force_close()

    def _process_keepalive(self) -> None:
        if self._head_deadline is None:
            super()._process_keepalive()
        else:  # a head is arriving, so the connection is not idle
            self._keepalive_handle = None

    def _break_body(self) -> None:
        """The framing of the body being read is broken: aiohttp forgets the reader, who would wait for ever."""
        if len(self._messages) > 1:
            content: StreamReader | None = self._messages[-2][1]
        else:
            content = None if self._current_request is None else self._current_request.content
        if content is not None and not content.is_eof():
            set_exception(content, Problem("bad_request", "the body's framing is malformed"))

    def handle_error(
        self, request: Any, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> Any:
        """Answer what can't be parsed. The client's bytes are neither echoed nor logged."""
        return self._terms.answer_unparsed(unparsed(exc))
